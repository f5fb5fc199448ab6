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
    specs: &[Spec("XEP-0114", "1.6"), Spec("XEP-0160", "1.0.1")],
    features: &[OFFLINE],
    ..Manifest::EMPTY
};
