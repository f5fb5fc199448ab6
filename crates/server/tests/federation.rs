//! Two servers as their operators meet them: `verona check --federate` tells each step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A directory with two servers in it.
struct City {
    dir: PathBuf,
}

impl Drop for City {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A server; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl City {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("verona-federation-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Self { dir }
    }

    /// An authority that both trust signs for both.
    fn certify(&self, domains: &[&str]) {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "The Prince's CA");
        let key = KeyPair::generate().expect("a key");
        let prince = CertifiedIssuer::self_signed(params, key).expect("an authority");
        fs::write(self.dir.join("prince.pem"), prince.pem()).expect("written");
        for domain in domains {
            let folder = self.dir.join(domain).join("certs").join(domain);
            fs::create_dir_all(&folder).expect("a folder");
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![(*domain).to_owned()]).expect("names");
            let certificate = params.signed_by(&key, &prince).expect("a certificate");
            fs::write(folder.join("fullchain.pem"), certificate.pem()).expect("written");
            fs::write(folder.join("privkey.pem"), key.serialize_pem()).expect("written");
        }
    }

    fn write(&self, domain: &str, listen: &str, hosts: &str) -> PathBuf {
        let file = self.dir.join(format!("{domain}.toml"));
        let text = format!(
            "data_dir = \"{domain}\"\n[[host]]\ndomain = \"{domain}\"\n[listen]\nc2s = []\n\
             c2s_tls = []\n{listen}\nhttp = []\nhttps = []\ncomponent = []\n[s2s]\n\
             hosts = {{ {hosts} }}\ntrust = [\"prince.pem\"]\nrequire_certificate = true\n\
             [dns]\nservers = [\"127.0.0.1:9\"]\ndnssec = false\n"
        );
        fs::write(&file, text).expect("written");
        file
    }
}

fn verona(config: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verona"));
    command.arg("--config").arg(config).args(line.split(' '));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("VERONA_LOG").env_remove("NOTIFY_SOCKET");
    command
}

fn run(config: &Path, line: &str) -> Output {
    verona(config, line).output().expect("ended")
}

fn serve(config: &Path) -> Running {
    let child = verona(config, "serve").stderr(Stdio::null()).spawn().expect("started");
    let running = Running(child);
    let begun = Instant::now();
    while !run(config, "status").status.success() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never got ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

fn port_of(config: &Path, listener: &str) -> u64 {
    let output = run(config, "status --json");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let address = status["listening"][listener][0].as_str().expect("an address");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn a_trial_tells_each_step() {
    let city = City::new();
    city.certify(&["capulet.lit", "montague.lit"]);
    let listen = "s2s = [\"127.0.0.1:0\"]\ns2s_tls = [\"127.0.0.1:0\"]";
    let called = city.write("montague.lit", listen, "");
    let _montague = serve(&called);
    let (plain, direct) = (port_of(&called, "s2s"), port_of(&called, "s2s_tls"));
    let caller = city.dir.join("capulet.lit.toml");
    // Nobody is there to try it.
    city.write("capulet.lit", "s2s = []\ns2s_tls = []", "");
    let output = run(&caller, "check --federate montague.lit");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && told.contains("`verona serve`"), "{told}");

    for (place, first) in [
        (format!("127.0.0.1:{plain}"), "STARTTLS"),
        (format!("tls://127.0.0.1:{direct}"), "TLS from the first byte"),
    ] {
        let hosts = format!("\"montague.lit\" = \"{place}\", \"rosaline.lit\" = \"127.0.0.1:1\"");
        city.write("capulet.lit", "s2s = []\ns2s_tls = []", &hosts);
        let capulet = serve(&caller);
        let output = run(&caller, "check --federate montague.lit");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{first}: {told}");
        for step in [
            "by [s2s] hosts of the config",
            ": connected",
            "its certificate proves montague.lit",
            "authenticated by our certificate",
            "capulet.lit can send to it",
        ] {
            assert!(told.contains(step), "{first}: {step} is not in {told}");
        }
        let output = run(&caller, "check --json --federate rosaline.lit");
        assert_eq!(output.status.code(), Some(1));
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let last = findings.as_array().and_then(|all| all.last()).expect("a finding").clone();
        assert_eq!(last["level"], "error");
        assert!(last["text"].as_str().is_some_and(|text| text.contains("refused")), "{last}");
        let output = run(&caller, "check --federate montague.lit --host tybalt.lit");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("tybalt.lit is not served here"), "{told}");
        drop(capulet);
    }
}
