//! What the server says of itself, and what it can do without any module.

use crate::hooks::manifest::{Manifest, Spec};

/// Its name.
pub const NAME: &str = "Verona";

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// XEP-0160 §4: messages for who is away are kept.
const OFFLINE: &str = "msgoffline";

/// What the core itself offers.
pub const MANIFEST: Manifest = Manifest {
    name: "core",
    specs: &[
        Spec("XEP-0114", "1.6"),
        Spec("XEP-0160", "1.0.1"),
        Spec("XEP-0178", "1.2"),
        Spec("XEP-0185", "1.0"),
        Spec("XEP-0220", "1.1.1"),
        Spec("XEP-0288", "1.0.1"),
        Spec("XEP-0344", "0.4"),
    ],
    features: &[OFFLINE],
    ..Manifest::EMPTY
};
