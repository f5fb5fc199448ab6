//! What a script says: who is in it and what they do.
//!
//! [`crate::parse`] reads the notation into these types.

use crate::address::Address;
use crate::node::Node;

/// A conversation, ready to be played.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What the server must be like.
    pub setup: Setup,
    /// Who takes part, in the order of their first mention.
    pub cast: Vec<Character>,
    /// Subscriptions that exist before the conversation begins: the first of each pair receives the
    /// presence of the second (indices into the cast).
    pub subscriptions: Vec<(usize, usize)>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// What a script asks of the configuration of the server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Setup {
    /// Who may make an account (`closed`, `invite`, `open`), if it matters.
    pub registration: Option<String>,
    /// Bare JIDs of those who administer the host that they name.
    pub admins: Vec<String>,
    /// Lines of TOML to be added to the configuration.
    pub config: String,
    /// The domains of components, as they stand in the configuration, and how many connections each
    /// may have.
    pub components: Vec<(String, usize)>,
}

impl Setup {
    /// Those who administer a host.
    pub fn admins_of(&self, host: &str) -> impl Iterator<Item = &String> {
        self.admins.iter().filter(move |jid| jid.ends_with(&format!("@{host}")))
    }

    /// Tells whether the script is content with the usual server.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Somebody with a connection.
#[derive(Clone, Debug)]
pub struct Character {
    /// The name by which the script calls them.
    pub name: String,
    /// The account and the resource they bind.
    pub address: Address,
    /// Whether the account is made before the conversation begins.
    pub has_account: bool,
    /// Whether they are online when it begins, because the script does not tell how they come.
    pub is_present: bool,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line on which it stands, from 1.
    pub line: usize,
    /// Who acts: an index into the cast.
    pub who: usize,
    /// What they do.
    pub act: Act,
}

/// What a character does.
#[derive(Clone, Debug)]
pub enum Act {
    /// `connects`: opens a stream, with TLS if that is the way, and does not log in.
    Connect,
    /// `authenticates`: connects if need be, and stops before a resource is bound.
    Authenticate,
    /// `logs in`: authenticates and binds the resource, after connecting if need be.
    LogIn,
    /// `logs in at once` and `logs in at once by token TEXT`: authenticates with SASL2, after
    /// connecting if need be, and asks for more along with it.
    LogInAtOnce {
        /// The token, when it is not the password.
        token: Option<String>,
        /// What is asked for.
        wishes: String,
    },
    /// `cannot log in <condition/>`: is refused with this SASL failure, or any.
    CannotLogIn(Option<Node>),
    /// `comes online`: logs in and sends initial presence.
    ComeOnline {
        /// The priority to announce, if any.
        priority: Option<i8>,
    },
    /// `has password WORD`: logs in with it from now on.
    Password(String),
    /// `logs out`: closes the stream and waits for the other side to do the same.
    LogOut,
    /// `disconnects`: drops the connection without a word.
    Disconnect,
    /// `sends`: this text goes out, with remembered values put in.
    Send(String),
    /// `sends raw`: these bytes go out, whatever they are.
    SendRaw(String),
    /// `receives` and `receives in any order`.
    Receive {
        /// What must come, each with the line on which it stands.
        elements: Vec<(usize, Node)>,
        /// Whether it may come in another order.
        any_order: bool,
    },
    /// `receives nothing`: nothing is waiting after a round trip to the server.
    ReceiveNothing,
    /// `sees stream error <condition/>`: the stream ends with it.
    SeeStreamError(Node),
    /// `sees feature <element/>` and `sees no feature <element/>`: whether it was among the stream
    /// features that came last.
    SeeFeature {
        /// What is looked for.
        feature: Node,
        /// Whether it must be there.
        there: bool,
    },
}
