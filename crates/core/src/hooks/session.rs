//! What modules see of streams and sessions beside stanzas.

use std::sync::Arc;

use verona_xml::Writer;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::state::State;
use crate::host::Host;
use crate::limits::Limits;
use crate::link::Link;
use crate::server::Server;

/// A stage of a client's stream at which features are announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Not logged in (and, where TLS is required, encrypted).
    BeforeLogin,
    /// Logged in, not bound.
    BeforeBind,
}

/// A stage's stream features, as they are written.
pub struct Offering<'a> {
    /// The stage.
    pub stage: Stage,
    /// The host that the stream is to.
    pub host: &'a Host,
    /// The bounds that hold for the stream.
    pub limits: &'a Limits,
    /// Where features are written.
    pub writer: &'a mut Writer,
}

/// An IQ on a stream that is not logged in.
pub struct BeforeLogin {
    /// The IQ, with one child.
    pub iq: Stanza,
    /// The host that the stream is to.
    pub host: Arc<Host>,
    /// The server.
    pub server: Arc<Server>,
    /// Where the connection comes from.
    pub peer: std::net::IpAddr,
}

/// A change of a resource's availability, within the turn of its account.
pub struct Change<'a> {
    /// The account's host.
    pub host: &'a Host,
    /// The account.
    pub account: &'a Arc<Account>,
    /// Its state after the change.
    pub state: &'a mut State,
    /// The session whose resource changed.
    pub link: &'a Arc<Link>,
    /// Whether it was available before.
    pub was_available: bool,
    /// The presence that it sent or that was made for it.
    pub presence: &'a Stanza,
    /// The server.
    pub server: &'a Arc<Server>,
    /// Stanzas to be routed when the turn is over.
    pub sends: &'a mut Vec<Stanza>,
}
