//! What sessions do when something is not as it should be: the store fails, the client is silent.

use verona_core::server::{Identity, Policy, Server};
use verona_modules::install;
use verona_testkit::address::Address;
use verona_testkit::client::Client;
use verona_testkit::memory::{Memory, settings};
use verona_testkit::node::NS_CLIENT;
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
