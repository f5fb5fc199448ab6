//! `verona check`.

use std::path::Path;
use std::time::SystemTime;

use verona_core::store::error::{Fault, StoreError};

use crate::check::domains::{self, Doors};
use crate::check::finding::{Finding, Level, text};
use crate::check::{certificates, config as config_check, federation, machine};
use crate::command::args::Check;
use crate::command::failure::{Failure, print};
use crate::command::running::ask_status;
use crate::config::load::Config;
use crate::config::problem::Problems;
use crate::control::protocol::Status;
use crate::settings::hosts;
use crate::storage;

const WILL_NOT_START: &str = "mend this line; `verona serve` will not start";

/// Looks at everything and tells it; fails when there is an error among it.
pub fn run(config: Result<Config, Problems>, args: &Check) -> Result<(), Failure> {
    let findings = match &config {
        Ok(config) => match &args.federate {
            Some(domain) => federation::look(config, domain, args.host.as_deref()),
            None => look(config),
        },
        Err(problems) => problems.0.iter().map(broken).collect(),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&findings).map_err(Failure::new)?;
        print(&format!("{text}\n"))?;
    } else {
        print(&text(&findings))?;
    }
    match findings.iter().any(|finding| finding.level == Level::Error) {
        true => Err(Failure::told()),
        false => Ok(()),
    }
}

fn broken(problem: &crate::config::problem::Problem) -> Finding {
    let place = problem.file.as_deref().unwrap_or(Path::new("config")).display();
    let subject = match problem.line {
        Some(line) => format!("config {place}:{line}"),
        None => format!("config {place}"),
    };
    Finding::error(subject, &problem.message, WILL_NOT_START)
}

fn look(config: &Config) -> Vec<Finding> {
    let running = ask_status(config).ok();
    let mut findings = config_check::look(config);
    // What only the modules can judge: their own sections.
    if let Err(problem) = hosts(config) {
        let subject = "config, the sections of the modules";
        findings.push(Finding::error(subject, problem, WILL_NOT_START));
    }
    findings.extend(machine::data_dir(config));
    findings.extend(store(config, running.as_ref()));
    findings.extend(certificates::look(config, SystemTime::now()));
    findings.extend(machine::ports(config, running.as_ref()));
    findings.extend(domains(config, running.as_ref()));
    findings.push(machine::clock(SystemTime::now()));
    findings.push(machine::descriptors());
    findings
}

/// Looks at the domains as others see them.
fn domains(config: &Config, running: Option<&Status>) -> Vec<Finding> {
    let doors = if running.is_some() { Doors::Open } else { Doors::Closed };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(domains::look(config, doors)),
        Err(error) => {
            let cure = "look at the limits of this user: processes, memory, file descriptors";
            vec![Finding::error("DNS", format!("cannot be asked: {error}"), cure)]
        }
    }
}

/// Opens the store as the server would, unless the running server has it, or there is none yet.
fn store(config: &Config, running: Option<&Status>) -> Option<Finding> {
    let Some(file) = config.sqlite_file() else {
        // What is no file is there at once, or not at all.
        let error = storage::open(config).err()?;
        return Some(Finding::error("[storage]", error.to_string(), cure(error.fault)));
    };
    if let Some(finding) = machine::store_file(config) {
        return Some(finding);
    }
    let subject = format!("store {}", file.display());
    if running.is_some() {
        return Some(Finding::ok(subject, "in use by the running server"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let opened = runtime.map_err(|error| StoreError::new(Fault::Io, error)).and_then(|runtime| {
        runtime.block_on(async {
            storage::open(config)?.close().await;
            Ok(())
        })
    });
    Some(match opened {
        Ok(()) => Finding::ok(subject, "can be opened"),
        Err(error) => Finding::error(subject, error.to_string(), cure(error.fault)),
    })
}

fn cure(fault: Fault) -> &'static str {
    match fault {
        Fault::Full => "make room, or move data_dir to a larger disk",
        Fault::Damaged => "restore the file from a backup; keep the damaged one",
        Fault::Io => {
            "let the user of the server read and write it, and look into the log of the system for \
             errors of the disk"
        }
        Fault::Unusable | Fault::Closed | Fault::Refused => {
            "`verona serve` will not start before this is mended"
        }
    }
}
