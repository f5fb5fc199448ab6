//! Hostile use of stream management (XEP-0198): out of place, with wrong counts, as another account.

use std::sync::Arc;

use verona_testkit::fortress::{Fortress, Stage};
use verona_testkit::node::Node;
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

use crate::helpers::{HOST, at, refused_at};

const NS: &str = "urn:xmpp:sm:3";

cases![
    commands_out_of_place_fail_and_harm_nothing,
    broken_commands_end_the_stream_or_fail,
    what_was_never_sent_cannot_be_acknowledged,
    nobody_resumes_the_session_of_another,
    an_unknown_session_is_not_found,
    a_session_is_resumed_once_by_the_newest_stream,
    a_stream_that_is_stuck_lets_go_of_its_session,
];

async fn commands_out_of_place_fail_and_harm_nothing(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for command in ["<enable/>", "<r/>", "<a h='0'/>", "<enabled/>", "<resumed h='0' previd='x'/>"]
    {
        let command = command.replacen("/>", &format!(" xmlns='{NS}'/>"), 1);
        for (door, stage) in [
            (Security::StartTls, Stage::Plain),
            (Security::StartTls, Stage::Secured),
            (Security::Tls, Stage::Secured),
        ] {
            let place = (door, stage);
            refused_at(&fortress, place, &who, command.as_bytes(), "not-authorized").await;
        }
        // Before a resource is bound it fails, and binding is possible still (§3).
        let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
        raw.send(command.as_bytes()).await.unwrap();
        assert!(raw.element().await.unwrap().is("failed", NS), "{command}");
        raw.bind("").await.unwrap();
    }
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    for command in ["<r/>", "<a h='0'/>", "<resume h='0' previd='x'/>"] {
        let command = command.replacen("/>", &format!(" xmlns='{NS}'/>"), 1);
        raw.send(command.as_bytes()).await.unwrap();
        assert!(raw.element().await.unwrap().is("failed", NS), "{command}");
    }
    enable(&mut raw).await;
    // §3: once.
    raw.send(format!("<enable xmlns='{NS}' resume='true'/>").as_bytes()).await.unwrap();
    assert!(raw.element().await.unwrap().is("failed", NS));
    raw.ping(HOST).await.unwrap();
}

/// Asks for a session that can be resumed; gives its id.
async fn enable(raw: &mut Raw) -> String {
    raw.send(format!("<enable xmlns='{NS}' resume='true'/>").as_bytes()).await.unwrap();
    let node = raw.element().await.unwrap();
    assert!(node.is("enabled", NS), "{node}");
    let id = node.attr("id").unwrap().to_owned();
    // 128 bits take 22 letters of base64.
    assert!(id.len() >= 22, "{id}");
    id
}

async fn broken_commands_end_the_stream_or_fail(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for command in [
        "<a/>",
        "<a h=''/>",
        "<a h='-1'/>",
        "<a h='x'/>",
        "<a h='4294967296'/>",
        "<a h='0x1'/>",
        "<enabled/>",
        "<resumed h='0' previd='x'/>",
        "<failed/>",
        "<wherefore/>",
    ] {
        let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
        enable(&mut raw).await;
        let command = command.replacen("/>", &format!(" xmlns='{NS}'/>"), 1);
        raw.send(command.as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        assert_eq!(node.name, "error", "{command}: {node}");
        raw.expect_closed().await.unwrap();
    }
}

async fn what_was_never_sent_cannot_be_acknowledged(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for h in ["1", "2", "4294967295", "2147483648"] {
        let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
        enable(&mut raw).await;
        raw.send(format!("<a xmlns='{NS}' h='{h}'/>").as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        let told = node.children().find(|child| child.is("handled-count-too-high", NS));
        assert!(told.is_some(), "{node}");
        raw.expect_closed().await.unwrap();
    }
    // Nor may a count go back.
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    enable(&mut raw).await;
    raw.ping(HOST).await.unwrap();
    raw.send(format!("<a xmlns='{NS}' h='1'/>").as_bytes()).await.unwrap();
    raw.send(format!("<a xmlns='{NS}' h='0'/>").as_bytes()).await.unwrap();
    loop {
        let node = raw.element().await.unwrap();
        if node.name == "error" {
            break;
        }
        assert!(node.is("r", NS) || node.is("a", NS), "{node}");
    }
}

/// Tries to resume on a stream where somebody has logged in; gives the answer.
async fn resume(raw: &mut Raw, id: &str, h: &str) -> Node {
    let command = format!("<resume xmlns='{NS}' previd='{id}' h='{h}'/>");
    raw.send(command.as_bytes()).await.unwrap();
    raw.element().await.unwrap()
}

async fn nobody_resumes_the_session_of_another(fortress: Arc<Fortress>) {
    let (victim, attacker) = (fortress.guest(), fortress.guest());
    for is_asleep in [false, true] {
        let mut raw = at(&fortress, Security::Tls, Stage::Bound, &victim).await;
        let id = enable(&mut raw).await;
        let kept = if is_asleep {
            drop(raw);
            None
        } else {
            Some(raw)
        };
        // Without a login, and with that of another account.
        let command = format!("<resume xmlns='{NS}' previd='{id}' h='0'/>");
        let place = (Security::Tls, Stage::Secured);
        refused_at(&fortress, place, &attacker, command.as_bytes(), "not-authorized").await;
        let mut other = at(&fortress, Security::Tls, Stage::LoggedIn, &attacker).await;
        let told = resume(&mut other, &id, "0").await;
        assert!(told.is("failed", NS) && told.attr("h").is_none(), "{told}");
        // What is told of it is what is told of none.
        let none = resume(&mut other, "no-such-session", "0").await;
        assert_eq!(told, none);
        if let Some(mut raw) = kept {
            raw.ping(HOST).await.unwrap();
        } else {
            let mut own = at(&fortress, Security::Tls, Stage::LoggedIn, &victim).await;
            let told = resume(&mut own, &id, "0").await;
            assert!(told.is("resumed", NS), "{told}");
        }
    }
}

async fn an_unknown_session_is_not_found(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let long = "x".repeat(5_000);
    let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
    for (id, h) in [("", "0"), ("x", "4294967295"), (&long, "0"), ("&apos;&quot;&lt;", "0")] {
        let told = resume(&mut raw, id, h).await;
        assert!(told.children().any(|child| child.name == "item-not-found"), "{told}");
    }
    for (id, h) in [("x", ""), ("x", "-1"), ("x", "4294967296"), ("x", "x")] {
        let told = resume(&mut raw, id, h).await;
        assert!(told.is("failed", NS), "{told}");
    }
    raw.bind("").await.unwrap();
}

async fn a_session_is_resumed_once_by_the_newest_stream(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    let id = enable(&mut raw).await;
    drop(raw);
    // Many at the same time: one after the other has it, the last keeps it.
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
        let id = id.clone();
        running.spawn(async move {
            let told = resume(&mut raw, &id, "0").await;
            (told.name.clone(), raw)
        });
    }
    let mut alive = 0;
    for (told, mut raw) in running.join_all().await {
        assert!(told == "resumed" || told == "failed", "{told}");
        if told == "resumed" && raw.ping(HOST).await.is_ok() {
            alive += 1;
        }
    }
    assert_eq!(alive, 1);
}

/// A stream whose client reads nothing any more, because its network is gone say: what is being written
/// to it stands in nobody's way who wants the session or its resource.
async fn a_stream_that_is_stuck_lets_go_of_its_session(fortress: Arc<Fortress>) {
    for resumes in [true, false] {
        let (victim, sender) = (fortress.guest(), fortress.guest());
        let mut gate = fortress.gate(Security::Tls);
        gate.takes = Some(4_096);
        let mut stuck = fortress.reach(&gate, Stage::Bound, &victim).await.unwrap();
        let id = if resumes { enable(&mut stuck).await } else { String::new() };
        let mut raw = at(&fortress, Security::Tls, Stage::Bound, &sender).await;
        // Less than what makes the server give the stream up by itself.
        let count = if resumes { 60 } else { 500 };
        raw.set_patience(std::time::Duration::from_secs(1));
        for _ in 0..count {
            let body = "x".repeat(14_000);
            let to = victim.full();
            let text = format!("<message to='{to}' type='chat'><body>{body}</body></message>");
            if raw.send(text.as_bytes()).await.is_err() {
                break;
            }
        }
        let gate = fortress.gate(Security::Tls);
        let began = std::time::Instant::now();
        let mut other = fortress.reach(&gate, Stage::LoggedIn, &victim).await.unwrap();
        if resumes {
            let told = resume(&mut other, &id, "0").await;
            assert!(told.is("resumed", NS), "{told}");
        } else {
            other.bind(&victim.resource).await.unwrap();
        }
        other.ping(HOST).await.unwrap();
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        drop(stuck);
    }
}
