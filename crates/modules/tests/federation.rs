//! What users at two servers see of each other, and what becomes of that when the way between the
//! servers is not as it should be.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use verona_core::federation::terms::{Circle, Terms};
use verona_core::stream::server::state::Rules;
use verona_modules::install;
use verona_testkit::address::Address;
use verona_testkit::client::Client;
use verona_testkit::memory::Memory;
use verona_testkit::node::{NS_CLIENT, NS_STREAM, NS_XML, Node};
use verona_testkit::place::{Place, SECRET};
use verona_testkit::play::perform;
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_testkit::script::{Script, Setup};
use verona_testkit::wire::PATIENCE;
use verona_testkit::world::{World, open_rules};

/// A link that is lost with something on it may be waited for, for some seconds.
const LONG: Duration = Duration::from_secs(20);

const PASSWORD: &str = "wherefore";
const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const JULIET: &str = "juliet@capulet.lit/balcony";
const ROMEO: &str = "romeo@montague.lit/orchard";

/// Conversations with characters at both domains.
const CONVERSATIONS: &[&str] = &[
    "addressing",
    "archive",
    "archive-offline",
    "blocking",
    "carbons",
    "delivery-no-account",
    "delivery-offline",
    "delivery-types",
    "iq",
    "presence-directed",
    "presence-probe",
    "subscription",
    "subscription-cancelled",
    "subscription-denied",
    "subscription-ended",
    "subscription-nobody",
    "subscription-offline",
    "subscription-preapproval",
    "vcard",
];

fn world() -> World {
    World::configured(&Setup::default(), install::configured).unwrap_or_else(|e| panic!("{e}"))
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

/// Somebody who is online.
async fn online(place: &impl Place, who: &str) -> Client {
    place.account(&address(who), PASSWORD).await.expect("made");
    let mut client = comes(place, who).await;
    client.round_trip().await.expect("answered");
    client.clear();
    client
}

/// Somebody who comes online, and gets what has waited.
async fn comes(place: &impl Place, who: &str) -> Client {
    let who = address(who);
    let link = place.connect(&who).await.expect("a pipe");
    let mut client = Client::connect(link, &who, LONG).await.expect("a stream");
    client.log_in(PASSWORD).await.expect("logged in");
    client.send("<presence/>").await.expect("sent");
    client
}

fn message(to: &str, id: &str) -> String {
    format!("<message to='{to}' type='chat' id='{id}'><body>{id}</body></message>")
}

async fn next_message(client: &mut Client) -> Node {
    client.find("a message", |node| node.is("message", NS_CLIENT)).await.expect("a message")
}

fn condition(stanza: &Node) -> Option<String> {
    let error = stanza.child("error", NS_CLIENT)?;
    let names = ["remote-server-not-found", "remote-server-timeout", "resource-constraint"];
    let has = |name: &&str| error.child(name, NS_STANZAS).is_some();
    names.into_iter().find(has).map(str::to_owned)
}

/// Waits for something that other tasks bring about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The conversations of one server hold between two: nobody sees where somebody else is at home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_hold_across_servers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conversations");
    let mut failed = Vec::new();
    for name in CONVERSATIONS {
        let text = std::fs::read_to_string(dir.join(format!("{name}.txt"))).expect("a script");
        let script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let world = World::configured(&script.setup, install::configured).expect("a world");
        let played = perform(&script, &world, PATIENCE).await;
        failed.extend(played.err().map(|failure| format!("{name}: {failure}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// XEP-0198 between servers: what is on a connection that breaks is not lost, and does not come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_a_hundred_times_loses_and_doubles_nothing() {
    const CUTS: usize = 100;
    const EACH: usize = 12;
    let world = world();
    let mut juliet = online(&world, JULIET).await;
    let mut romeo = online(&world, ROMEO).await;
    for round in 0..CUTS {
        let ids = (0..EACH).map(|number| (round * EACH + number).to_string());
        let ids: Vec<String> = ids.collect();
        let mut cut = 0;
        for (number, id) in ids.iter().enumerate() {
            juliet.send(&message("romeo@montague.lit", id)).await.expect("sent");
            romeo.send(&message("juliet@capulet.lit", id)).await.expect("sent");
            if number >= EACH / 2 && cut == 0 {
                tokio::time::sleep(Duration::from_micros(37 * (round as u64 % 29))).await;
                cut = world.roads.cut();
            }
        }
        if cut == 0 {
            until("a connection", || world.roads.cut() > 0).await;
        }
        for client in [&mut juliet, &mut romeo] {
            for id in &ids {
                let next = next_message(client).await;
                let got = (next.attr("type"), next.attr("id"));
                assert_eq!(got, (Some("chat"), Some(id.as_str())), "round {round}: {next:?}");
            }
        }
    }
    for client in [&mut juliet, &mut romeo] {
        client.round_trip().await.expect("answered");
        let more = client.inbox().filter(|node| node.is("message", NS_CLIENT)).count();
        assert_eq!(more, 0, "something came twice");
    }
}

/// SECURITY §3, G1: what was acknowledged to the sender is on disk until the other server has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_lives_through_a_restart() {
    let world = world();
    world.roads.close("montague.lit", true);
    let mut juliet = online(&world, JULIET).await;
    for id in ["a", "b", "c"] {
        juliet.send(&message("romeo@montague.lit", id)).await.expect("sent");
    }
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let fleeting = format!("<message to='romeo@montague.lit' type='chat'>{state}</message>");
    juliet.send(&fleeting).await.expect("sent");
    juliet.round_trip().await.expect("answered");
    let store = world.capulet.server.store.clone();
    // Whoever has submitted nothing waits for all that was submitted before.
    store.submit(verona_core::store::batch::Batch::new()).await.expect("kept");
    world.capulet.server.federation.stop();

    let host = install::configured(
        verona_testkit::memory::settings("capulet.lit"),
        &verona_testkit::memory::Tables::default(),
    );
    let again = Memory::on(store.clone(), vec![host.expect("a host")]).expect("a server");
    world.roads.lead_to(&["capulet.lit"], &again.server);
    world.roads.close("montague.lit", false);
    let mut romeo = online(&world, ROMEO).await;
    assert_eq!(again.server.restore_federation().await.expect("read"), 3);
    for id in ["a", "b", "c"] {
        assert_eq!(next_message(&mut romeo).await.attr("id"), Some(id));
    }
    let route = again.server.federation.find("capulet.lit", "montague.lit").expect("a route");
    until("the acknowledgement", || route.standing().stanzas == 0).await;
    // What was delivered is kept no longer.
    let begun = Instant::now();
    loop {
        let table = verona_core::federation::route::QUEUE;
        if store.owners(table, None, 9).await.expect("read").is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the queue stays on disk");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    romeo.round_trip().await.expect("answered");
    assert_eq!(romeo.inbox().count(), 0, "nothing twice, and no state of a chat of long ago");
}

/// RFC 6120 §8.3.3.16, §8.3.3.17: the sender hears the truth, and who waits is not kept waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_hear_what_became_of_their_stanzas() {
    let world = world();
    let terms = Terms { queue_secs: 1, retry_secs_max: 1, ..Terms::default() };
    world.capulet.server.federation.set_terms(terms);
    world.roads.close("montague.lit", true);
    let mut juliet = online(&world, JULIET).await;
    juliet.send(&message("benvolio@verona.lit", "unknown")).await.expect("sent");
    let error = next_message(&mut juliet).await;
    assert_eq!(condition(&error).as_deref(), Some("remote-server-not-found"), "{error:?}");

    juliet.send(&message("romeo@montague.lit", "late")).await.expect("sent");
    let ping = "<iq to='montague.lit' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    juliet.send(ping).await.expect("sent");
    let error = juliet.element("an answer").await.expect("an answer");
    assert_eq!(error.attr("id"), Some("p"), "who asks does not wait: {error:?}");
    assert_eq!(condition(&error).as_deref(), Some("remote-server-timeout"), "{error:?}");
    let error = juliet.element("the message").await.expect("the message");
    assert_eq!((error.attr("id"), error.attr("type")), (Some("late"), Some("error")));
    assert_eq!(condition(&error).as_deref(), Some("remote-server-timeout"), "{error:?}");
    let route = world.capulet.server.federation.find("capulet.lit", "montague.lit");
    let failed = route.expect("a route").standing().failed.expect("a failure");
    assert!(failed.cause.contains("connection refused"), "{}", failed.cause);
}

/// The time of a message runs while a stream is being opened, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_does_not_wait_as_long_as_somebody_says_nothing() {
    let world = world();
    let terms = Terms { queue_secs: 1, ..Terms::default() };
    world.capulet.server.federation.set_terms(terms);
    world.roads.silence("montague.lit", true);
    let mut juliet = online(&world, JULIET).await;
    juliet.send(&message("romeo@montague.lit", "late")).await.expect("sent");
    let error = next_message(&mut juliet).await;
    assert_eq!((error.attr("id"), error.attr("type")), (Some("late"), Some("error")));
    assert_eq!(condition(&error).as_deref(), Some("remote-server-timeout"), "{error:?}");
    let route = world.capulet.server.federation.find("capulet.lit", "montague.lit");
    let standing = route.expect("a route").standing();
    assert!(standing.failed.is_none(), "the first try is not over: {standing:?}");
}

/// SECURITY §1: a flood towards one domain, and the silence of another, are nobody else's affair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_does_not_answer_delays_no_other() {
    let world = world();
    world.roads.silence("montague.lit", true);
    let mut juliet = online(&world, JULIET).await;
    let mut nurse = online(&world, "nurse@localhost/kitchen").await;
    let most = Terms::default().queue_stanzas_max;
    for number in 0..most + 5 {
        let id = number.to_string();
        juliet.send(&message("romeo@montague.lit", &id)).await.expect("sent");
    }
    juliet.send(&message("nurse@localhost", "n")).await.expect("sent");
    assert_eq!(next_message(&mut nurse).await.attr("id"), Some("n"));
    for number in most..most + 5 {
        let error = next_message(&mut juliet).await;
        assert_eq!(error.attr("id"), Some(&*number.to_string()), "{error:?}");
        assert_eq!(condition(&error).as_deref(), Some("resource-constraint"), "{error:?}");
    }
    let federation = &world.capulet.server.federation;
    let standing = federation.find("capulet.lit", "montague.lit").expect("a route").standing();
    assert_eq!(standing.stanzas, most);
}

/// What waits leaves as soon as the other server can be reached, and says since when it waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_long_says_so() {
    let world = world();
    world.roads.close("montague.lit", true);
    let mut juliet = online(&world, JULIET).await;
    let mut romeo = online(&world, ROMEO).await;
    juliet.send(&message("romeo@montague.lit", "old")).await.expect("sent");
    let federation = &world.capulet.server.federation;
    let route = || federation.find("capulet.lit", "montague.lit");
    until("the first try", || route().is_some_and(|r| r.standing().failed.is_some())).await;
    world.capulet.server.clock.turn(5 * 60 * 1_000_000);
    world.roads.close("montague.lit", false);
    let old = next_message(&mut romeo).await;
    let delay = old.child("delay", "urn:xmpp:delay").expect("a delay");
    assert_eq!(delay.attr("from"), Some("capulet.lit"));
    juliet.send(&message("romeo@montague.lit", "new")).await.expect("sent");
    let new = next_message(&mut romeo).await;
    assert!(new.child("delay", "urn:xmpp:delay").is_none(), "{new:?}");
}

/// RFC 6120 §4.4: a server that goes away closes its streams in order, and nothing is lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_closed_in_order_and_opened_again() {
    let world = world();
    let mut juliet = online(&world, JULIET).await;
    let mut romeo = online(&world, ROMEO).await;
    juliet.send(&message("romeo@montague.lit", "1")).await.expect("sent");
    assert_eq!(next_message(&mut romeo).await.attr("id"), Some("1"));
    let server: &Arc<_> = &world.montague.server;
    assert_eq!(server.federation.streams.all().len(), 1);
    for peer in server.federation.streams.all() {
        peer.order(verona_core::federation::streams::Leave::Close);
    }
    for id in ["2", "3"] {
        juliet.send(&message("romeo@montague.lit", id)).await.expect("sent");
        assert_eq!(next_message(&mut romeo).await.attr("id"), Some(id));
    }
    let left = world.capulet.server.leave_federation(PATIENCE).await;
    assert_eq!(left, 0);
    until("the end of the streams", || server.federation.streams.all().is_empty()).await;
}

/// Who may not federate any more, or only with a certificate, loses the streams that stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_end_the_streams_that_they_forbid() {
    for (deny, require_certificate) in [("verona.lit", false), ("montague.lit", false), ("", true)]
    {
        let world = world();
        let mut juliet = online(&world, JULIET).await;
        let mut romeo = online(&world, ROMEO).await;
        juliet.send(&message("romeo@montague.lit", "1")).await.expect("sent");
        next_message(&mut romeo).await;
        let server: &Arc<_> = &world.capulet.server;
        let circle = Circle { allow: Vec::new(), deny: vec![deny.into()] };
        let mut terms = Terms::default();
        if !deny.is_empty() {
            terms.hosts.insert("capulet.lit".into(), circle);
        }
        server.federation.set_terms(terms);
        server.streams.set_rules(Rules { require_certificate, ..open_rules() });
        server.review_federation();
        let streams = &server.federation.streams;
        if deny == "verona.lit" {
            juliet.send(&message("romeo@montague.lit", "2")).await.expect("sent");
            assert_eq!(next_message(&mut romeo).await.attr("id"), Some("2"));
            assert_eq!(streams.all().len(), 1, "somebody else was meant");
            continue;
        }
        until("the end of the stream", || streams.all().is_empty()).await;
    }
}

/// RFC 6121 §4.5.2: who was seen at a server that is gone is there no more, and is asked for when it is
/// back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contacts_leave_with_their_server_and_come_back_with_it() {
    let world = world();
    let mut juliet = online(&world, JULIET).await;
    let mut romeo = online(&world, ROMEO).await;
    befriend(&mut juliet, &mut romeo).await;
    let is_available = |node: &Node| {
        node.is("presence", NS_CLIENT)
            && node.attr("type").is_none()
            && node.attr("from") == Some(ROMEO)
    };
    juliet.find("Romeo's presence", is_available).await.expect("presence");

    world.capulet.server.federation.set_terms(Terms { retry_secs_max: 0, ..Terms::default() });
    world.roads.close("montague.lit", true);
    world.roads.cut();
    let left = juliet.find("his leaving", |node| node.attr("type") == Some("unavailable")).await;
    let left = left.expect("presence");
    assert_eq!((&*left.name, left.attr("from")), ("presence", Some(ROMEO)), "{left:?}");

    world.roads.close("montague.lit", false);
    juliet.send(&message("romeo@montague.lit", "back")).await.expect("sent");
    next_message(&mut romeo).await;
    juliet.find("Romeo's presence", is_available).await.expect("presence");
}

/// Juliet sees Romeo.
async fn befriend(juliet: &mut Client, romeo: &mut Client) {
    juliet.send("<presence to='romeo@montague.lit' type='subscribe'/>").await.expect("sent");
    let request = romeo.find("a request", |node| node.attr("type") == Some("subscribe")).await;
    request.expect("a request");
    romeo.send("<presence to='juliet@capulet.lit' type='subscribed'/>").await.expect("sent");
}

/// RFC 6120 §8.1.5: what a client says of its whole stream goes with each stanza to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_language_of_a_stream_crosses_to_the_other_server() {
    let world = world();
    let mut romeo = online(&world, ROMEO).await;
    let juliet = address(JULIET);
    world.account(&juliet, PASSWORD).await.expect("made");
    let mut raw = Raw::connect(&world, &juliet).await.expect("a pipe");
    let features = raw.open_plain().await.expect("a stream");
    raw.authenticate(&features, &juliet.local, PASSWORD).await.expect("logged in");
    raw.begin_anew();
    let header = format!(
        "<stream:stream to='capulet.lit' version='1.0' xml:lang='it' xmlns='{NS_CLIENT}' \
         xmlns:stream='{NS_STREAM}'>"
    );
    raw.send(header.as_bytes()).await.expect("sent");
    assert!(matches!(raw.item().await.expect("a header"), Item::Open(_)));
    raw.element().await.expect("features");
    raw.bind("balcony").await.expect("a resource");
    for (own, lang) in [("", "it"), (" xml:lang='la'", "la")] {
        let text = format!("<message to='romeo@montague.lit'{own}><body>Ohimè</body></message>");
        raw.send(text.as_bytes()).await.expect("sent");
        let message = next_message(&mut romeo).await;
        assert_eq!(message.attr_ns(NS_XML, "lang"), Some(lang), "{message:?}");
    }
}

/// XEP-0356 §8 rule 1: a privileged component that comes late sees contacts elsewhere, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_privileged_component_is_shown_contacts_at_other_servers() {
    const PUBSUB: &str = "pubsub.capulet.lit";
    let config = format!(
        "[[modules.privilege.grants]]\ncomponent = \"{PUBSUB}\"\nhosts = [\"capulet.lit\"]\n\
         roster = \"get\"\npresence = \"roster\""
    );
    let components = vec![(PUBSUB.to_owned(), 1)];
    let setup = Setup { config, components, ..Setup::default() };
    let world = World::configured(&setup, install::configured).expect("a world");
    let mut juliet = online(&world, JULIET).await;
    let mut romeo = online(&world, ROMEO).await;
    befriend(&mut juliet, &mut romeo).await;
    let from_romeo =
        |node: &Node| node.is("presence", NS_CLIENT) && node.attr("from") == Some(ROMEO);
    juliet.find("Romeo's presence", from_romeo).await.expect("presence");

    let pubsub = Address::of_component(PUBSUB);
    let link = world.connect(&pubsub).await.expect("a pipe");
    let mut pubsub = Client::connect(link, &pubsub, LONG).await.expect("a stream");
    pubsub.log_in(SECRET).await.expect("welcome");
    let shown = pubsub.find("Romeo's presence", from_romeo).await.expect("presence");
    assert_eq!((shown.attr("type"), shown.attr("to")), (None, Some(PUBSUB)), "{shown:?}");
}

/// A server that is stopped and started anew, as for an update, while messages go both ways: what it
/// handled it has acknowledged before the end of each stream (XEP-0198 §4), and so has the other for
/// what came from it. Each sends the rest again, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_in_order_loses_and_doubles_nothing() {
    const ROUNDS: usize = 12;
    const EACH: usize = 40;
    let world = world();
    let mut juliet = online(&world, JULIET).await;
    world.account(&address(ROMEO), PASSWORD).await.expect("made");
    let store = world.montague.server.store.clone();
    let mut again = None::<Memory>;
    for round in 0..ROUNDS {
        let place = again.as_ref().unwrap_or(&world.montague);
        let mut nurse = online(place, "nurse@localhost/kitchen").await;
        let ids = (0..EACH).map(|number| (round * EACH + number).to_string());
        let ids: Vec<String> = ids.collect();
        let (first, second) = ids.split_at(EACH / 2);
        for id in first {
            juliet.send(&message("romeo@montague.lit", id)).await.expect("sent");
            nurse.send(&message("juliet@capulet.lit", id)).await.expect("sent");
        }
        nurse.round_trip().await.expect("answered");
        tokio::time::sleep(Duration::from_micros(211 * round as u64)).await;
        let old = place.server.clone();
        let leaving = tokio::spawn(async move { old.leave_federation(PATIENCE).await });
        for id in second {
            juliet.send(&message("romeo@montague.lit", id)).await.expect("sent");
        }
        assert_eq!(leaving.await.expect("no panic"), 0, "all streams end in order");
        // Whoever has submitted nothing waits for all that was submitted before.
        store.submit(verona_core::store::batch::Batch::new()).await.expect("kept");
        let hosts = ["montague.lit", "localhost"].map(|domain| {
            let settings = verona_testkit::memory::settings(domain);
            let tables = verona_testkit::memory::Tables::default();
            install::configured(settings, &tables).expect("a host")
        });
        let new = Memory::on(store.clone(), hosts.into()).expect("a server");
        world.roads.lead_to(&["montague.lit", "localhost"], &new.server);
        new.server.restore_federation().await.expect("read");
        again = Some(new);
    }
    for number in (0..ROUNDS * EACH).filter(|number| number % EACH < EACH / 2) {
        let next = next_message(&mut juliet).await;
        assert_eq!(next.attr("id"), Some(&*number.to_string()), "{next:?}");
    }
    let mut romeo = comes(&again.expect("a server"), ROMEO).await;
    for number in 0..ROUNDS * EACH {
        let next = next_message(&mut romeo).await;
        assert_eq!(next.attr("id"), Some(&*number.to_string()), "{next:?}");
    }
    for client in [&mut juliet, &mut romeo] {
        client.round_trip().await.expect("answered");
        let more = client.inbox().filter(|node| node.is("message", NS_CLIENT)).count();
        assert_eq!(more, 0, "something came twice");
    }
}
