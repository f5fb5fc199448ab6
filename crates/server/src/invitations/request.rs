//! What is asked and answered about invitations, in the same words over the socket and without it.

use serde::{Deserialize, Serialize};

/// Invitations in one page of a list, at most.
pub const PAGE_INVITATIONS_MAX: usize = 250;

/// What is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "invitation", rename_all = "snake_case")]
pub enum InviteRequest {
    /// Makes an invitation to make an account.
    Make {
        /// The domain; else the first that is served.
        host: Option<String>,
        /// The name that the account will have; else who comes chooses one.
        name: Option<String>,
        /// The bare JID of an account that becomes a contact of the new one.
        contact: Option<String>,
        /// For how many seconds it is good; else for as long as the config says.
        secs: Option<u64>,
    },
    /// One page of the invitations that are open, in the order of their ids.
    List {
        /// The domain; else the first that is served.
        host: Option<String>,
        /// Only those behind this one.
        after: Option<String>,
    },
    /// Takes one back.
    Revoke {
        /// The domain; else the first that is served.
        host: Option<String>,
        /// Its id or its token.
        named: String,
    },
}

/// The answer when it was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InviteReply {
    /// Made, and durable.
    Made {
        /// The invitation.
        line: InviteLine,
        /// The link that opens the door; it cannot be shown again.
        link: String,
    },
    /// A page of the list.
    Page {
        /// At most [`PAGE_INVITATIONS_MAX`].
        invitations: Vec<InviteLine>,
        /// Ask for what is behind this id; none when the list is complete.
        next: Option<String>,
    },
    /// Taken back.
    Revoked {
        /// What was taken back.
        line: InviteLine,
    },
}

/// One invitation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InviteLine {
    /// By what it is named.
    pub id: String,
    /// Its domain.
    pub host: String,
    /// Whether an account can be made with it, not only a contact.
    pub account: bool,
    /// The name that the account will have.
    pub name: Option<String>,
    /// Whose contact becomes who comes.
    pub contact: Option<String>,
    /// When it was made, as in XEP-0082.
    pub made: String,
    /// When it ends.
    pub expires: String,
}
