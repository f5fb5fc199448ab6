//! XEP-0334: Message Processing Hints. What a sender would rather not have stored.
//!
//! Here is what concerns waiting messages. `store` speaks to those who judge a message by its
//! content, `no-permanent-store` to the archive (§4.1), `no-copy` to carbons (§4.3): they look at
//! it themselves.

use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, Manifest, Module, Passage, Phase, Spec,
};
use verona_xmpp::ns::HINTS as NS;

/// The module.
pub struct Hints;

impl Module for Hints {
    const MANIFEST: Manifest =
        Manifest { name: "hints", specs: &[Spec("XEP-0334", "1.0.0")], ..Manifest::EMPTY };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.message(Direction::Inbound, Phase::Keep, Self::let_go);
    }
}

impl Hints {
    /// §4.2: with `no-store` it does not wait for the next login either. The sender hears no error,
    /// which would tell that nobody is there. Errors never wait, so §5 needs no word here.
    fn let_go(&self, passage: &mut Passage<'_>) {
        if passage.keep.offline && passage.stanza.child("no-store", NS).is_some() {
            passage.keep.offline = false;
        }
    }
}
