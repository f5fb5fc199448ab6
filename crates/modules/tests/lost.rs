//! What a sender hears of a message that the store could not keep (SECURITY §3, G3).

use verona_modules::install;
use verona_testkit::address::Address;
use verona_testkit::client::Client;
use verona_testkit::memory::Memory;
use verona_testkit::node::NS_CLIENT;
use verona_testkit::place::Place;
use verona_testkit::script::Setup;
use verona_testkit::wire::PATIENCE;

const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

#[tokio::test]
async fn a_message_that_no_log_could_keep_comes_back_once() {
    let place = Memory::configured(Setup::default(), install::configured).expect("made");
    let [juliet, romeo] = ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        .map(|jid| Address::parse(jid).expect("an address"));
    for who in [&juliet, &romeo] {
        place.account(who, "wherefore").await.expect("made");
    }
    let link = place.connect(&juliet).await.expect("a pipe");
    let mut client = Client::connect(link, &juliet, PATIENCE).await.expect("a stream");
    client.log_in("wherefore").await.expect("logged in");
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
