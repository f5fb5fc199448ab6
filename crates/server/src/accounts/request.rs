//! What is asked and answered about accounts, in the same words over the socket and without it.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Accounts in one page of a list, at most.
pub const PAGE_ACCOUNTS_MAX: usize = 500;

/// What is asked for. An account is named by its bare JID, in any form.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "account", rename_all = "snake_case")]
pub enum AccountRequest {
    /// Makes an account.
    Add {
        /// Its bare JID.
        jid: String,
        /// Its password.
        password: Password,
    },
    /// Sets another password; sessions go on.
    Passwd {
        /// Its bare JID.
        jid: String,
        /// Its new password.
        password: Password,
    },
    /// Ends all sessions of an account and refuses logins; what it has is kept.
    Disable {
        /// Its bare JID.
        jid: String,
    },
    /// Takes that back.
    Enable {
        /// Its bare JID.
        jid: String,
    },
    /// Removes an account with all it has.
    Delete {
        /// Its bare JID.
        jid: String,
    },
    /// One page of the accounts, in the order of their JIDs.
    List {
        /// Only those of this domain.
        host: Option<String>,
        /// Only those behind this one.
        after: Option<String>,
    },
}

/// The answer when it was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountReply {
    /// Done, and durable.
    Done {
        /// The account in normal form.
        jid: String,
    },
    /// A page of the list.
    Page {
        /// At most [`PAGE_ACCOUNTS_MAX`].
        accounts: Vec<AccountLine>,
        /// Ask for what is behind this JID; none when the list is complete.
        next: Option<String>,
    },
}

/// One account in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountLine {
    /// Its bare JID.
    pub jid: String,
    /// Whether logins are refused.
    pub disabled: bool,
    /// When it was made, in seconds since the epoch.
    pub created_secs: u64,
}

/// Why it was not done; for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountError(pub String);

impl AccountError {
    /// An error with its sentence, without a capital and without a full stop.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AccountError {}

/// Somebody who keeps accounts.
pub trait Accounts: Send + Sync {
    /// Does what is asked for. It is durable when this returns.
    fn perform(&self, request: AccountRequest)
    -> BoxFuture<'_, Result<AccountReply, AccountError>>;
}

/// A password on its way; wiped when dropped, never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes over a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<Password> for Zeroizing<String> {
    fn from(password: Password) -> Self {
        password.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
