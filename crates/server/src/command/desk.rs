//! Where commands reach what the server keeps: in the running server, else in the store itself.

use std::sync::Arc;

use tokio::runtime::Runtime;
use verona_core::store::Store;

use crate::accounts::request::{AccountReply, AccountRequest, Accounts};
use crate::accounts::stored::StoredAccounts;
use crate::command::failure::Failure;
use crate::config::load::Config;
use crate::control::client::{ControlClient, ControlError};
use crate::control::protocol::{Answer, Request};
use crate::invitations::book::Book;
use crate::invitations::request::{InviteReply, InviteRequest};
use crate::storage;

/// What is said of an answer to another question.
pub const MISFIT: &str = "the server gave an answer that does not fit; is it an older version?";

/// Where the commands are done.
pub struct Desk<'a> {
    config: &'a Config,
    place: Place,
}

enum Place {
    /// In the running server.
    Running(ControlClient),
    /// On the store, which nobody else has open.
    Stored { runtime: Runtime, store: Arc<dyn Store> },
}

impl<'a> Desk<'a> {
    /// Asks for the running server, and opens the store when there is none.
    pub fn open(config: &'a Config) -> Result<Self, Failure> {
        match ControlClient::connect(&config.control_socket()) {
            Ok(client) => return Ok(Self { config, place: Place::Running(client) }),
            Err(ControlError::NotRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::new)?;
        let store = runtime.block_on(async { storage::open(config) }).map_err(Failure::new)?;
        Ok(Self { config, place: Place::Stored { runtime, store } })
    }

    /// Does something with accounts.
    pub fn account(&mut self, request: AccountRequest) -> Result<AccountReply, Failure> {
        match &mut self.place {
            Place::Running(client) => match client.ask(&Request::Account { request })? {
                Answer::Account { reply } => Ok(reply),
                _ => Err(Failure::new(MISFIT)),
            },
            Place::Stored { runtime, store } => {
                let accounts = StoredAccounts::of(self.config, store.clone());
                runtime.block_on(accounts.perform(request)).map_err(Failure::new)
            }
        }
    }

    /// Does something with invitations.
    pub fn invite(&mut self, request: InviteRequest) -> Result<InviteReply, Failure> {
        match &mut self.place {
            Place::Running(client) => match client.ask(&Request::Invite { request })? {
                Answer::Invite { reply } => Ok(reply),
                _ => Err(Failure::new(MISFIT)),
            },
            Place::Stored { runtime, store } => {
                let book = Book::of(self.config, store.clone());
                runtime.block_on(book.perform(request)).map_err(Failure::new)
            }
        }
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        if let Place::Stored { runtime, store } = &self.place {
            runtime.block_on(store.close());
        }
    }
}
