//! What sessions do when something is not as it should be: the store fails, the client is silent.

use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, Manifest, Module, NoSections, Passage, Phase,
    Registry, Target, module,
};
use verona_core::limits::{Limits, PRIVATE_BYTES_MAX, VCARD_BYTES_MAX};
use verona_core::server::{Host, Identity, Policy, Server};
use verona_modules::install;
use verona_testkit::address::Address;
use verona_testkit::client::Client;
use verona_testkit::memory::{Memory, settings};
use verona_testkit::node::{NS_CLIENT, NS_STREAM, Node};
use verona_testkit::place::Place;
use verona_testkit::script::Setup;
use verona_testkit::wire::PATIENCE;
use verona_xmpp::jid::Jid;

const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

const NS_SM: &str = "urn:xmpp:sm:3";
const PASSWORD: &str = "wherefore";

async fn session(place: &Memory, who: &Address) -> Client {
    place.account(who, PASSWORD).await.expect("made");
    let link = place.connect(who).await.expect("a pipe");
    let mut client = Client::connect(link, who, PATIENCE).await.expect("a stream");
    client.log_in(PASSWORD).await.expect("logged in");
    client
}

/// A place where something is bounded otherwise.
fn bounded(change: impl FnOnce(&mut Limits)) -> Memory {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let mut policy = Policy::clone(&place.server.policy());
    change(&mut policy.limits);
    place.server.set_policy(policy);
    place
}

const NS_FRAGILE: &str = "urn:x:fragile";

/// A module with an error in each of its rooms.
struct Fragile;

impl Module for Fragile {
    const MANIFEST: Manifest = Manifest { name: "fragile", ..Manifest::EMPTY };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Host, NS_FRAGILE, "query", |_, _| async { panic!("while answering") });
        on.message(Direction::Outbound, Phase::Stamp, |_, passage| break_at(passage, "out"));
        on.message(Direction::Inbound, Phase::Stamp, |_, passage| break_at(passage, "in"));
        on.nonza(NS_FRAGILE, "nonza", |_, _| panic!("while hearing"));
        on.change(|_, change| {
            assert!(change.presence.child("change", NS_FRAGILE).is_none(), "while told");
        });
    }
}

fn break_at(passage: &Passage<'_>, place: &str) {
    assert!(passage.stanza.child(place, NS_FRAGILE).is_none(), "while watching");
}

/// SECURITY §5: a panic costs its stanza; who has sent it is told, and all else goes on.
#[tokio::test]
async fn a_panic_in_a_module_costs_one_stanza() {
    let place = Memory::configured(Setup::default(), |settings, _| {
        let mut registry = Registry::default();
        let made = module::install::<Fragile, _>(&NoSections, &settings, &mut registry);
        made.map_err(|error| error.message)?;
        Ok(Host::new(settings, registry))
    });
    let place = place.expect("made");
    let [juliet, romeo, nurse] =
        ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard", "nurse@capulet.lit/hall"]
            .map(|jid| Address::parse(jid).expect("an address"));
    let mut reader = session(&place, &romeo).await;
    let mut client = session(&place, &juliet).await;
    // She is not in memory: her account has to be loaded first.
    place.account(&nurse, PASSWORD).await.expect("made");
    let message = |to: &Address, at: &str| {
        let (to, payload) = (to.full(), format!("<{at} xmlns='{NS_FRAGILE}'/>"));
        format!("<message to='{to}' type='chat' id='{at}'><body>O</body>{payload}</message>")
    };
    let ask = format!("<iq type='get' id='iq' to='capulet.lit'><query xmlns='{NS_FRAGILE}'/></iq>");
    for stanza in [ask, message(&romeo, "out"), message(&romeo, "in"), message(&nurse, "in")] {
        client.send(&stanza).await.expect("sent");
        let error = client.element("that it failed").await.expect("told");
        let reason = error.child("error", NS_CLIENT).expect("a reason");
        assert!(reason.child("internal-server-error", NS_STANZAS).is_some(), "{stanza}: {error:?}");
    }
    client.send(&format!("<nonza xmlns='{NS_FRAGILE}'/>")).await.expect("sent");
    assert!(client.round_trip().await.expect("answered"), "the session lives");
    client.send(&message(&romeo, "well")).await.expect("sent");
    let heard = reader.element("the next message").await.expect("it comes");
    assert_eq!(heard.attr("id"), Some("well"));

    // Where what waits is given out first, no stanza is in hand: the stream ends, and in order.
    client.send(&message(&nurse, "well")).await.expect("sent");
    client.round_trip().await.expect("answered");
    let mut breaks = session(&place, &nurse).await;
    breaks
        .send(&format!("<presence><change xmlns='{NS_FRAGILE}'/></presence>"))
        .await
        .expect("sent");
    let error = breaks.find("why it ends", |node| node.is("error", NS_STREAM)).await.expect("told");
    assert!(error.children().any(|child| child.name == "internal-server-error"), "{error:?}");
    let account = place.server.directory.loaded("nurse@capulet.lit").expect("it is there");
    let gone = async {
        while !account.turn().resources.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nothing is left of the session");
}

/// SECURITY §3, G3.
#[tokio::test]
async fn a_message_that_no_log_could_keep_comes_back_once() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let [juliet, romeo] = ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        .map(|jid| Address::parse(jid).expect("an address"));
    place.account(&romeo, PASSWORD).await.expect("made");
    let mut client = session(&place, &juliet).await;
    let message = |id| {
        format!(
            "<message to='romeo@montague.lit' type='chat' id='{id}'><body>Ay me!</body></message>"
        )
    };
    client.send(&message("kept")).await.expect("sent");
    client.round_trip().await.expect("answered");
    assert_eq!(client.inbox().count(), 0, "what is kept has no answer");

    // It would be kept twice: in her archive, and for him, who is away.
    place.server.store.close().await;
    for id in ["lost-1", "lost-2"] {
        client.send(&message(id)).await.expect("sent");
        let error = client.element("the message that was lost").await.expect("an error");
        assert_eq!((error.attr("id"), error.attr("type")), (Some(id), Some("error")));
        let condition = error.child("error", NS_CLIENT).expect("a reason");
        assert!(condition.child("internal-server-error", NS_STANZAS).is_some(), "{error:?}");
    }
    client.round_trip().await.expect("answered");
    assert_eq!(client.inbox().count(), 0, "and nothing more");
}

/// XEP-0160 §2: what does not wait any more goes back, and the rest is there.
#[tokio::test]
async fn who_is_away_for_long_is_sent_no_more_than_may_wait() {
    let usual = Memory::configured(Setup::default(), install::configured).expect("made");
    fill(&usual, "O", 1_000).await;
    fill(&bounded(|limits| limits.offline_messages_max = 3), "O", 3).await;
    let bytes = "O".repeat(1_000);
    fill(&bounded(|limits| limits.offline_bytes_max = 10_000), &bytes, 8).await;
}

/// So many messages with this text wait for Juliet, and no more.
async fn fill(place: &Memory, text: &str, count: usize) {
    let [juliet, romeo] = ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        .map(|jid| Address::parse(jid).expect("an address"));
    place.account(&juliet, PASSWORD).await.expect("made");
    let mut sender = session(place, &romeo).await;
    for number in 0..=count {
        let message = format!(
            "<message to='juliet@capulet.lit' type='chat' id='m{number}'><body>{text}</body></message>"
        );
        sender.send(&message).await.expect("sent");
    }
    sender.round_trip().await.expect("answered");
    let returned: Vec<_> = sender.inbox().collect();
    let last = format!("m{count}");
    assert_eq!(returned.len(), 1);
    assert_eq!(returned[0].attr("id"), Some(last.as_str()));
    let error = returned[0].child("error", NS_CLIENT).expect("a reason");
    assert!(error.child("service-unavailable", NS_STANZAS).is_some(), "{error:?}");

    let mut reader = session(place, &juliet).await;
    reader.send("<presence/>").await.expect("sent");
    reader.round_trip().await.expect("answered");
    let waited = reader.inbox().filter(|node| node.child("body", NS_CLIENT).is_some()).count();
    assert_eq!(waited, count);
}

/// RFC 6121 §3.1.3: who is asked by crowds is not told of all of them, and none hears that.
#[tokio::test]
async fn requests_of_a_crowd_wait_up_to_a_bound() {
    const MOST: usize = 7;
    let place = bounded(|limits| limits.pending_requests_max = MOST);
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    place.account(&juliet, PASSWORD).await.expect("made");
    for number in 0..MOST + 5 {
        let suitor = Address::parse(&format!("suitor{number}@montague.lit/x")).expect("an address");
        let mut suitor = session(&place, &suitor).await;
        suitor.send("<presence to='juliet@capulet.lit' type='subscribe'/>").await.expect("sent");
        suitor.round_trip().await.expect("answered");
        assert_eq!(suitor.inbox().filter(|node| node.attr("type") == Some("error")).count(), 0);
    }
    let mut asked = session(&place, &juliet).await;
    asked.send("<presence/>").await.expect("sent");
    asked.round_trip().await.expect("answered");
    let requests = asked.inbox().filter(|node| node.attr("type") == Some("subscribe"));
    assert_eq!(requests.count(), MOST);
}

/// SECURITY §4: the session with the longest queue ends, nobody else, and nobody new is let in.
#[tokio::test]
async fn who_does_not_read_is_the_first_to_go_when_memory_is_short() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let [juliet, romeo] = ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        .map(|jid| Address::parse(jid).expect("an address"));
    let mut reader = session(&place, &juliet).await;
    let mut sender = session(&place, &romeo).await;
    let long = "O".repeat(20_000);
    for _ in 0..30 {
        let message = format!("<message to='{}'><body>{long}</body></message>", juliet.full());
        sender.send(&message).await.expect("sent");
    }
    sender.round_trip().await.expect("answered");
    assert_eq!(place.server.note_memory(79, 100), 0);
    assert!(!place.server.pressure.is_high());
    assert_eq!(place.server.note_memory(80, 100), 0);
    assert!(place.server.pressure.is_high());
    assert_eq!(place.server.note_memory(90, 100), 1);
    let error = reader.find("why it ends", |node| node.is("error", NS_STREAM)).await.expect("told");
    assert!(error.children().any(|child| child.name == "resource-constraint"), "{error:?}");
    assert!(sender.round_trip().await.expect("answered"));
    assert_eq!(place.server.note_memory(10, 100), 0);
    assert!(!place.server.pressure.is_high());
}

/// SECURITY §4: the source waits no longer than the operator wants, then the reader is ended.
#[tokio::test]
async fn who_reads_too_slowly_is_ended_when_its_time_is_over() {
    let place = bounded(|limits| limits.slow_reader_secs = 0);
    let [juliet, romeo] = ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        .map(|jid| Address::parse(jid).expect("an address"));
    let mut reader = session(&place, &juliet).await;
    let mut sender = session(&place, &romeo).await;
    let long = "O".repeat(20_000);
    for _ in 0..80 {
        let message = format!("<message to='{}'><body>{long}</body></message>", juliet.full());
        sender.send(&message).await.expect("sent");
    }
    assert!(sender.round_trip().await.expect("answered"), "he does not wait for her");
    let error = reader.find("why it ends", |node| node.is("error", NS_STREAM)).await.expect("told");
    assert!(error.children().any(|child| child.name == "resource-constraint"), "{error:?}");
}

/// XEP-0198 §5: a client is promised no more time than the operator allows.
#[tokio::test]
async fn a_session_waits_for_its_client_as_long_as_it_may() {
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    for (most, wish, granted) in [
        (600, "", Some("600")),
        (600, " max='60'", Some("60")),
        (5, "", Some("5")),
        (5, " max='60'", Some("5")),
        (0, "", None),
    ] {
        let place = bounded(|limits| limits.resume_secs_max = most);
        let mut client = session(&place, &juliet).await;
        let enable = format!("<enable xmlns='{NS_SM}' resume='true'{wish}/>");
        client.send(&enable).await.expect("sent");
        let enabled = client.find("<enabled/>", |node| node.is("enabled", NS_SM)).await;
        let enabled = enabled.expect("it is managed");
        assert_eq!(enabled.attr("max"), granted, "{most}, {wish}");
        assert_eq!(enabled.attr("id").is_some(), granted.is_some());
    }
}

/// DESIGN §8, XEP-0049 and XEP-0054: what an account may keep has a bound.
#[tokio::test]
async fn cards_and_private_storage_are_bounded() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    let mut client = session(&place, &juliet).await;
    let long = |bytes: usize| "x".repeat(bytes);
    let card = |bytes| format!("<vCard xmlns='vcard-temp'><FN>{}</FN></vCard>", long(bytes));
    let private = |number: usize| {
        let text = long(200_000);
        format!("<query xmlns='jabber:iq:private'><a xmlns='x:{number}'>{text}</a></query>")
    };
    let mut wishes = vec![card(VCARD_BYTES_MAX - 100), card(VCARD_BYTES_MAX)];
    wishes.extend((0..=PRIVATE_BYTES_MAX / 200_000).map(private));
    let mut answers = Vec::new();
    for (number, wish) in wishes.iter().enumerate() {
        client.send(&format!("<iq type='set' id='w{number}'>{wish}</iq>")).await.expect("sent");
        let answer = client.element("the answer").await.expect("an answer");
        let error = answer.child("error", NS_CLIENT);
        assert_eq!(error.is_none(), answer.attr("type") == Some("result"));
        let refused = |error: &Node| error.child("not-acceptable", NS_STANZAS).is_some();
        answers.push(error.is_none_or(refused).then_some(error.is_some()));
    }
    let mut expected = vec![Some(false); wishes.len()];
    expected[1] = Some(true);
    expected[wishes.len() - 1] = Some(true);
    assert_eq!(answers, expected);
}

/// XEP-0198 §5: only with a session that can be resumed, and only where the operator has named a place.
#[tokio::test]
async fn who_may_resume_is_told_where_to_come_back_to() {
    let place = Memory::configured(Setup::default(), |settings, tables| {
        let resume_at = Some("one.capulet.lit:5222".to_owned());
        install::configured(HostSettings { resume_at, ..settings }, tables)
    });
    let place = place.expect("made");
    let elsewhere = Memory::configured(Setup::default(), install::configured).expect("made");
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    for (place, wish, location) in [
        (&place, " resume='true'", Some("one.capulet.lit:5222")),
        (&place, "", None),
        (&elsewhere, " resume='true'", None),
    ] {
        let mut client = session(place, &juliet).await;
        client.send(&format!("<enable xmlns='{NS_SM}'{wish}/>")).await.expect("sent");
        let enabled = client.find("<enabled/>", |node| node.is("enabled", NS_SM)).await;
        assert_eq!(enabled.expect("it is managed").attr("location"), location, "{wish}");
    }
}

/// RFC 6120 §4.6.4, XEP-0198 §4: on a managed stream the question is one that must be answered.
#[tokio::test]
async fn a_silent_client_is_asked_whether_it_is_there_and_no_other() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    let mut client = session(&place, &juliet).await;
    client.send(&format!("<enable xmlns='{NS_SM}'/>")).await.expect("sent");
    assert!(client.element("that it is managed").await.expect("told").is("enabled", NS_SM));
    let server = &place.server;
    let (now, limit) = (server.clock.uptime_secs(), server.policy().limits.idle_probe_secs);

    server.probe_silent(now + limit - 1);
    assert_eq!(until_acknowledged(&mut client).await, 0, "it was heard of a moment ago");
    server.probe_silent(now + limit + 10);
    let question = client.element("the question").await.expect("asked");
    assert!(question.is("r", NS_SM), "{question:?}");
    // Once is enough for as long again.
    server.probe_silent(now + limit + 20);
    assert_eq!(until_acknowledged(&mut client).await, 0, "it was asked a moment ago");
}

/// XEP-0198 §5 with XEP-0388 §2.3: who goes on with a session is known by it.
#[tokio::test]
async fn what_a_client_told_of_itself_lives_through_a_restart() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    place.account(&juliet, PASSWORD).await.expect("made");
    let link = place.connect(&juliet).await.expect("a pipe");
    let mut client = Client::connect(link, &juliet, PATIENCE).await.expect("a stream");
    let wishes = "<user-agent xmlns='urn:xmpp:sasl:2' id='d4565fa7-4d72-4749-b3d3-740edbf87770'>\
                  <software>Balcony</software></user-agent><bind xmlns='urn:xmpp:bind:0'>\
                  <enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
    client.log_in_at_once((PASSWORD, None), wishes).await.expect("logged in");

    let before = &place.server;
    before.suspend(PATIENCE).await.expect("written down");
    let identity = Identity { epoch: 2, secret: before.secret, decoy: before.decoy.clone() };
    let hosts = vec![install::host(settings("capulet.lit")).expect("a host")];
    let after = Server::new(before.store.clone(), hosts, Policy::default(), identity);
    assert_eq!(after.restore().await.expect("read"), 1);
    let jid = Jid::parse("juliet@capulet.lit").expect("a JID");
    let account = after.account(&jid).await.expect("read").expect("it is there");
    let state = account.turn();
    let agent = state.resources.first().and_then(|resource| resource.agent.as_deref());
    let agent = agent.expect("it was told");
    assert_eq!(agent.id.as_deref(), Some("d4565fa7-4d72-4749-b3d3-740edbf87770"));
    assert_eq!((agent.software.as_deref(), agent.device.as_deref()), (Some("Balcony"), None));
}

/// XEP-0198 §4: what a session did not take goes on by the rules, and nobody gets it twice.
#[tokio::test]
async fn what_another_resource_has_got_is_not_given_to_it_again() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let phone = Address::parse("juliet@capulet.lit/phone").expect("an address");
    let desk = Address::parse("juliet@capulet.lit/desk").expect("an address");
    let romeo = Address::parse("romeo@montague.lit/orchard").expect("an address");
    let mut sleeper = session(&place, &phone).await;
    sleeper
        .send(&format!("<enable xmlns='{NS_SM}' resume='true'/><presence/>"))
        .await
        .expect("sent");
    assert!(sleeper.round_trip().await.expect("answered"));
    let mut awake = session(&place, &desk).await;
    awake.send("<presence/>").await.expect("sent");
    assert!(awake.round_trip().await.expect("answered"));
    drop(sleeper);
    until_asleep(&place, 1).await;

    let mut romeo = session(&place, &romeo).await;
    romeo
        .send(
            "<message to='juliet@capulet.lit' type='chat'><body>Hist!</body>\
             <no-store xmlns='urn:xmpp:hints'/></message>\
             <message to='juliet@capulet.lit/phone' type='chat'><body>Are you there?</body>\
             <no-store xmlns='urn:xmpp:hints'/></message>",
        )
        .await
        .expect("sent");
    assert!(romeo.round_trip().await.expect("answered"));
    // Another stream takes the place of the one that sleeps, which ends it.
    let mut other = session(&place, &phone).await;
    until_asleep(&place, 0).await;
    let is_message = |node: &Node| node.is("message", NS_CLIENT);
    let missed = other.find("what the phone has missed", is_message).await.expect("told");
    assert_eq!(missed.child("body", NS_CLIENT).expect("a body").text(), "Are you there?");
    for client in [&mut other, &mut awake] {
        assert!(client.round_trip().await.expect("answered"));
    }
    assert!(other.take(is_message).is_none());
    let heard = awake.take(is_message).expect("it was awake");
    assert_eq!(heard.child("body", NS_CLIENT).expect("a body").text(), "Hist!");
    assert!(awake.take(is_message).is_none(), "it heard that twice");
}

/// SECURITY §5: a machine that sleeps answers nothing, though its connection lives.
#[tokio::test]
async fn a_client_that_owes_an_answer_for_long_is_taken_for_gone_and_its_session_waits() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let juliet = Address::parse("juliet@capulet.lit/balcony").expect("an address");
    let mut client = session(&place, &juliet).await;
    client.send(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).await.expect("sent");
    assert!(client.element("that it is managed").await.expect("told").is("enabled", NS_SM));
    let server = &place.server;
    let (now, limit) = (server.clock.uptime_secs(), server.policy().limits.unanswered_secs);

    // Who owes nothing may be silent.
    server.look_after_silent(now + limit + 10);
    assert!(client.round_trip().await.expect("answered"));
    assert!(client.element("the question").await.expect("asked").is("r", NS_SM));
    server.look_after_silent(now + limit - 1);
    assert_eq!(until_acknowledged(&mut client).await, 0, "there is time left");
    client.send(&format!("<a xmlns='{NS_SM}' h='1'/>")).await.expect("sent");
    assert_eq!(until_acknowledged(&mut client).await, 0);
    server.look_after_silent(now + limit + 10);
    assert!(client.round_trip().await.expect("answered"), "it owed nothing");

    // That answer is not acknowledged either.
    server.look_after_silent(now + limit + 10);
    assert!(!client.round_trip().await.expect("an end"), "the stream is gone");
    until_asleep(&place, 1).await;
}

/// Waits until so many sessions wait for their clients: taking the end of a stream and falling asleep
/// are two steps of another task.
async fn until_asleep(place: &Memory, count: usize) {
    for _ in 0..1_000 {
        if place.server.sleepers.asleep_count() == count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} sessions wait for their clients", place.server.sleepers.asleep_count());
}

/// How much comes before the answer to a request for an acknowledgement, which is no stanza and makes
/// nobody ask in turn.
async fn until_acknowledged(client: &mut Client) -> usize {
    client.send(&format!("<r xmlns='{NS_SM}'/>")).await.expect("sent");
    let mut before = 0;
    while !client.element("an acknowledgement").await.expect("told").is("a", NS_SM) {
        before += 1;
    }
    before
}
