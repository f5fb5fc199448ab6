//! Does the machine give what the server needs: disk, ports, clock, file descriptors?

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::check::finding::Finding;
use crate::config::load::Config;
use crate::control::protocol::Status;

/// Free bytes under which the server will soon refuse messages.
const SPACE_BYTES_MIN: u64 = 100 * 1024 * 1024;

/// Free bytes under which somebody should look.
const SPACE_BYTES_LOW: u64 = 1024 * 1024 * 1024;

/// File descriptors under which connections run out before memory does.
const DESCRIPTORS_LOW: u64 = 65_536;

/// File descriptors that the server needs for itself and a few hundred sessions.
const DESCRIPTORS_MIN: u64 = 1024;

/// Looks at the data directory: whose it is, whether it can be written, how much room there is.
pub fn data_dir(config: &Config) -> Vec<Finding> {
    let dir = &config.data_dir;
    let subject = format!("data directory {}", dir.display());
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![absent(dir, &subject)];
        }
        Err(error) => {
            let cure = "make it a directory that the user of the server can enter";
            return vec![Finding::error(subject, error.to_string(), cure)];
        }
    };
    let mut findings = Vec::new();
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        let text = format!("it belongs to user {}, but this is user {user}", metadata.uid());
        let cure = "run this command and the server as the same user";
        findings.push(Finding::warning(&subject, text, cure));
    }
    if metadata.mode() & 0o077 != 0 {
        let text = "other users of this machine can look into it";
        findings.push(Finding::warning(&subject, text, format!("chmod 700 {}", dir.display())));
    }
    if let Err(error) = try_writing(dir) {
        let cure = "let the user of the server write there, on a disk that is not full";
        findings.push(Finding::error(&subject, format!("cannot be written: {error}"), cure));
    }
    findings.extend(space(dir, &subject));
    findings
}

fn absent(dir: &Path, subject: &str) -> Finding {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match try_writing(parent) {
        Ok(()) => Finding::ok(subject, "will be made at the first start"),
        Err(error) => {
            let text = format!("is not there and cannot be made: {error}");
            let cure = format!("make it and give it to the user of the server: {}", dir.display());
            Finding::error(subject, text, cure)
        }
    }
}

fn try_writing(dir: &Path) -> io::Result<()> {
    let probe = dir.join(format!(".verona-check-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe)?;
    let written = file.write_all(b"verona").and_then(|()| file.sync_all());
    fs::remove_file(&probe)?;
    written
}

fn space(dir: &Path, subject: &str) -> Option<Finding> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} MiB are free", free / (1024 * 1024));
    let cure = "make room, or move data_dir to a larger disk";
    Some(match free {
        0..SPACE_BYTES_MIN => Finding::error(subject, text, cure),
        SPACE_BYTES_MIN..SPACE_BYTES_LOW => Finding::warning(subject, text, cure),
        _ => Finding::ok(subject, text),
    })
}

/// Looks whether each address can be listened on, or is held by our own running server.
pub fn ports(config: &Config, running: Option<&Status>) -> Vec<Finding> {
    let listen = &config.listen;
    // The others are not opened by this version.
    let listeners = [
        ("c2s", &listen.c2s),
        ("c2s_tls", &listen.c2s_tls),
        ("s2s", &listen.s2s),
        ("s2s_tls", &listen.s2s_tls),
        ("component", &listen.component),
    ];
    let mut findings = Vec::new();
    for (name, addresses) in listeners {
        for address in addresses {
            findings.push(port(name, *address, running));
        }
    }
    findings
}

fn port(name: &str, address: SocketAddr, running: Option<&Status>) -> Finding {
    let subject = format!("port {name} {address}");
    let held = running
        .and_then(|status| status.listening.get(name))
        .is_some_and(|held| held.contains(&address));
    if held {
        return Finding::ok(subject, "the running server listens here");
    }
    let error = match TcpListener::bind(address) {
        Ok(_) if running.is_none() => return Finding::ok(subject, "free"),
        Ok(_) => {
            let text = "the running server does not listen here";
            return Finding::warning(subject, text, "restart it to take up the changed config");
        }
        Err(error) => error,
    };
    let port = address.port();
    let cure = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("another program holds it: `ss -ltnp 'sport = :{port}'` shows which")
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE".to_owned()
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: `ip address` shows those it has".to_owned()
        }
        _ => format!("change `{name}` in [listen]"),
    };
    Finding::error(subject, error.to_string(), cure)
}

/// A clock that is behind the binary itself is wrong for certain.
pub fn clock(now: SystemTime) -> Finding {
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|file| file.modified());
    clock_after(now, built.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn clock_after(now: SystemTime, built: SystemTime) -> Finding {
    // Copying files between machines may bring a time that is a little ahead.
    let slack = Duration::from_secs(24 * 60 * 60);
    if now.checked_add(slack).is_some_and(|now| now < built) {
        let cure = "set the clock, and keep it right with an NTP client such as chrony";
        return Finding::error("clock", "it is behind the date of this program", cure);
    }
    Finding::ok("clock", "plausible")
}

/// How many connections the limit of file descriptors leaves room for.
pub fn descriptors() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    judge_descriptors(limit.maximum.unwrap_or(u64::MAX))
}

fn judge_descriptors(hard: u64) -> Finding {
    let text = match hard {
        u64::MAX => "no limit".to_owned(),
        _ => format!("{hard}, about as many connections"),
    };
    let cure = "raise the hard limit, for systemd by `LimitNOFILE=1048576` in the service";
    match hard {
        0..DESCRIPTORS_MIN => Finding::error("file descriptors", text, cure),
        DESCRIPTORS_MIN..DESCRIPTORS_LOW => Finding::warning("file descriptors", text, cure),
        _ => Finding::ok("file descriptors", text),
    }
}

/// Whether a SQLite file that is there can be opened at all; its inside is the store's business.
pub fn store_file(config: &Config) -> Option<Finding> {
    let file = config.sqlite_file()?;
    let subject = format!("store {}", file.display());
    match File::open(&file) {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(Finding::ok(subject, "will be made at the first start"))
        }
        Err(error) => {
            let cure = "let the user of the server read and write it";
            Some(Finding::error(subject, error.to_string(), cure))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::check::finding::Level;
    use crate::scratch::Scratch;

    fn config_in(scratch: &Scratch, text: &str) -> Config {
        let file = scratch.path().join("verona.toml");
        Config::parse(text, Some(&file), &[]).expect("right")
    }

    #[test]
    fn a_port_that_another_program_holds_is_an_error() {
        let scratch = Scratch::new();
        let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = holder.local_addr().expect("an address");
        let text = format!(
            "[listen]\nc2s = [\"{address}\"]\nc2s_tls = []\ns2s = []\ns2s_tls = []\n\
             http = []\nhttps = []\ncomponent = []"
        );
        let config = config_in(&scratch, &text);
        let found = ports(&config, None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Error);
        assert!(found[0].cure.as_ref().is_some_and(|cure| cure.contains("ss -ltnp")));

        // Unless it is our own server.
        let listening = BTreeMap::from([("c2s".to_owned(), vec![address])]);
        let running = Status { listening, ..Status::default() };
        assert_eq!(ports(&config, Some(&running))[0].level, Level::Ok);

        // A free one that the running server should hold, but does not.
        drop(holder);
        assert_eq!(ports(&config, None)[0].level, Level::Ok);
        assert_eq!(ports(&config, Some(&Status::default()))[0].level, Level::Warning);
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        let address = "192.0.2.1:5222".parse().expect("an address");
        let found = port("c2s", address, None);
        assert_eq!(found.level, Level::Error);
        assert!(found.cure.is_some_and(|cure| cure.contains("no such address")));
    }

    #[test]
    fn a_data_directory_that_others_can_read_is_told() {
        let scratch = Scratch::new();
        let config = config_in(&scratch, "data_dir = \"data\"");
        assert_eq!(data_dir(&config)[0].text, "will be made at the first start");
        fs::create_dir(&config.data_dir).expect("made");
        fs::set_permissions(&config.data_dir, Permissions::from_mode(0o755)).expect("set");
        let worst = |config| data_dir(config).into_iter().max_by_key(|finding| finding.level);
        let found = worst(&config).expect("something");
        assert_eq!(found.level, Level::Warning);
        assert!(found.cure.is_some_and(|cure| cure.starts_with("chmod 700")));
        fs::set_permissions(&config.data_dir, Permissions::from_mode(0o700)).expect("set");
        let left = fs::read_dir(&config.data_dir).expect("there").count();
        assert_eq!(left, 0, "the probe is gone");
    }

    #[test]
    fn a_clock_in_the_past_is_an_error() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        assert_eq!(clock_after(built - year, built).level, Level::Error);
        assert_eq!(clock_after(built + year, built).level, Level::Ok);
    }

    #[test]
    fn few_file_descriptors_are_told() {
        assert_eq!(judge_descriptors(256).level, Level::Error);
        assert_eq!(judge_descriptors(4096).level, Level::Warning);
        assert_eq!(judge_descriptors(1 << 20).level, Level::Ok);
    }
}
