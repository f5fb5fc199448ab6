//! The real server: the built binary, started on a directory and on ports of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::address::Address;
use crate::listening::Listening;
use crate::place::{HOSTS, Link, Place, SECRET, Security};
use crate::script::Setup;

/// A port found free can be taken by another before the server binds it.
const STARTS_MAX: usize = 3;
const START_WAIT: Duration = Duration::from_secs(15);
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long a server may take to end in good order (SECURITY §5), on a busy machine.
const END_WAIT: Duration = Duration::from_secs(30);
/// How often a starting or stopping process is looked at.
const LOOK: Duration = Duration::from_millis(10);
const LOG_LINES_MAX: usize = 40;

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// What kind of server is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The binary.
    pub binary: PathBuf,
    /// `storage.url`.
    pub storage: String,
    /// The way in for clients.
    pub transport: Security,
    /// What the script asks for.
    pub setup: Setup,
}

/// A server that stops, and whose directory goes, when this is dropped.
#[derive(Debug)]
pub struct RunningServer {
    wanted: Wanted,
    child: Child,
    dir: PathBuf,
    c2s: SocketAddr,
    c2s_tls: SocketAddr,
    component: SocketAddr,
}

impl RunningServer {
    /// The binary to start: `VERONA_BIN`, else the one built beside the running test.
    pub fn binary() -> Option<PathBuf> {
        if let Some(binary) = std::env::var_os("VERONA_BIN") {
            return Some(binary.into());
        }
        let test = std::env::current_exe().ok()?;
        let binary = test.parent()?.parent()?.join("verona");
        binary.is_file().then_some(binary)
    }

    /// Starts a server and waits until it listens.
    pub async fn start(wanted: Wanted) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let mut server = Self::spawn(&wanted)
                .map_err(|error| format!("{} does not start: {error}", wanted.binary.display()))?;
            match server.wait_until_it_listens().await {
                Ok(()) => return Ok(server),
                Err(why) => last = format!("{why}\n{}", server.log()),
            }
        }
        Err(last)
    }

    fn spawn(wanted: &Wanted) -> io::Result<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("verona-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir)?;
        let [c2s, c2s_tls] = free_addresses()?;
        let component = free_address()?;
        let addresses = [c2s, c2s_tls, component];
        fs::write(dir.join("verona.toml"), config(wanted, &dir, addresses))?;
        let child = serve(wanted, &dir).inspect_err(|_| drop(fs::remove_dir_all(&dir)))?;
        Ok(Self { wanted: wanted.clone(), child, dir, c2s, c2s_tls, component })
    }

    /// Asks the server to end, as the system does, and waits for it.
    pub async fn end(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + END_WAIT;
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| error.to_string())?;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return Err(format!("the server does not end\n{}", self.log()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Starts a server that has ended again, on the same data and ports.
    pub async fn begin_again(&mut self) -> Result<(), String> {
        self.child = serve(&self.wanted, &self.dir).map_err(|error| error.to_string())?;
        self.wait_until_it_listens().await
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listening().address
    }

    async fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_WAIT;
        for address in [self.c2s, self.c2s_tls] {
            while TcpStream::connect(address).await.is_err() {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(format!("the server ended: {status}"));
                }
                if Instant::now() > deadline {
                    return Err(format!("the server does not listen on {address}"));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    fn listening(&self) -> Listening {
        let security = self.wanted.transport;
        let address = if security == Security::Tls { self.c2s_tls } else { self.c2s };
        Listening { address, security }
    }

    /// Makes an account with the command of the server, as its operator would.
    fn add_account(&self, jid: &str, password: &str) -> io::Result<()> {
        let mut command = Command::new(&self.wanted.binary)
            .args(["account", "add", jid, "--password-stdin", "--config"])
            .arg(self.dir.join("verona.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = command.stdin.take() {
            stdin.write_all(format!("{password}\n").as_bytes())?;
        }
        let output = command.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    /// All that the server has logged since it was started.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn stop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let deadline = Instant::now() + STOP_WAIT;
        if kill_process(pid, Signal::TERM).is_ok() {
            while Instant::now() < deadline {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Place for RunningServer {
    fn suits(&self, setup: &Setup) -> Result<(), String> {
        match *setup == self.wanted.setup {
            true => Ok(()),
            false => Err("the server was started for another script".to_owned()),
        }
    }

    async fn account(&self, address: &Address, password: &str) -> Result<(), String> {
        self.add_account(&address.bare(), password).map_err(|error| error.to_string())
    }

    async fn connect(&self, address: &Address) -> io::Result<Link> {
        if address.is_component() {
            let door = Listening { address: self.component, security: Security::None };
            return door.link().await;
        }
        self.listening().link().await
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LOG_LINES_MAX);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

/// Starts the binary in a directory with its config.
fn serve(wanted: &Wanted, dir: &Path) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    Command::new(&wanted.binary)
        .arg("serve")
        .arg("--config")
        .arg(dir.join("verona.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// Two addresses on which nobody listens now. Their ports are free on all addresses of this machine:
/// some servers listen on all, and connections from many addresses have just used many ports.
pub(crate) fn free_addresses() -> io::Result<[SocketAddr; 2]> {
    Ok([free_address()?, free_address()?])
}

/// An address below those that the system gives to outgoing connections, and that no other server
/// of this process was given: nobody takes it before the server does.
fn free_address() -> io::Result<SocketAddr> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7_919);
    for _ in PORTS {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + step % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).map_err(io::Error::other)?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The configuration; a section that the script writes itself is left to it.
fn config(wanted: &Wanted, dir: &Path, [c2s, c2s_tls, component]: [SocketAddr; 3]) -> String {
    let mut text = format!("data_dir = {:?}\n", dir.join("data"));
    let registration = wanted.setup.registration.as_deref();
    let registration = registration.map(|word| format!("registration = {word:?}\n"));
    for host in HOSTS {
        let admins: Vec<&String> = wanted.setup.admins_of(host).collect();
        let registration = registration.as_deref().unwrap_or("");
        let _ = write!(text, "[[host]]\ndomain = {host:?}\n{registration}");
        if !admins.is_empty() {
            let _ = writeln!(text, "admins = {admins:?}");
        }
    }
    let _ = writeln!(text, "[storage]\nurl = {:?}", wanted.storage);
    let components = &wanted.setup.components;
    let door = if components.is_empty() { String::new() } else { format!("\"{component}\"") };
    let _ = writeln!(
        text,
        "[listen]\nc2s = [\"{c2s}\"]\nc2s_tls = [\"{c2s_tls}\"]\ns2s = []\ns2s_tls = []\n\
         http = []\nhttps = []\ncomponent = [{door}]"
    );
    for (domain, connections) in components {
        let _ = writeln!(
            text,
            "[[component]]\ndomain = {domain:?}\nsecret = {SECRET:?}\n\
             connections_max = {connections}"
        );
    }
    let own = |header: &str| wanted.setup.config.lines().any(|line| line.trim() == header);
    for (header, line) in [("[limits]", "unlimited = true"), ("[security]", "require_tls = false")]
    {
        if !own(header) {
            let _ = writeln!(text, "{header}\n{line}");
        }
    }
    text + &wanted.setup.config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(config: &str) -> Wanted {
        Wanted {
            binary: "/nowhere/verona".into(),
            storage: "memory:".to_owned(),
            transport: Security::None,
            setup: Setup { config: config.to_owned(), ..Setup::default() },
        }
    }

    #[test]
    fn a_script_can_write_sections_of_its_own() {
        let address: SocketAddr = "127.0.0.1:5222".parse().unwrap();
        let text = |extra: &str| config(&wanted(extra), Path::new("/tmp/x"), [address; 3]);
        let plain = text("");
        assert!(plain.contains("[limits]\nunlimited = true"));
        assert!(plain.contains("domain = \"capulet.lit\"\n[[host]]"));
        let own = text("[limits]\nresources_max = 1\n");
        assert_eq!(own.matches("[limits]").count(), 1);
        assert!(own.ends_with("[limits]\nresources_max = 1\n"));
    }

    #[tokio::test]
    async fn a_binary_that_is_not_there_is_named() {
        let error = RunningServer::start(wanted("")).await.unwrap_err();
        assert!(error.contains("/nowhere/verona does not start"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_told() {
        let wanted = Wanted { binary: "/bin/false".into(), ..wanted("") };
        let error = RunningServer::start(wanted).await.unwrap_err();
        assert!(error.contains("the server ended: exit status: 1"), "{error}");
    }
}
