//! The server as an attacker finds it: the built binary on its default config.
//!
//! Only the addresses and the data directory are set, so TLS is required and every bound holds. Each
//! attacker comes from a loopback address of its own, since connections and failed logins are counted
//! by address.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::address::Address;
use crate::place::{Link, Place, SECRET, Security};
use crate::raw::Raw;
use crate::running::{RunningServer, free_addresses};
use crate::wire::Trouble;

/// The domains that it serves.
pub const HOSTS: [&str; 2] = ["capulet.lit", "montague.lit"];
/// A domain whose server an attacker plays: it is looked for where [`Fortress::authority`] says.
pub const ELSEWHERE: &str = "tybalt.lit";
/// The domain of its component.
pub const COMPONENT: &str = "irc.capulet.lit";
/// The password of all guests.
pub const PASSWORD: &str = "wherefore art thou";
/// The two ways in for clients.
pub const DOORS: [Security; 2] = [Security::StartTls, Security::Tls];

/// How long a login and a ping may take after whatever was done to the server.
const LIVES_WITHIN: Duration = Duration::from_secs(10);
const START_WAIT: Duration = Duration::from_secs(15);
const STOP_WAIT: Duration = Duration::from_secs(12);
const STARTS_MAX: usize = 3;
const LOOK: Duration = Duration::from_millis(10);
const LOG_LINES_MAX: usize = 20;
/// What the kernel counts memory and processor time in, on Linux.
const PAGE_BYTES: u64 = 4096;
const TICK: Duration = Duration::from_millis(10);

static BUILT: AtomicU32 = AtomicU32::new(0);
static SOURCES: AtomicU32 = AtomicU32::new(0);
static GUESTS: AtomicU32 = AtomicU32::new(0);

/// How far a connection has come when the attack begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The stream is open in plaintext, before STARTTLS.
    Plain,
    /// The stream is open within TLS; nobody has logged in.
    Secured,
    /// Somebody has logged in and opened the stream anew; no resource is bound.
    LoggedIn,
    /// A resource is bound.
    Bound,
}

/// All ways to stand before the server.
pub const POSITIONS: [(Security, Stage); 7] = [
    (Security::StartTls, Stage::Plain),
    (Security::StartTls, Stage::Secured),
    (Security::StartTls, Stage::LoggedIn),
    (Security::StartTls, Stage::Bound),
    (Security::Tls, Stage::Secured),
    (Security::Tls, Stage::LoggedIn),
    (Security::Tls, Stage::Bound),
];

/// A server that stops, and whose directory goes, when this is dropped.
#[derive(Debug)]
pub struct Fortress {
    binary: PathBuf,
    child: Mutex<Child>,
    pid: u32,
    dir: PathBuf,
    c2s: SocketAddr,
    c2s_tls: SocketAddr,
    /// The two doors for servers.
    s2s: [SocketAddr; 2],
    authority: SocketAddr,
    component: SocketAddr,
    accounts: Mutex<BTreeSet<String>>,
}

/// One attacker: a way in and an address to come from.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Where the server listens.
    pub to: SocketAddr,
    /// The address that the server sees.
    pub from: Ipv4Addr,
    /// How the connection is protected.
    pub security: Security,
    /// Bytes that the kernel takes for the attacker without being read, if not as many as usual.
    pub takes: Option<u32>,
}

impl Place for Gate {
    async fn account(&self, _: &Address, _: &str) -> Result<(), String> {
        Err("an attacker makes no accounts".to_owned())
    }

    async fn connect(&self, _: &Address) -> io::Result<Link> {
        Ok(Link { pipe: Box::new(self.tcp().await?), security: self.security })
    }
}

impl Gate {
    /// A bare TCP connection.
    pub async fn tcp(&self) -> io::Result<tokio::net::TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.takes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Fortress {
    /// Starts a server and waits until it listens. None: there is no binary to start.
    pub fn start() -> Option<Result<Self, String>> {
        let binary = RunningServer::binary()?;
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let fortress = match Self::spawn(&binary) {
                Ok(fortress) => fortress,
                Err(error) => return Some(Err(format!("{}: {error}", binary.display()))),
            };
            match fortress.wait_until_it_listens() {
                Ok(()) => return Some(Ok(fortress)),
                Err(why) => last = format!("{why}\n{}", fortress.log()),
            }
        }
        Some(Err(last))
    }

    fn spawn(binary: &Path) -> io::Result<Self> {
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let name = format!("verona-attack-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir)?;
        let [c2s, c2s_tls] = free_addresses()?;
        let s2s = free_addresses()?;
        let [authority, component] = free_addresses()?;
        let config = config(&dir, [c2s, c2s_tls, component]);
        fs::write(dir.join("verona.toml"), with_servers(&config, s2s, authority))?;
        let log = File::create(dir.join("log"))?;
        let child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(dir.join("verona.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        let (binary, child) = (binary.to_owned(), Mutex::new(child));
        let accounts = Mutex::default();
        Ok(Self { binary, child, pid, dir, c2s, c2s_tls, s2s, authority, component, accounts })
    }

    fn wait_until_it_listens(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_WAIT;
        for address in [self.c2s, self.c2s_tls] {
            while TcpStream::connect(address).is_err() {
                if self.has_ended() {
                    return Err("the server ended".to_owned());
                }
                if Instant::now() > deadline {
                    return Err(format!("the server does not listen on {address}"));
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Whether the process is gone.
    pub fn has_ended(&self) -> bool {
        let child = self.child.lock();
        child.is_ok_and(|mut child| !matches!(child.try_wait(), Ok(None)))
    }

    /// An attacker at a door, from an address that nobody else has.
    pub fn gate(&self, door: Security) -> Gate {
        let number = SOURCES.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        // 127.0.x.y is left to everybody else; 0 and 255 at the end have a meaning elsewhere.
        let from = Ipv4Addr::new(127, 1 + a % 100, b, 1 + c % 254);
        let from = if c > 253 { Ipv4Addr::new(127, 101 + a % 100, b, c - 253) } else { from };
        self.gate_from(door, from)
    }

    /// An attacker at a door, from this address.
    pub fn gate_from(&self, door: Security, from: Ipv4Addr) -> Gate {
        let to = if door == Security::Tls { self.c2s_tls } else { self.c2s };
        Gate { to, from, security: door, takes: None }
    }

    /// A server that attacks, from an address that nobody else has.
    pub fn server_gate(&self, door: Security) -> Gate {
        let [starttls, tls] = self.s2s;
        let to = if door == Security::Tls { tls } else { starttls };
        Gate { to, ..self.gate(door) }
    }

    /// Where the server looks for the one of [`ELSEWHERE`]: an attacker may listen there.
    pub fn authority(&self) -> SocketAddr {
        self.authority
    }

    /// An attacker at the door for components, from an address that nobody else has.
    pub fn component_gate(&self) -> Gate {
        Gate { to: self.component, security: Security::None, ..self.gate(Security::StartTls) }
    }

    /// The socket through which the operator speaks to the server.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join("data").join("control.sock")
    }

    /// A new account that nothing else uses.
    pub fn guest(&self) -> Address {
        let number = GUESTS.fetch_add(1, Ordering::Relaxed);
        let local = format!("guest{number}");
        let domain = HOSTS[0].to_owned();
        let guest = Address { local, domain, resource: "balcony".to_owned() };
        self.add(&guest.bare());
        guest
    }

    /// Makes an account, if it is not there yet. Panics if the server refuses.
    pub fn add(&self, jid: &str) {
        // Held until it is made, so that who comes second finds it there.
        let mut known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(jid) {
            return;
        }
        if let Err(why) = self.add_account(jid) {
            panic!("no account for {jid}: {why}\n{}", self.end_of_log());
        }
        known.insert(jid.to_owned());
    }

    fn add_account(&self, jid: &str) -> Result<(), String> {
        let run = || -> io::Result<std::process::Output> {
            let mut command = Command::new(&self.binary)
                .args(["account", "add", jid, "--password-stdin", "--config"])
                .arg(self.dir.join("verona.toml"))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = command.stdin.take() {
                stdin.write_all(format!("{PASSWORD}\n").as_bytes())?;
            }
            command.wait_with_output()
        };
        let output = run().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// A connection that has come to this stage; from TLS on as `who`.
    pub async fn reach(&self, gate: &Gate, stage: Stage, who: &Address) -> Result<Raw, Trouble> {
        let mut raw = Raw::connect(gate, who).await?;
        if stage == Stage::Plain {
            raw.open_plain().await?;
            return Ok(raw);
        }
        let features = raw.open().await?;
        if stage == Stage::Secured {
            return Ok(raw);
        }
        raw.authenticate(&features, &who.local, PASSWORD).await?;
        raw.reopen().await?;
        if stage == Stage::Bound {
            raw.bind(&who.resource).await?;
        }
        Ok(raw)
    }

    /// The server lives when a fresh login within TLS and a ping are answered in time.
    pub async fn lives(&self) -> Result<Duration, String> {
        let watch = Address {
            local: "watch".to_owned(),
            domain: HOSTS[0].to_owned(),
            resource: String::new(),
        };
        self.add(&watch.bare());
        let began = Instant::now();
        let alive = async {
            let gate = self.gate(Security::StartTls);
            let mut raw = self.reach(&gate, Stage::Bound, &watch).await?;
            raw.ping(HOSTS[0]).await
        };
        match tokio::time::timeout(LIVES_WITHIN, alive).await {
            Ok(Ok(())) if !self.has_ended() => Ok(began.elapsed()),
            Ok(Ok(())) => Err(format!("the server ended\n{}", self.end_of_log())),
            Ok(Err(trouble)) => {
                Err(format!("the server is not well: {trouble}\n{}", self.end_of_log()))
            }
            Err(_) => Err(format!("no login within {LIVES_WITHIN:?}\n{}", self.end_of_log())),
        }
    }

    /// Bytes of memory that the process has in use.
    pub fn memory(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or_default() * PAGE_BYTES
    }

    /// The most memory that the process had in use since it began, or since `forget_peak`.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// Begins the measure of `peak_memory` anew.
    pub fn forget_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5")
    }

    /// Processor time that the process has used.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in brackets may hold spaces; user and system time are fields 14 and 15.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// File descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_MAX)..).unwrap_or_default().join("\n")
    }

    /// The directory with its config and data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn stop(&mut self) {
        let Ok(child) = self.child.get_mut() else { return };
        let deadline = Instant::now() + STOP_WAIT;
        if kill_process(Pid::from_child(child), Signal::TERM).is_ok() {
            while Instant::now() < deadline {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Fortress {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A config with doors for servers, and the place of the one that an attacker plays.
fn with_servers(config: &str, [s2s, s2s_tls]: [SocketAddr; 2], authority: SocketAddr) -> String {
    let doors = format!("s2s = [\"{s2s}\"]\ns2s_tls = [\"{s2s_tls}\"]\n");
    let doors = config.replace("s2s = []\ns2s_tls = []\n", &doors);
    format!("s2s.hosts = {{ \"{ELSEWHERE}\" = \"{authority}\" }}\n{doors}")
}

/// Nothing but addresses and the directory: all else is as it is delivered.
fn config(dir: &Path, [c2s, c2s_tls, component]: [SocketAddr; 3]) -> String {
    let mut text = format!("data_dir = {:?}\n", dir.join("data"));
    for host in HOSTS {
        text.push_str(&format!("[[host]]\ndomain = {host:?}\n"));
    }
    text + &format!(
        "[listen]\nc2s = [\"{c2s}\"]\nc2s_tls = [\"{c2s_tls}\"]\ns2s = []\ns2s_tls = []\nhttp = []\n\
         https = []\ncomponent = [\"{component}\"]\n\
         [[component]]\ndomain = \"{COMPONENT}\"\nsecret = \"{SECRET}\"\n"
    )
}
