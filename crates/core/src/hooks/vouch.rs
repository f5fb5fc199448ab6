//! Requests for a subscription that somebody vouches for, so that the account need not be asked.

use std::any::Any;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::store::Store;
use crate::store::batch::Batch;

/// A request for a subscription, before the account hears of it.
pub struct Asking {
    /// The account that is asked.
    pub account: Arc<Account>,
    /// The request, whole.
    pub request: Stanza,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The time, in microseconds since the epoch.
    pub now_micros: u64,
}

/// A module vouches for who asks: the subscription becomes mutual.
pub struct Voucher {
    /// What becomes durable in one with the subscription.
    pub writes: Batch,
    /// Kept until that has happened.
    pub held: Box<dyn Any + Send>,
}

/// The future of a voucher; None when nobody vouches.
pub type Vouching = BoxFuture<'static, Option<Voucher>>;
