//! `verona status`, `reload` and `stop`: what is asked of the running server.

use std::fmt::Write;

use serde::Serialize;

use crate::command::args::Json;
use crate::command::failure::{Failure, print};
use crate::config::load::Config;
use crate::control::client::ControlClient;
use crate::control::protocol::{Answer, ComponentState, OtherServer, Request, Status};

/// Tells how the running server is.
pub fn status(config: &Config, args: Json) -> Result<(), Failure> {
    let status = ask_status(config)?;
    if args.json {
        let text = serde_json::to_string_pretty(&status).map_err(Failure::new)?;
        return print(&format!("{text}\n"));
    }
    print(&text(&status))
}

/// How the running server is.
pub fn ask_status(config: &Config) -> Result<Status, Failure> {
    match ControlClient::connect(&config.control_socket())?.ask(&Request::Status)? {
        Answer::Status { status } => Ok(status),
        other => Err(misfit(&other)),
    }
}

/// What a reload led to, for scripts.
#[derive(Serialize)]
struct Reloaded {
    notes: Vec<String>,
}

/// Makes the running server read config and certificates anew.
pub fn reload(config: &Config, args: Json) -> Result<(), Failure> {
    match ControlClient::connect(&config.control_socket())?.ask(&Request::Reload)? {
        Answer::Reloaded { notes } if args.json => {
            let text = serde_json::to_string_pretty(&Reloaded { notes }).map_err(Failure::new)?;
            print(&format!("{text}\n"))
        }
        Answer::Reloaded { notes } => {
            let notes = notes.iter().map(|note| format!("{note}\n"));
            print(&format!("reloaded\n{}", notes.collect::<String>()))
        }
        other => Err(misfit(&other)),
    }
}

/// Ends the running server, and waits until it has ended.
pub fn stop(config: &Config) -> Result<(), Failure> {
    let mut client = ControlClient::connect(&config.control_socket())?;
    match client.ask(&Request::Stop)? {
        Answer::Stopping => {
            client.wait_for_end()?;
            print("stopped\n")
        }
        other => Err(misfit(&other)),
    }
}

fn misfit(answer: &Answer) -> Failure {
    Failure::new(format!("the server gave an answer that does not fit: {answer:?}"))
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "verona {} runs as process {} since {}",
        status.version,
        status.pid,
        duration(status.uptime_secs)
    );
    let _ = writeln!(text, "hosts: {}", status.hosts.join(", "));
    for (name, addresses) in &status.listening {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{name}: {}", addresses.join(", "));
    }
    let Status { sessions, asleep, .. } = status;
    let _ = writeln!(text, "sessions: {sessions}, of these waiting for their clients: {asleep}");
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let (used, may) = (mib(status.memory_bytes), mib(status.memory_bytes_max));
    let _ = writeln!(text, "memory: {used} MiB, may use {may} MiB");
    if status.panics > 0 {
        let _ = writeln!(text, "errors in the program: {}, the log has them", status.panics);
    }
    for component in &status.components {
        let ComponentState { domain, connections, stanzas } = component;
        let _ =
            writeln!(text, "component {domain}: connections: {connections}, waiting: {stanzas}");
    }
    for other in &status.servers {
        let _ = writeln!(text, "{}", server_line(other));
    }
    text
}

/// One line for another server, such as `capulet.lit to montague.lit: connected, dialback only`.
fn server_line(other: &OtherServer) -> String {
    let mut line = format!("{} to {}: {}", other.host, other.domain, other.state);
    if let Some(proven) = &other.proven {
        let _ = write!(line, ", {proven}");
    }
    if other.inbound > 0 {
        let _ = write!(line, ", {} inbound", other.inbound);
    }
    if other.stanzas > 0 {
        let _ = write!(line, ", {} stanzas wait ({} bytes)", other.stanzas, other.bytes);
    }
    if let Some(failure) = &other.failure {
        let ago = other.failed_secs_ago.map(duration).unwrap_or_default();
        let _ = write!(line, "; failed {ago} ago: {failure}");
    }
    line
}

fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_told_in_lines() {
        let status = Status {
            version: "1.2.3".to_owned(),
            pid: 42,
            uptime_secs: 90_061,
            hosts: vec!["montague.lit".to_owned()],
            listening: [("c2s".to_owned(), vec!["[::]:5222".parse().expect("an address")])].into(),
            sessions: 7,
            asleep: 2,
            memory_bytes: 90 << 20,
            memory_bytes_max: 1_434 << 20,
            panics: 1,
            components: vec![ComponentState {
                domain: "irc.montague.lit".to_owned(),
                connections: 1,
                stanzas: 3,
            }],
            servers: vec![
                OtherServer {
                    host: "montague.lit".to_owned(),
                    domain: "capulet.lit".to_owned(),
                    state: "connected".to_owned(),
                    inbound: 1,
                    proven: Some("dialback only".to_owned()),
                    ..OtherServer::default()
                },
                OtherServer {
                    host: "montague.lit".to_owned(),
                    domain: "verona.lit".to_owned(),
                    state: "failed".to_owned(),
                    stanzas: 2,
                    bytes: 300,
                    failure: Some("no such domain".to_owned()),
                    failed_secs_ago: Some(61),
                    ..OtherServer::default()
                },
            ],
        };
        assert_eq!(
            text(&status),
            "verona 1.2.3 runs as process 42 since 1 d 1 h\nhosts: montague.lit\nc2s: [::]:5222\n\
             sessions: 7, of these waiting for their clients: 2\n\
             memory: 90 MiB, may use 1434 MiB\n\
             errors in the program: 1, the log has them\n\
             component irc.montague.lit: connections: 1, waiting: 3\n\
             montague.lit to capulet.lit: connected, dialback only, 1 inbound\n\
             montague.lit to verona.lit: failed, 2 stanzas wait (300 bytes); \
             failed 1 min ago: no such domain\n"
        );
        assert_eq!([59, 60, 3_660].map(duration), ["59 s", "1 min", "1 h 1 min"]);
    }
}
