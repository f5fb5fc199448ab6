//! Requests to what the server answers itself, and their answers.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use verona_xml::Writer;
use verona_xml::{Element, Tree};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::account::Account;
use crate::host::Host;
use crate::link::Link;
use crate::server::Server;

/// Whose answer is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// The host itself: `to` is its domain.
    Host,
    /// The asker's own account: no `to`, or its own bare JID.
    Own,
    /// Another's account: `to` is a bare JID that is not the asker's. The account may not exist;
    /// the answer must not tell (RFC 6120 §10.5.3.1).
    Account,
}

/// An IQ of type get or set that a module answers.
pub struct Request {
    /// The IQ as it came, with `from` set.
    pub iq: Stanza,
    /// Who asks.
    pub from: Jid,
    /// The account that is asked, loaded; None when a host is asked or no such account exists.
    pub account: Option<Arc<Account>>,
    /// The host that is asked or that the account belongs to.
    pub host: Arc<Host>,
    /// The session that asks, when it is one of this server's.
    pub link: Option<Arc<Link>>,
    /// The server.
    pub server: Arc<Server>,
}

/// The answer to a request: the payload of the result, or an error (RFC 6120 §8.2.3).
pub type IqResult = Result<Reply, StanzaError>;

/// The future of an answer.
pub type Answer = BoxFuture<'static, IqResult>;

/// The payload of an IQ result.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    payload: String,
}

impl Reply {
    /// A result without payload.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A result with the element that `build` writes.
    pub fn with(build: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new(ns::CLIENT);
        build(&mut writer);
        Self { payload: writer.finish() }
    }

    /// A result with XML that the server itself stored or wrote.
    pub fn raw(payload: impl Into<String>) -> Self {
        Self { payload: payload.into() }
    }

    /// The XML of the payload; empty for none.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

impl Request {
    /// Whether this is a set.
    pub fn is_set(&self) -> bool {
        self.iq.iq_type() == Some(IqType::Set)
    }

    /// The request's element as a tree; `bad-request` when it cannot be read.
    pub fn tree(&self) -> Result<Tree, StanzaError> {
        self.iq.payload_tree().ok_or_else(|| StanzaError::new(Condition::BadRequest))
    }

    /// The asker's own account; `forbidden` when the request is for another's.
    pub fn own(&self) -> Result<&Arc<Account>, StanzaError> {
        match &self.account {
            Some(account) if account.jid.same_bare(&self.from) => Ok(account),
            _ => Err(StanzaError::new(Condition::Forbidden)),
        }
    }
}

/// The one child element of a request that must have exactly one; else `bad-request`.
pub fn only_child<'a>(element: Element<'a>) -> Result<Element<'a>, StanzaError> {
    let mut children = element.children();
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child),
        _ => Err(StanzaError::new(Condition::BadRequest)),
    }
}
