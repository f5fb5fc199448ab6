//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What the exit codes mean; a script can rely on them.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it failed; the message says why and what to do
  2  the command line was wrong
  3  no server is running with this config";

/// An XMPP server: your own messaging, in one binary.
#[derive(Debug, Parser)]
#[command(name = "verona", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// The config file; without one: $VERONA_CONFIG, else localhost with data in ./verona-data.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground.
    Serve,
    /// Make and change accounts, in the running server or on its store.
    #[command(subcommand)]
    Account(Account),
    /// Invite somebody to make an account: a link, and a QR code of it.
    Invite(Invite),
    /// Look at config, certificates, DNS, ports, disk and clock; say what mends what is wrong.
    Check(Check),
    /// Show the config.
    #[command(subcommand)]
    Config(Config),
    /// Tell how the running server is.
    Status(Json),
    /// Make the running server read config and certificates anew.
    Reload(Json),
    /// End the running server; sessions can be resumed at the next start.
    Stop,
}

/// How the outcome is written.
#[derive(Args, Clone, Copy, Debug)]
pub struct Json {
    /// Write JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// What is checked.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// Instead, let the running server try a federation with this domain; tells each step.
    #[arg(long, value_name = "DOMAIN")]
    pub federate: Option<String>,

    /// The domain of this server that tries it; without one: the first.
    #[arg(long, value_name = "DOMAIN", requires = "federate")]
    pub host: Option<String>,

    /// Write JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// The commands for accounts.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account.
    Add(WithPassword),
    /// Set another password; sessions go on.
    Passwd(WithPassword),
    /// End the sessions of an account and refuse logins; what it has is kept.
    Disable(Named),
    /// Take that back.
    Enable(Named),
    /// Remove an account with all it has.
    Delete(Delete),
    /// List the accounts.
    List(List),
}

/// An account.
#[derive(Args, Debug)]
pub struct Named {
    /// The account, as in juliet@example.org.
    pub jid: String,
}

/// An account and where its password comes from.
#[derive(Args, Debug)]
pub struct WithPassword {
    /// The account, as in juliet@example.org.
    pub jid: String,

    /// Read the password from the first line of the standard input.
    #[arg(long, conflicts_with = "password_file")]
    pub password_stdin: bool,

    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Here only to be refused: everybody on the machine can read it.
    #[arg(long, hide = true)]
    pub password: Option<OsString>,

    /// Here only to be refused, for the same reason.
    #[arg(hide = true)]
    pub rest: Vec<OsString>,
}

/// What to delete.
#[derive(Args, Debug)]
pub struct Delete {
    /// The account, as in juliet@example.org.
    pub jid: String,

    /// Do not ask whether it is meant.
    #[arg(long)]
    pub yes: bool,
}

/// What to list.
#[derive(Args, Debug)]
pub struct List {
    /// Only the accounts of this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub host: Option<String>,

    /// Write JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// An invitation, or what is done with those that are open.
#[derive(Args, Debug)]
pub struct Invite {
    /// The domain; without it, the first of the config.
    #[arg(long, value_name = "DOMAIN")]
    pub host: Option<String>,

    /// The name that the account will have; without it, who comes chooses one.
    #[arg(long)]
    pub name: Option<String>,

    /// An account that becomes a contact of the new one.
    #[arg(long, value_name = "JID")]
    pub contact: Option<String>,

    /// For how long it is good: 90m, 12h, 5d; without it, as the config says.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,

    /// Draw the QR code also where the output is no terminal.
    #[arg(long, conflicts_with = "json")]
    pub qr: bool,

    /// List the invitations that are open.
    #[arg(long, conflicts_with_all = ["name", "contact", "expires", "qr", "revoke"])]
    pub list: bool,

    /// Take one back, named by its id or its token.
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "contact", "expires", "qr", "json"])]
    pub revoke: Option<String>,

    /// Write JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// The commands for the config.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show what the file sets, as the server understands it.
    Show(Show),
}

/// How the config is shown.
#[derive(Args, Debug)]
pub struct Show {
    /// Show every key with what it does and its default.
    #[arg(long, conflicts_with_all = ["reference", "json"])]
    pub effective: bool,

    /// Show the reference of all keys, as Markdown.
    #[arg(long, conflicts_with = "json")]
    pub reference: bool,

    /// Show every key as JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_config_may_stand_anywhere() {
        for line in ["verona --config a.toml serve", "verona serve --config a.toml"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect("understood");
            assert_eq!(cli.config, Some(PathBuf::from("a.toml")));
        }
    }
}
