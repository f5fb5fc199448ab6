//! The interface between the core and its extensions: a module says what it offers and where it
//! acts, and meets stanzas, requests and changes there.

pub mod command;
pub mod decision;
pub mod fault;
pub mod manifest;
pub mod module;
pub mod notes;
pub mod place;
pub mod registry;
pub mod reply;
pub mod settings;
pub mod vouch;

pub use crate::host::HostSettings;
pub use crate::server::{
    BeforeLogin, Change, ComponentEvent, HostMessage, Inline, Listed, Login, Nested, Offering,
    Passage, Presence, Registry, Request,
};
pub use command::{Command, Outcome};
pub use decision::{Delivery, Direction, Keep, Phase, Standing, Verdict};
pub use fault::ConfigError;
pub use manifest::{Manifest, Spec};
pub use module::Module;
pub use place::{Stage, Target};
pub use registry::Hooks;
pub use reply::{Answer, IqResult, Reply, only_child};
pub use settings::{Key, NoSections, Sections, Settings};
pub use vouch::{Asking, Voucher};
