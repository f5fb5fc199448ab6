//! From the command line to the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::command::args::{self, Cli, Command, Show};
use crate::command::failure::{Failure, print};
use crate::command::{account, check, invite, running};
use crate::config::load::Config;
use crate::config::problem::Problems;
use crate::config::show::{Detail, json, reference, show};
use crate::serve;
use crate::settings::{MODULES, hosts};

/// Does what the command line says and tells how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                eprintln!("verona: {failure}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = load(cli.config);
    let command = match cli.command {
        Command::Check(args) => return check::run(config, &args),
        // The reference is of the program, not of a file.
        Command::Config(args::Config::Show(Show { reference: true, .. })) => {
            return print(&reference());
        }
        command => command,
    };
    let config = config.map_err(refused)?;
    match command {
        Command::Serve => {
            let look = hint(&config);
            serve::run(config).map_err(|failure| failure.with(look))
        }
        Command::Account(command) => account::run(&config, command),
        Command::Invite(args) => invite::run(&config, args),
        Command::Check(_) => Ok(()),
        Command::Config(args::Config::Show(args)) => print(&shown(&config, args)?),
        Command::Status(args) => running::status(&config, args),
        Command::Reload(args) => running::reload(&config, args),
        Command::Stop => running::stop(&config),
    }
}

fn load(file: Option<PathBuf>) -> Result<Config, Problems> {
    let file = file.or_else(|| std::env::var_os("VERONA_CONFIG").map(PathBuf::from));
    match file {
        Some(file) => Config::load(&file, MODULES),
        None => Ok(Config::builtin()),
    }
}

/// Where one who cannot start finds out more.
fn hint(config: &Config) -> String {
    let file = config.file.as_ref().map(|file| format!(" --config {}", file.display()));
    format!("`verona check{}` says what is wrong and what mends it", file.unwrap_or_default())
}

fn refused(problems: Problems) -> Failure {
    Failure::new(format!("the config is wrong\n{problems}"))
}

fn shown(config: &Config, args: Show) -> Result<String, Failure> {
    // What only the modules can judge.
    hosts(config).map_err(|problem| Failure::new(format!("the config is wrong\n{problem}")))?;
    if args.json {
        let text = serde_json::to_string_pretty(&json(config)).map_err(Failure::new)?;
        return Ok(format!("{text}\n"));
    }
    Ok(show(config, if args.effective { Detail::Explained } else { Detail::Set }))
}
