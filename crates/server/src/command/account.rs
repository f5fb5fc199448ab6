//! `verona account`: through the control socket when a server runs, else on the store itself.

use crate::accounts::request::{AccountLine, AccountReply, AccountRequest};
use crate::command::args::{Account, List, Named};
use crate::command::desk::{Desk, MISFIT};
use crate::command::failure::{Failure, print};
use crate::command::password;
use crate::config::load::Config;

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
    match Desk::open(config)?.account(request)? {
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
        let AccountReply::Page { accounts, next } = desk.account(request)? else {
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
