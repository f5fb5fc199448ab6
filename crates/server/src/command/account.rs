//! `verona account`: through the control socket when a server runs, else on the store itself.

use std::sync::Arc;

use tokio::runtime::Runtime;
use verona_core::store::Store;

use crate::accounts::request::{AccountLine, AccountReply, AccountRequest, Accounts};
use crate::accounts::stored::StoredAccounts;
use crate::command::args::{Account, List, Named};
use crate::command::failure::{Failure, print};
use crate::command::password;
use crate::config::load::Config;
use crate::control::client::{ControlClient, ControlError};
use crate::control::protocol::{Answer, Request};
use crate::storage;

const MISFIT: &str = "the server gave an answer that does not fit; is it an older version?";

/// Does what the command says.
pub fn run(config: &Config, command: Account) -> Result<(), Failure> {
    match command {
        Account::Add(args) => {
            let password = password::get(&args)?;
            change(config, AccountRequest::Add { jid: args.jid, password }, "made")
        }
        Account::Passwd(args) => {
            let password = password::get(&args)?;
            let request = AccountRequest::Passwd { jid: args.jid, password };
            change(config, request, "has its new password")
        }
        Account::Disable(Named { jid }) => {
            change(config, AccountRequest::Disable { jid }, "disabled")
        }
        Account::Enable(Named { jid }) => change(config, AccountRequest::Enable { jid }, "enabled"),
        Account::Delete(args) => {
            if !args.yes {
                password::confirm(&format!("Delete {} with all it has?", args.jid))?;
            }
            change(config, AccountRequest::Delete { jid: args.jid }, "deleted")
        }
        Account::List(args) => list(config, args),
    }
}

fn change(config: &Config, request: AccountRequest, done: &str) -> Result<(), Failure> {
    match Desk::open(config)?.ask(request)? {
        AccountReply::Done { jid } => print(&format!("{jid}: {done}\n")),
        AccountReply::Page { .. } => Err(Failure::new(MISFIT)),
    }
}

fn list(config: &Config, args: List) -> Result<(), Failure> {
    let mut desk = Desk::open(config)?;
    let mut all: Vec<AccountLine> = Vec::new();
    let mut after = None;
    loop {
        let request = AccountRequest::List { host: args.host.clone(), after };
        let AccountReply::Page { accounts, next } = desk.ask(request)? else {
            return Err(Failure::new(MISFIT));
        };
        all.extend(accounts);
        after = next;
        if after.is_none() {
            break;
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&all).map_err(Failure::new)?;
        return print(&format!("{text}\n"));
    }
    let lines = all.iter().map(|line| match line.disabled {
        true => format!("{} (disabled)\n", line.jid),
        false => format!("{}\n", line.jid),
    });
    print(&lines.collect::<String>())
}

/// Where the accounts are reached.
enum Desk {
    /// In the running server.
    Running(ControlClient),
    /// On the store, which nobody else has open.
    Stored { runtime: Runtime, store: Arc<dyn Store>, accounts: StoredAccounts },
}

impl Desk {
    fn open(config: &Config) -> Result<Self, Failure> {
        match ControlClient::connect(&config.control_socket()) {
            Ok(client) => return Ok(Self::Running(client)),
            Err(ControlError::NotRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::new)?;
        let store = runtime.block_on(async { storage::open(config) }).map_err(Failure::new)?;
        let accounts = StoredAccounts::of(config, store.clone());
        Ok(Self::Stored { runtime, store, accounts })
    }

    fn ask(&mut self, request: AccountRequest) -> Result<AccountReply, Failure> {
        match self {
            Self::Running(client) => match client.ask(&Request::Account { request })? {
                Answer::Account { reply } => Ok(reply),
                _ => Err(Failure::new(MISFIT)),
            },
            Self::Stored { runtime, accounts, .. } => {
                runtime.block_on(accounts.perform(request)).map_err(Failure::new)
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Self::Stored { runtime, store, .. } = self {
            runtime.block_on(store.close());
        }
    }
}
