//! Commands that people give a host from their clients (XEP-0050), as modules offer them.

use futures_util::future::BoxFuture;
use verona_xmpp::error::StanzaError;
use verona_xmpp::form::Form;

/// How a command is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Command {
    /// Its node, by which it is executed.
    pub node: &'static str,
    /// Its name for people.
    pub name: &'static str,
}

/// What came of one stage of a command (XEP-0050 §2.4).
pub enum Outcome {
    /// This form is to be filled in; the command is complete when it comes back.
    Asks(Form),
    /// It is done, and this is the result.
    Completed(Form),
}

/// The future of an outcome.
pub type Execution = BoxFuture<'static, Result<Outcome, StanzaError>>;
