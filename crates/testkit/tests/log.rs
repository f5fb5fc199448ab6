//! What the built binary writes into its log: who and which stream each line about a login or a
//! session is of, and nothing that a peer has put there. Without a binary nothing is tried.

use std::time::{Duration, Instant};

use verona_testkit::address::Address;
use verona_testkit::node::NS_CLIENT;
use verona_testkit::place::{Place, Security};
use verona_testkit::raw::Raw;
use verona_testkit::running::{RunningServer, Wanted};
use verona_testkit::script::Setup;

const NS_SM: &str = "urn:xmpp:sm:3";
const PASSWORD: &str = "Wherefore art thou?";

/// What a line says that is about a login or a session.
const ABOUT: [&str; 6] = [
    "logged in",
    "login failed",
    "session sleeps",
    "session resumed",
    "session ended",
    "stream ended",
];

/// A name of a resource that looks like fields of another line.
const RESOURCE: &str = "balcony\" stream=0123 account=tybalt@capulet.lit";

fn juliet() -> Address {
    Address::parse("juliet@capulet.lit/balcony").expect("an address")
}

async fn server() -> Option<RunningServer> {
    let Some(binary) = RunningServer::binary() else {
        println!("no verona binary: nothing is tried (name one with VERONA_BIN)");
        return None;
    };
    let wanted = Wanted {
        binary,
        storage: "memory:".to_owned(),
        transport: Security::None,
        setup: Setup {
            config: "[security]\nrequire_tls = false\nlegacy_auth = true\n".to_owned(),
            ..Setup::default()
        },
    };
    let server = RunningServer::start(wanted).await.expect("it starts");
    server.account(&juliet(), PASSWORD).await.expect("made");
    Some(server)
}

/// A stream on which Juliet has logged in and not bound.
async fn logged_in(server: &RunningServer) -> Raw {
    let mut raw = Raw::connect(server, &juliet()).await.expect("a connection");
    let features = raw.open().await.expect("a stream");
    raw.authenticate(&features, "juliet", PASSWORD).await.expect("logged in");
    raw.reopen().await.expect("a stream");
    raw
}

/// Logins that fail, each with a name that would make a line of its own.
async fn fail(server: &RunningServer) {
    let mut raw = Raw::connect(server, &juliet()).await.expect("a connection");
    let features = raw.open().await.expect("a stream");
    assert!(raw.authenticate(&features, "juliet", "a wrong one").await.is_err());
    for name in ["tybalt&#10;2026-11-20T12:00:00Z  INFO forged", "tybalt\u{85}\u{202e}\u{9b}2J"] {
        let login = format!(
            "<iq type='set' id='l'><query xmlns='jabber:iq:auth'><username>{name}</username>\
             <password>x</password><resource>y</resource></query></iq>"
        );
        raw.send(login.as_bytes()).await.expect("sent");
        let answer = raw.answer("l").await.expect("answered");
        assert!(answer.child("error", NS_CLIENT).is_some());
    }
}

/// A session from its login over a sleep to its end.
async fn live(server: &RunningServer) {
    let mut raw = logged_in(server).await;
    raw.bind(RESOURCE).await.expect("bound");
    raw.send(format!("<enable xmlns='{NS_SM}' resume='true'/>").as_bytes()).await.expect("sent");
    let enabled = raw.element().await.expect("enabled");
    let id = enabled.attr("id").expect("an id").to_owned();
    drop(raw);
    until(server, "session sleeps").await;
    let mut raw = logged_in(server).await;
    let resume = format!("<resume xmlns='{NS_SM}' previd='{id}' h='0'/>");
    raw.send(resume.as_bytes()).await.expect("sent");
    assert!(raw.element().await.expect("resumed").is("resumed", NS_SM));
    raw.send(b"</stream:stream>").await.expect("sent");
    until(server, "session ended").await;
}

/// Waits until the log says something.
async fn until(server: &RunningServer, what: &str) {
    let began = Instant::now();
    while !server.whole_log().contains(what) {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {}", server.whole_log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of a field that is written without quotes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    rest.split(' ').next()
}

#[tokio::test]
async fn every_line_about_a_session_names_its_stream_and_account() {
    let Some(server) = server().await else { return };
    fail(&server).await;
    live(&server).await;
    let log = server.whole_log();
    for what in ABOUT {
        assert!(log.contains(what), "{what} is not in {log}");
    }
    for line in log.lines().filter(|line| ABOUT.iter().any(|what| line.contains(what))) {
        let stream = field(line, "stream").unwrap_or_default();
        let is_id = stream.len() == 32 && stream.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_id, "no stream: {line}");
        let account = field(line, "account").unwrap_or_default();
        // An account that was only claimed stands in quotes.
        let claimed = line.contains("login failed") && account.starts_with('"');
        assert!(account == "juliet@capulet.lit" || claimed, "no account: {line}");
    }
    // One stream from its login to its end, and another from there.
    let of = |what: &str| -> Vec<&str> {
        let lines = log.lines().filter(|line| line.contains(what));
        lines.filter_map(|line| field(line, "stream")).collect()
    };
    let (slept, resumed) = (of("session sleeps"), of("session resumed"));
    assert!(slept.len() == 1 && resumed.len() == 1 && slept != resumed, "{log}");
    assert!(of("stream ended").contains(&slept[0]) && of("session ended").contains(&resumed[0]));
}

#[tokio::test]
async fn no_line_is_made_of_bytes_of_a_peer() {
    let Some(server) = server().await else { return };
    fail(&server).await;
    live(&server).await;
    let log = server.whole_log();
    // What makes a line or moves a cursor: nothing of it came through.
    let odd = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!log.contains(odd), "{log:?}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
        let is_time = time.len() > 20 && time.starts_with("20") && time.ends_with('Z');
        let level = rest.trim_start().split(' ').next().unwrap_or_default();
        let is_level = ["INFO", "WARN", "ERROR", "DEBUG"].contains(&level);
        assert!(is_time && is_level, "a line of whom? {line}");
        let message = rest.trim_start().trim_start_matches(level).trim_start();
        assert!(!message.starts_with("forged"), "{line}");
    }
    let forged = log.lines().find(|line| line.contains("forged")).expect("it was logged");
    assert!(forged.contains("WARN") && forged.contains("\\n"), "{forged}");
    // What a client calls its resource stands in quotes.
    let named = log.lines().find(|line| line.contains("session sleeps")).expect("it slept");
    assert!(named.contains(&format!("resource={RESOURCE:?}")), "{named}");
}
