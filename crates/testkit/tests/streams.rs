//! Streams as real clients and operators treat them, on the built binary: old clients, clients that
//! are not tidy, new certificates, and much at once. Without a binary nothing is tried.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustls::pki_types::CertificateDer;
use verona_testkit::address::Address;
use verona_testkit::fortress::{Fortress, HOSTS, PASSWORD, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STREAM};
use verona_testkit::place::{Place, Security};
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_testkit::running::{RunningServer, Wanted};
use verona_testkit::script::Setup;
use verona_testkit::tls::{Wish, wrap_as};

const NS_AUTH: &str = "jabber:iq:auth";
const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

fn fortress() -> Option<Fortress> {
    let started = Fortress::start();
    if started.is_none() {
        println!("no verona binary: nothing is tried (name one with VERONA_BIN)");
    }
    started.map(|fortress| fortress.expect("it starts"))
}

fn juliet() -> Address {
    Address::parse("juliet@capulet.lit/balcony").expect("an address")
}

/// A server for old clients, in plaintext on loopback, with an account for Juliet.
async fn old_server(legacy_auth: bool) -> Option<RunningServer> {
    let config = format!("[security]\nrequire_tls = false\nlegacy_auth = {legacy_auth}\n");
    let wanted = Wanted {
        binary: RunningServer::binary()?,
        storage: "memory:".to_owned(),
        transport: Security::None,
        setup: Setup { config, ..Setup::default() },
    };
    let server = RunningServer::start(wanted).await.expect("it starts");
    server.account(&juliet(), PASSWORD).await.expect("made");
    Some(server)
}

/// The header of a client that knows nothing of XMPP 1.0.
fn old_header() -> String {
    format!("<stream:stream to='capulet.lit' xmlns='{NS_CLIENT}' xmlns:stream='{NS_STREAM}'>")
}

fn login(password: &str, resource: &str) -> String {
    format!(
        "<iq type='set' id='l'><query xmlns='{NS_AUTH}'><username>juliet</username>\
         <password>{password}</password>{resource}</query></iq>"
    )
}

#[tokio::test]
async fn a_client_from_before_xmpp_1_0_logs_in_where_it_may() {
    let Some(server) = old_server(true).await else { return };
    let mut raw = Raw::connect(&server, &juliet()).await.unwrap();
    raw.send(old_header().as_bytes()).await.unwrap();
    let Item::Open(header) = raw.item().await.unwrap() else { panic!("no header") };
    // RFC 6120 §4.7.5: no version is answered without one, and no features follow.
    assert_eq!(header.attr("version"), None);
    assert!(header.attr("id").is_some_and(|id| !id.is_empty()));

    let ask = format!("<query xmlns='{NS_AUTH}'><username>juliet</username></query>");
    let fields = raw.ask("", "get", &ask).await.unwrap();
    let query = fields.child("query", NS_AUTH).expect("what is to be filled in");
    for field in ["username", "password", "resource"] {
        assert!(query.child(field, NS_AUTH).is_some(), "{field}");
    }

    // XEP-0078 §3.1: what is missing is not acceptable, what is wrong not authorized.
    let resource = "<resource>balcony</resource>";
    for (wrong, condition) in
        [(login(PASSWORD, ""), "not-acceptable"), (login("who is it", resource), "not-authorized")]
    {
        raw.send(wrong.as_bytes()).await.unwrap();
        let answer = raw.answer("l").await.unwrap();
        let error = answer.child("error", NS_CLIENT).expect("an error");
        let ns = "urn:ietf:params:xml:ns:xmpp-stanzas";
        assert!(error.child(condition, ns).is_some(), "{error:?}");
    }
    raw.send(login(PASSWORD, resource).as_bytes()).await.unwrap();
    assert_eq!(raw.answer("l").await.unwrap().attr("type"), Some("result"));

    // From here on it is a session like any other.
    raw.ping("capulet.lit").await.unwrap();
    raw.send(b"<message to='juliet@capulet.lit/balcony' id='m'><body>Ay me!</body></message>")
        .await
        .unwrap();
    let message = raw.element().await.unwrap();
    assert_eq!(message.attr("from"), Some("juliet@capulet.lit/balcony"));
}

/// XEP-0078 §4: what the features announce is served, on a stream of today as well.
#[tokio::test]
async fn the_old_login_is_served_where_it_is_announced() {
    let Some(server) = old_server(true).await else { return };
    let mut raw = Raw::connect(&server, &juliet()).await.unwrap();
    let features = raw.open_plain().await.unwrap();
    assert!(features.child("auth", "http://jabber.org/features/iq-auth").is_some());
    let resource = "<resource>balcony</resource>";
    raw.send(login("who is it", resource).as_bytes()).await.unwrap();
    assert_eq!(raw.answer("l").await.unwrap().attr("type"), Some("error"));
    raw.send(login(PASSWORD, resource).as_bytes()).await.unwrap();
    assert_eq!(raw.answer("l").await.unwrap().attr("type"), Some("result"));
    raw.ping("capulet.lit").await.unwrap();
}

#[tokio::test]
async fn a_client_from_before_xmpp_1_0_is_refused_by_default() {
    let Some(server) = old_server(false).await else { return };
    let mut raw = Raw::connect(&server, &juliet()).await.unwrap();
    raw.send(old_header().as_bytes()).await.unwrap();
    raw.expect_stream_error("unsupported-version").await.unwrap();
    // And a new one is not told that it could.
    let mut raw = Raw::connect(&server, &juliet()).await.unwrap();
    let features = raw.open_plain().await.unwrap();
    assert!(features.child("auth", "http://jabber.org/features/iq-auth").is_none());
}

/// RFC 6120 §5.3.3 and §6.3.5 forbid it, but go-sendxmpp puts a line break behind all it sends.
#[tokio::test]
async fn a_line_break_behind_starttls_and_login_is_passed_over() {
    let Some(fortress) = fortress() else { return };
    let who = fortress.guest();
    let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &who).await.unwrap();
    raw.open_plain().await.unwrap();
    raw.send(format!("<starttls xmlns='{NS_TLS}'/>\n").as_bytes()).await.unwrap();
    assert!(raw.element().await.unwrap().is("proceed", NS_TLS));

    let gate = fortress.gate(Security::Tls);
    let mut raw = fortress.reach(&gate, Stage::Secured, &who).await.unwrap();
    let plain = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("\0{}\0{PASSWORD}", who.local),
    );
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    raw.send(format!("<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>\n").as_bytes())
        .await
        .unwrap();
    assert!(raw.element().await.unwrap().is("success", sasl));
    raw.begin_anew();
    // Another one, which comes alone.
    raw.send(b"\n").await.unwrap();
    raw.reopen().await.unwrap();
    raw.bind("").await.unwrap();
    raw.ping(HOSTS[0]).await.unwrap();
}

#[tokio::test]
async fn the_log_names_stream_and_account_from_login_to_end() {
    let Some(fortress) = fortress() else { return };
    let who = fortress.guest();
    let gate = fortress.gate(Security::Tls);
    let mut raw = fortress.reach(&gate, Stage::Bound, &who).await.unwrap();
    raw.send(b"</stream:stream>").await.unwrap();
    raw.rest().await.unwrap();
    let mut raw = fortress.reach(&gate, Stage::Secured, &who).await.unwrap();
    raw.send(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHgAeQ==</auth>")
        .await
        .unwrap();
    raw.element().await.unwrap();
    let log = fortress.log();
    for (event, account) in [
        (" logged in ", format!("account={} ", who.bare())),
        (" stream ended ", format!("account={} resource={:?} ", who.bare(), who.resource)),
        (" login failed ", "account=".to_owned()),
    ] {
        let line = log.lines().find(|line| line.contains(event)).expect(event);
        assert!(line.contains(" stream=") && line.contains(&account), "{line}");
    }
}

/// Writes a certificate for a domain where the server looks for it.
fn certify(dir: &Path, domain: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([domain.to_owned()]).expect("a certificate");
    let folder = dir.join("data/certs").join(domain);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("fullchain.pem"), made.cert.pem()).expect("written");
    fs::write(folder.join("privkey.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

/// The certificate that a new connection for this domain is shown.
async fn shown(fortress: &Fortress, domain: &str) -> CertificateDer<'static> {
    let tcp = fortress.gate(Security::Tls).tcp().await.expect("a connection");
    let tls = wrap_as(tcp, Wish::usual(domain, true)).await.expect("a handshake");
    let (_, session) = tls.get_ref();
    session.peer_certificates().and_then(|chain| chain.first()).expect("one").clone().into_owned()
}

fn reload(fortress: &Fortress) -> String {
    ask(fortress, "reload")
}

/// What the running server says to a command.
fn ask(fortress: &Fortress, command: &str) -> String {
    let binary = RunningServer::binary().expect("a binary");
    let config = fortress.dir().join("verona.toml");
    let output = Command::new(binary).args([command, "--config"]).arg(config).output();
    let output = output.expect("run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn new_certificates_are_shown_by_name_and_no_session_notices() {
    let Some(fortress) = fortress() else { return };
    let who = fortress.guest();
    let mut sessions = Vec::new();
    for (door, resource) in [(Security::StartTls, "a"), (Security::Tls, "b")] {
        let who = Address { resource: resource.to_owned(), ..who.clone() };
        let gate = fortress.gate(door);
        sessions.push(fortress.reach(&gate, Stage::Bound, &who).await.unwrap());
    }
    let before = shown(&fortress, HOSTS[0]).await;
    assert_ne!(before, shown(&fortress, HOSTS[1]).await, "each host has its own");

    let [capulet, montague] = HOSTS.map(|domain| certify(fortress.dir(), domain));
    let told = reload(&fortress);
    assert!(told.contains("capulet.lit has a new certificate"), "{told}");
    assert_eq!(shown(&fortress, HOSTS[0]).await, capulet);
    assert_eq!(shown(&fortress, HOSTS[1]).await, montague);

    // A broken one is refused and the one before stays.
    let chain = fortress.dir().join("data/certs/capulet.lit/fullchain.pem");
    fs::write(chain, "not a certificate").expect("written");
    assert!(reload(&fortress).contains("refused"));
    assert_eq!(shown(&fortress, HOSTS[0]).await, capulet);

    for session in &mut sessions {
        session.ping(HOSTS[0]).await.unwrap();
    }
}

/// RFC 6120 §4.9.3.5 and §4.9.3.20: who is connected is told why its stream ends.
#[tokio::test]
async fn the_end_of_a_host_and_of_the_server_are_told_by_name() {
    let Some(fortress) = fortress() else { return };
    let gate = fortress.gate(Security::Tls);
    let stays = fortress.guest();
    let goes = Address { domain: HOSTS[1].to_owned(), ..stays.clone() };
    fortress.add(&goes.bare());
    let mut staying = fortress.reach(&gate, Stage::Bound, &stays).await.unwrap();
    let mut going = fortress.reach(&gate, Stage::Bound, &goes).await.unwrap();

    let file = fortress.dir().join("verona.toml");
    let config = fs::read_to_string(&file).expect("a config");
    let host = format!("[[host]]\ndomain = {:?}\n", HOSTS[1]);
    assert!(config.contains(&host), "{config}");
    fs::write(&file, config.replace(&host, "")).expect("written");
    let told = reload(&fortress);
    assert!(told.contains("montague.lit is served no longer"), "{told}");
    going.expect_stream_error("host-gone").await.unwrap();
    let mut late = Raw::connect(&gate, &stays).await.unwrap();
    late.send(
        format!(
            "<stream:stream to='montague.lit' version='1.0' xmlns='{NS_CLIENT}' \
        xmlns:stream='{NS_STREAM}'>"
        )
        .as_bytes(),
    )
    .await
    .unwrap();
    late.expect_stream_error("host-unknown").await.unwrap();
    staying.ping(HOSTS[0]).await.unwrap();

    ask(&fortress, "stop");
    staying.expect_stream_error("system-shutdown").await.unwrap();
}

/// SECURITY §4: with too little memory nobody new comes in, and who is there stays.
#[tokio::test]
async fn without_memory_nobody_new_comes_in_and_who_is_there_stays() {
    let Some(fortress) = fortress() else { return };
    let who = fortress.guest();
    let mut session =
        fortress.reach(&fortress.gate(Security::Tls), Stage::Bound, &who).await.unwrap();
    let file = fortress.dir().join("verona.toml");
    let config = fs::read_to_string(&file).expect("a config");
    fs::write(&file, format!("{config}[limits]\nmemory_bytes_max = 1048576\n")).expect("written");
    reload(&fortress);
    until(&fortress, "short of memory").await;
    let mut late = Raw::connect(&fortress.gate(Security::StartTls), &who).await.unwrap();
    // Nothing is said to it: a word would cost what there is none of.
    let _ = late.send(old_header().as_bytes()).await;
    assert!(late.rest().await.map_or(true, |items| items.is_empty()));
    session.ping(HOSTS[0]).await.unwrap();
    fs::write(&file, config).expect("written");
    reload(&fortress);
    until(&fortress, "there is memory again").await;
    fortress.lives().await.unwrap();
}

/// Waits for a line of the log.
async fn until(fortress: &Fortress, line: &str) {
    let told = async {
        while !fortress.log().contains(line) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect(line);
}

/// RFC 6120 §10.1: what one entity sends to another arrives in that order, however much there is, and
/// §8.1.2.1: from where it came, whatever the sender claims.
#[tokio::test]
async fn many_messages_of_many_senders_keep_their_order_and_their_names() {
    const SENDERS: usize = 6;
    const MESSAGES: usize = 400;
    let Some(fortress) = fortress() else { return };
    let to = fortress.guest();
    let mut receiver =
        fortress.reach(&fortress.gate(Security::Tls), Stage::Bound, &to).await.unwrap();
    receiver.send(b"<presence/>").await.unwrap();
    receiver.ping(HOSTS[0]).await.unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..SENDERS {
        let who = fortress.guest();
        let door = if number % 2 == 0 { Security::StartTls } else { Security::Tls };
        let mut sender = fortress.reach(&fortress.gate(door), Stage::Bound, &who).await.unwrap();
        // Some to the bare, some to the full JID; all reach the same resource.
        let full = format!("{}/{}", to.bare(), to.resource);
        let bare = to.bare();
        sending.spawn(async move {
            let mut text = String::new();
            for id in 0..MESSAGES {
                let to = if id % 3 == 0 { &full } else { &bare };
                text += &format!(
                    "<message to='{to}' type='chat' id='{id}'><body>{number}</body></message>"
                );
                if id % 40 == 39 {
                    sender.send(std::mem::take(&mut text).as_bytes()).await.unwrap();
                }
            }
            sender.ping(HOSTS[0]).await.unwrap();
            (format!("{}/{}", who.bare(), who.resource), sender)
        });
    }
    let mut next = std::collections::BTreeMap::new();
    for _ in 0..SENDERS * MESSAGES {
        let message = loop {
            let node = receiver.element().await.unwrap();
            if node.is("message", NS_CLIENT) {
                break node;
            }
        };
        let from = message.attr("from").expect("stamped").to_owned();
        let due = next.entry(from.clone()).or_insert(0_usize);
        assert_eq!(message.attr("id"), Some(due.to_string().as_str()), "from {from}");
        *due += 1;
    }
    let senders = sending.join_all().await;
    for (jid, _) in &senders {
        assert_eq!(next.get(jid), Some(&MESSAGES), "{jid}");
    }
}
