//! The binary as an operator meets it: each test runs `verona` itself on a directory of its own.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
    data_dir = "data"
    [[host]]
    domain = "montague.lit"
    [listen]
    c2s = ["127.0.0.1:0"]
    c2s_tls = []
    s2s = []
    s2s_tls = []
    http = []
    https = []
    component = []
"#;

/// The config with a name server that knows nothing, so that nothing leaves this machine.
fn config_with_dns() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            // RFC 1035 §4.1.1: an answer, and its code is "server failure".
            bytes[2] |= 0x80;
            bytes[3] = 0x82;
            let _ = socket.send_to(&bytes[..length], peer);
        }
    });
    format!("{CONFIG}\n[dns]\nservers = [\"{address}\"]\n")
}

/// A directory with a config.
struct Site {
    dir: PathBuf,
}

impl Site {
    fn new(config: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("verona-commands-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("verona.toml"), config).expect("written");
        Self { dir }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verona"));
        command.arg("--config").arg(self.dir.join("verona.toml")).args(line.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("VERONA_LOG").env_remove("NOTIFY_SOCKET");
        command
    }

    fn run(&self, line: &str, input: &str) -> Output {
        let mut child = self.command(line).spawn().expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // Who does not read its input may have closed it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("ended")
    }

    fn said(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn refused(&self, line: &str, code: i32) -> String {
        let output = self.run(line, "");
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn serve(&self) -> Running<'_> {
        let log = fs::File::create(self.dir.join("log")).expect("a file");
        let child = self.command("serve").stderr(log).spawn().expect("started");
        let running = Running { child, site: self };
        running.wait_until_ready();
        running
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A server; killed when dropped.
struct Running<'a> {
    child: Child,
    site: &'a Site,
}

impl Running<'_> {
    fn wait_until_ready(&self) {
        let begun = Instant::now();
        while !self.site.run("status", "").status.success() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never got ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(killed.expect("kill is there").success());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn accounts_are_made_without_and_with_a_running_server() {
    let site = Site::new(CONFIG);
    let add = |jid| site.said(&format!("account add {jid} --password-stdin"), "Wherefore\n");
    assert_eq!(add("Romeo@montague.lit"), "romeo@montague.lit: made\n");
    let running = site.serve();
    assert_eq!(add("benvolio@montague.lit"), "benvolio@montague.lit: made\n");
    site.said("account disable romeo@montague.lit", "");
    let listed = "benvolio@montague.lit\nromeo@montague.lit (disabled)\n";
    assert_eq!(site.said("account list", ""), listed);
    let told = site.refused("account add benvolio@montague.lit --password-file /dev/null", 1);
    assert!(told.contains("holds no password"), "{told}");
    assert_eq!(site.said("stop", ""), "stopped\n");
    drop(running);
    assert_eq!(site.said("account list", ""), listed);
    site.said("account delete romeo@montague.lit --yes", "");
    let json = site.said("account list --json", "");
    let lines: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(lines[0]["jid"], "benvolio@montague.lit");
    assert_eq!(lines.as_array().map(Vec::len), Some(1));
}

#[test]
fn invitations_are_made_listed_and_taken_back_without_and_with_a_running_server() {
    let invited = CONFIG.replace("[listen]", "registration = \"invite\"\n[listen]");
    let site = Site::new(&format!("{invited}\n[modules.invitations]\ndays = 2\n"));
    site.said("account add romeo@montague.lit --password-stdin", "Wherefore\n");
    let made = |line: &str| {
        let json = site.said(&format!("invite --json {line}"), "");
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")
    };
    let days = |made: &serde_json::Value| {
        let day = |key: &str| made[key].as_str().expect("a time")[..10].to_owned();
        (day("made"), day("expires"))
    };
    let first = made("--name mercutio --contact romeo@montague.lit --expires 3d");
    let link = first["link"].as_str().expect("a link");
    let token = link.strip_prefix("xmpp:mercutio@montague.lit?register;preauth=").expect("a token");
    assert!(token.len() >= 32 && token.bytes().all(|b| b.is_ascii_alphanumeric()), "{token}");
    assert_ne!(days(&first).0, days(&first).1);

    let running = site.serve();
    let text = site.said("invite --qr --host montague.lit", "");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("xmpp:montague.lit?register;preauth="), "{text}");
    assert!(lines.len() > 15 && lines[3].contains('█'), "{text}");
    assert!(lines[lines.len() - 1].starts_with("good for one account until "), "{text}");
    // Without a terminal there is no code for cameras.
    assert_eq!(site.said("invite", "").lines().count(), 2);

    let listed = site.said("invite --list", "");
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(!listed.contains(token), "{listed}");
    let line = listed.lines().find(|line| line.contains("mercutio")).expect("listed");
    let id = first["id"].as_str().expect("an id");
    assert!(line.starts_with(id), "{line}");
    assert!(line.ends_with("the account mercutio@montague.lit with romeo@montague.lit"), "{line}");
    assert_eq!(site.said(&format!("invite --revoke {id}"), ""), format!("{id}: taken back\n"));
    let told = site.refused(&format!("invite --revoke {id}"), 1);
    assert!(told.contains("montague.lit has no open invitation"), "{told}");
    drop(running);

    let json = site.said("invite --list --json", "");
    let lines: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(lines.as_array().map(Vec::len), Some(2));
    for (line, code, why) in [
        ("invite --name romeo", 1, "this name is taken"),
        ("invite --name a@b", 1, "cannot be the name of an account"),
        ("invite --contact benvolio@montague.lit", 1, "there is no account benvolio@montague.lit"),
        ("invite --host capulet.lit", 1, "capulet.lit is not served here"),
        ("invite --expires 400d", 1, "at most 365 days"),
        ("invite --expires soon", 2, "write it as 90m, 12h or 5d"),
    ] {
        let told = site.refused(line, code);
        assert!(told.contains(why), "{line}: {told}");
    }
}

#[test]
fn an_invitation_that_would_open_nothing_is_not_made() {
    let site = Site::new(CONFIG);
    let told = site.refused("invite", 1);
    assert!(told.contains("set registration = \"invite\" in its [[host]] section"), "{told}");
    let site = Site::new(&format!("{CONFIG}\n[modules.invitations]\ndays = 0\n"));
    assert!(site.refused("serve", 1).contains("must be from 1 to 365"));
}

#[test]
fn the_first_start_tells_what_listens_where_and_how_to_begin() {
    let site = Site::new(CONFIG);
    let log = || fs::read_to_string(site.dir.join("log")).expect("a log");
    // The control socket answers before the last line is out.
    let until_told = |what: &str| {
        let begun = Instant::now();
        while !log().contains(what) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what} is not in {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let running = site.serve();
    until_told("listens on 127.0.0.1:");
    until_told(" for clients, with STARTTLS");
    until_told("ready: serves montague.lit, with data in /");
    until_told(
        "there is no account yet; to make one: verona account add NAME@montague.lit --config",
    );
    site.said("account add romeo@montague.lit --password-stdin", "Wherefore\n");
    running.signal("HUP");
    until_told("config and certificates are reloaded");
    assert_eq!(site.said("stop", ""), "stopped\n");
    drop(running);
    let running = site.serve();
    until_told("ready: serves montague.lit, with data in /");
    assert_eq!(site.said("stop", ""), "stopped\n");
    assert!(!log().contains("no account yet"), "{}", log());
    drop(running);
}

#[test]
fn who_cannot_start_is_told_why_and_where_to_look() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    let site = Site::new(&CONFIG.replace("127.0.0.1:0", &taken));
    let told = site.refused("serve", 1);
    assert!(told.contains(&format!("cannot listen on {taken} (c2s in [listen])")), "{told}");
    assert!(told.contains("`verona check --config "), "{told}");

    let site = Site::new(CONFIG);
    fs::write(site.dir.join("data"), "").expect("written");
    assert!(site.refused("serve", 1).contains("is there, but is no directory"));
    fs::remove_file(site.dir.join("data")).expect("removed");
    fs::create_dir(site.dir.join("data")).expect("made");
    fs::write(site.dir.join("data/verona.db"), "no database").expect("written");
    let told = site.refused("serve", 1);
    assert!(told.contains("stored data is damaged: ") && told.contains("verona.db"), "{told}");
}

#[test]
fn accounts_are_refused_in_the_same_words_with_and_without_a_server() {
    let site = Site::new(CONFIG);
    let told = || {
        ["juliet", "juliet@capulet.lit", "j u@montague.lit", "romeo@montague.lit/orchard"].map(
            |jid| {
                let mut command = site.command("account disable");
                command.arg(jid);
                let output = command.output().expect("run");
                assert_eq!(output.status.code(), Some(1));
                String::from_utf8(output.stderr).expect("text")
            },
        )
    };
    let stored = told();
    assert!(stored[0].contains("write name@domain"), "{stored:?}");
    let running = site.serve();
    let asked = told();
    assert!(asked[1].contains("capulet.lit is not served here, but montague.lit"), "{asked:?}");
    for place in [0, 2, 3] {
        assert_eq!(stored[place], asked[place]);
    }
    drop(running);
}

#[test]
fn check_finds_what_only_a_module_knows_to_be_wrong() {
    let config = config_with_dns();
    let site = Site::new(&format!("{config}\n[modules.version]\noss = true\n"));
    let output = site.run("check", "");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(told.contains("there is no such key; did you mean `os`?"), "{told}");
}

#[test]
fn a_password_among_the_arguments_is_refused() {
    let site = Site::new(CONFIG);
    for line in [
        "account add romeo@montague.lit Wherefore",
        "account passwd romeo@montague.lit --password Wherefore",
    ] {
        let told = site.refused(line, 2);
        assert!(told.contains("--password-stdin") && !told.contains("Wherefore"), "{told}");
    }
}

#[test]
fn commands_to_a_server_that_is_not_there_end_with_three() {
    let site = Site::new(CONFIG);
    for line in ["status", "reload", "stop"] {
        let told = site.refused(line, 3);
        assert!(told.starts_with("verona: no server is running with this config"), "{told}");
    }
}

#[test]
fn one_directory_has_one_server_and_survives_its_crash() {
    let site = Site::new(CONFIG);
    let mut running = site.serve();
    let told = site.refused("serve", 1);
    assert!(told.contains("another server runs here"), "{told}");
    running.signal("KILL");
    running.child.wait().expect("ended");
    drop(running);
    // The socket it left is no obstacle.
    let running = site.serve();
    assert_eq!(site.said("stop", ""), "stopped\n");
    drop(running);
}

#[test]
fn a_reload_takes_over_what_can_change_and_refuses_what_is_wrong() {
    let site = Site::new(CONFIG);
    let running = site.serve();
    let file = site.dir.join("verona.toml");
    let more = format!("{CONFIG}\n[[host]]\ndomain = \"capulet.lit\"\n");
    fs::write(&file, &more).expect("written");
    assert!(site.said("reload", "").contains("capulet.lit has a new certificate"));
    assert!(site.said("status", "").contains("hosts: montague.lit, capulet.lit"));

    let told: serde_json::Value =
        serde_json::from_str(&site.said("reload --json", "")).expect("JSON");
    assert_eq!(told, serde_json::json!({ "notes": [] }), "nothing has changed since");

    fs::write(&file, format!("{more}\n[limits]\nstanza_byte_max = 1\n")).expect("written");
    assert!(site.refused("reload", 1).contains("unknown key `stanza_byte_max`"));
    fs::write(&file, format!("{more}\n[storage]\nurl = \"sqlite:other.db\"\n")).expect("written");
    let told = site.refused("reload", 1);
    assert!(told.contains("[storage] cannot change while the server runs"), "{told}");
    fs::write(&file, &more).expect("written");
    assert!(site.said("status", "").contains("hosts: montague.lit, capulet.lit"));
    drop(running);
}

#[test]
fn the_service_manager_hears_of_start_and_end() {
    let site = Site::new(CONFIG);
    let path = site.dir.join("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let hear = || {
        let mut heard = [0; 200];
        loop {
            match manager.recv(&mut heard) {
                Ok(count) => return String::from_utf8_lossy(&heard[..count]).into_owned(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("not told in time: {error}"),
            }
        }
    };
    let child = site
        .command("serve")
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut running = Running { child, site: &site };
    assert!(hear().contains("READY=1"));
    running.signal("HUP");
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert!(hear().contains("READY=1"));
    running.signal("TERM");
    assert!(hear().contains("STOPPING=1"));
    assert!(running.child.wait().expect("ended").success());
    assert!(!site.dir.join("data/control.sock").exists());
}

#[test]
fn check_ends_with_one_when_something_is_wrong() {
    let site = Site::new(&config_with_dns());
    let told = site.said("check", "");
    assert!(told.contains("0 errors"), "{told}");
    let dns = "DNS montague.lit for clients: cannot be looked up: the DNS server answers";
    assert!(told.contains(dns), "{told}");
    let folder = site.dir.join("data/certs/montague.lit");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("fullchain.pem"), "torn").expect("written");
    let output = site.run("check --json", "");
    assert_eq!(output.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let errors = findings.as_array().expect("a list").iter();
    let errors: Vec<_> = errors.filter(|finding| finding["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["subject"], "certificate montague.lit");
    // And the server does not start with it.
    let told = site.refused("serve", 1);
    assert!(told.contains("fullchain.pem: holds no certificate"), "{told}");
}

#[test]
fn check_tells_of_a_store_that_cannot_be_used() {
    let config = config_with_dns();
    let site = Site::new(&format!("{config}\n[storage]\nurl = \"postgres://db/verona\"\n"));
    site.refused("serve", 1);
    let output = site.run("check", "");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(told.contains("set [storage] url to \"sqlite:verona.db\""), "{told}");
}

#[test]
fn a_wrong_config_is_told_by_every_command() {
    let site = Site::new("[limits]\nstanza_byte_max = 1\n");
    for line in ["serve", "status", "account list", "config show"] {
        let told = site.refused(line, 1);
        assert!(told.contains("verona.toml:2: unknown key `stanza_byte_max`"), "{line}: {told}");
    }
    let output = site.run("check", "");
    assert_eq!(output.status.code(), Some(1));
    // The reference needs no config.
    assert!(site.said("config show --reference", "").contains("| `stanza_bytes_max` |"));
}

#[test]
fn a_section_that_its_module_refuses_is_not_shown_as_if_it_were_right() {
    let site = Site::new(&format!("{CONFIG}\n[modules.mam]\nretention_days = \"3\"\n"));
    let told = site.refused("config show", 1);
    assert!(told.contains("[modules.mam] `retention_days`: "), "{told}");
    assert!(told.contains("expected a number, 0 or more"), "{told}");
}

#[test]
fn the_config_is_shown_as_it_is_meant() {
    let site = Site::new(CONFIG);
    let shown = site.said("config show --json", "");
    let json: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let data = json["data_dir"].as_str().expect("a path");
    assert!(Path::new(data).is_absolute() && Path::new(data).ends_with("data"), "{data}");
    assert_eq!(json["listen"]["c2s"][0], "127.0.0.1:0");
    assert!(site.said("config show --effective", "").contains("# Set by the file"));
}
