//! XEP-0115: Entity Capabilities. The server announces its own in the stream features, and finds out
//! what its clients can do when they announce something that it does not know yet.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::hooks::{
    Change, ConfigError, Hooks, HostSettings, Manifest, Module, Offering, Spec, Stage,
};
use verona_core::known_features::Features;
use verona_core::limits::FEATURES_BYTES_MAX;
use verona_core::server::Server;
use verona_xml::Writer;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::{CAPS, CLIENT, DISCO_INFO};
use verona_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::entity::info::{Info, Known, verification};

/// Bytes of a node or of a verification string, beyond which an announcement is not looked at.
const ANNOUNCEMENT_BYTES_MAX: usize = 1_023;

/// The module.
#[derive(Default)]
pub struct Caps {
    own: Known,
}

impl Module for Caps {
    const MANIFEST: Manifest = Manifest {
        name: "caps",
        specs: &[Spec("XEP-0115", "1.6.0")],
        features: &[CAPS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.advertise(Stage::BeforeBind, Self::announce);
        on.change(Self::hear);
    }
}

impl Caps {
    /// XEP-0115 §6.3: the host's own.
    fn announce(&self, offering: &mut Offering<'_>) {
        let own = self.own.get(&offering.host.registry(), Info::of_host);
        own.announce(offering.writer);
    }

    /// XEP-0115 §5.4: what a client announces is looked up, and found out when it is new.
    fn hear(&self, change: &mut Change<'_>) {
        let entity = &change.link.jid;
        if change.presence.kind() != Kind::Presence(PresenceType::Available) {
            change.server.known_features.forget(entity);
            return;
        }
        // todo(XEP-0115 §6.2): of clients of other servers, once this server sends them what only some
        // of them want (XEP-0163).
        let Some(announcement) = Announcement::read(change.presence) else { return };
        if change.server.known_features.announce(entity, &announcement.key()) {
            let (server, account) = (change.server.clone(), change.account.clone());
            // It ends with the question, whose number and time are bounded.
            tokio::spawn(find_out(server, account, entity.clone(), announcement));
        }
    }
}

/// What a `<c/>` says (XEP-0115 §4).
struct Announcement {
    hash: String,
    node: String,
    ver: String,
}

impl Announcement {
    /// Reads it; without `hash` it is of the legacy form, which is not served (§5.4 step 1).
    fn read(presence: &Stanza) -> Option<Self> {
        let tree = presence.child("c", CAPS)?.tree()?;
        let part = |name| {
            let value = tree.root().attr(name)?;
            (value.len() <= ANNOUNCEMENT_BYTES_MAX).then(|| value.to_owned())
        };
        Some(Self { hash: part("hash")?, node: part("node")?, ver: part("ver")? })
    }

    /// A verification string means the same whoever announces it; one that we cannot verify is
    /// only compared with what the same client said before.
    fn key(&self) -> String {
        [self.hash.as_str(), &self.ver].join(" ")
    }

    fn is_verifiable(&self) -> bool {
        self.hash == "sha-1"
    }

    /// §6.2: the request for what was announced.
    fn request(&self) -> String {
        let mut writer = Writer::new(CLIENT);
        let node = [self.node.as_str(), &self.ver].join("#");
        writer.start("query", DISCO_INFO).attr("node", &node).end();
        writer.finish()
    }
}

/// XEP-0115 §5.4: asks a client what it can do. What the string verifies counts for all who announce
/// it; anything else is believed of this client alone, and an ill-formed answer not at all.
async fn find_out(
    server: Arc<Server>,
    account: Arc<Account>,
    entity: Jid,
    announcement: Announcement,
) {
    // A client answers its own account (RFC 6121 §8.5.3.1).
    let request = announcement.request();
    let Some(answer) = server.inquire(&account.jid, &entity, &request).await else { return };
    let Some(tree) = answer.payload_tree() else { return };
    let query = tree.root();
    let Some(ver) = verification(query).filter(|_| query.is("query", DISCO_INFO)) else { return };
    let features = query.children().filter(|child| child.is("feature", DISCO_INFO));
    let features: Vec<&str> = features.filter_map(|feature| feature.attr("var")).collect();
    if features.iter().map(|feature| feature.len()).sum::<usize>() > FEATURES_BYTES_MAX {
        return;
    }
    let (key, features) = (announcement.key(), Features::from_iter(features));
    if announcement.is_verifiable() && ver == announcement.ver {
        server.known_features.prove(&key, features);
    } else {
        server.known_features.note(&entity, &key, features);
    }
}

#[cfg(test)]
mod tests {
    use verona_testkit::address::Address;
    use verona_testkit::client::Client;
    use verona_testkit::memory::Memory;
    use verona_testkit::node::Node;
    use verona_testkit::place::Place;
    use verona_testkit::wire::PATIENCE;
    use verona_xml::{Limits, Tree};
    use verona_xmpp::ns;

    use super::*;
    use crate::testing::memory;

    /// How often other tasks have their turn before something must have happened.
    const TURNS_MAX: usize = 1_000;

    async fn log_in(place: &Memory, jid: &str) -> Client {
        let address = Address::parse(jid).unwrap();
        place.account(&address, "wherefore").await.unwrap();
        let link = place.connect(&address).await.unwrap();
        let mut client = Client::connect(link, &address, PATIENCE).await.unwrap();
        client.log_in("wherefore").await.unwrap();
        client
    }

    async fn ask(client: &mut Client, to: &str, node: &str) -> Node {
        let query = format!("<query xmlns='{DISCO_INFO}' node='{node}'/>");
        let iq = format!("<iq type='get' to='{to}' id='q'>{query}</iq>");
        client.send(&iq).await.unwrap();
        client.find("the answer", |node| node.attr("id") == Some("q")).await.unwrap()
    }

    /// XEP-0115 §6.3, §6.2
    #[tokio::test]
    async fn what_the_stream_announces_is_what_the_host_answers() {
        let place = memory("");
        let mut juliet = log_in(&place, "juliet@capulet.lit/balcony").await;
        let announced = juliet.features().child("c", CAPS).unwrap().clone();
        let (node, ver) = (announced.attr("node").unwrap(), announced.attr("ver").unwrap());
        assert_eq!(announced.attr("hash"), Some("sha-1"));
        let answer = ask(&mut juliet, "capulet.lit", &[node, "#", ver].concat()).await;
        let query = answer.child("query", DISCO_INFO).unwrap();
        assert_eq!(query.attr("node"), Some([node, "#", ver].concat().as_str()));
        let text = query.pretty(0);
        let tree = Tree::parse(&text, "", Limits::NONE).unwrap();
        assert_eq!(verification(tree.root()).as_deref(), Some(ver));
        let other = ask(&mut juliet, "capulet.lit", &[node, "#other"].concat()).await;
        let error = other.child("error", ns::CLIENT).unwrap();
        assert!(error.child("item-not-found", ns::STANZA_ERRORS).is_some());
    }

    const FEATURES: [&str; 2] = ["urn:xmpp:ping", "urn:x:mood+notify"];

    fn info(feature: &str) -> String {
        format!(
            "<query xmlns='{DISCO_INFO}'><identity category='client' type='pc'/>\
             <feature var='urn:xmpp:ping'/><feature var='{feature}'/></query>"
        )
    }

    async fn announce(client: &mut Client, hash: &str, ver: &str) {
        let caps = format!("<c xmlns='{CAPS}' hash='{hash}' node='urn:x:client' ver='{ver}'/>");
        client.send(&format!("<presence>{caps}</presence>")).await.unwrap();
    }

    /// Answers the question of the server, in the name of the account or of somebody else.
    async fn answer(client: &mut Client, info: &str) {
        let asked = |node: &Node| node.is("iq", ns::CLIENT) && node.attr("type") == Some("get");
        let question = client.find("the question of the server", asked).await.unwrap();
        let (to, id) = (question.attr("from").unwrap(), question.attr("id").unwrap());
        let iq = format!("<iq type='result' to='{to}' id='{id}'>{info}</iq>");
        client.send(&iq).await.unwrap();
        client.round_trip().await.unwrap();
    }

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    /// Waits until the features of an entity are known: they are found out beside its stream.
    async fn features(place: &Memory, entity: &str) -> Arc<Features> {
        for _ in 0..TURNS_MAX {
            if let Some(features) = place.server.known_features.of(&jid(entity)) {
                return features;
            }
            tokio::task::yield_now().await;
        }
        panic!("the features of {entity} are not known");
    }

    /// XEP-0115 §5.4 step 3.8
    #[tokio::test]
    async fn verified_features_count_for_all_who_announce_them_until_they_leave() {
        let place = memory("");
        let tree = Tree::parse(&info(FEATURES[1]), "", Limits::NONE).unwrap();
        let ver = verification(tree.root()).unwrap();
        let mut juliet = log_in(&place, "juliet@capulet.lit/balcony").await;
        announce(&mut juliet, "sha-1", &ver).await;
        answer(&mut juliet, &info(FEATURES[1])).await;
        let known = features(&place, "juliet@capulet.lit/balcony").await;
        assert!(FEATURES.iter().all(|feature| known.has(feature)));
        let mut romeo = log_in(&place, "romeo@montague.lit/orchard").await;
        announce(&mut romeo, "sha-1", &ver).await;
        romeo.round_trip().await.unwrap();
        let known = place.server.known_features.of(&jid("romeo@montague.lit/orchard"));
        assert!(known.is_some_and(|features| features.has(FEATURES[1])));
        juliet.log_out().await.unwrap();
        assert_eq!(place.server.known_features.of(&jid("juliet@capulet.lit/balcony")), None);
    }

    /// XEP-0198 §5: presence is not sent anew by who resumes, not even after a restart.
    #[tokio::test]
    async fn what_a_resumed_client_announced_is_found_out_again() {
        let place = memory("");
        let (jid_text, sm) = ("juliet@capulet.lit/balcony", ns::SM);
        let mut juliet = log_in(&place, jid_text).await;
        announce(&mut juliet, "sha-512", "v").await;
        answer(&mut juliet, &info(FEATURES[1])).await;
        juliet.send(&format!("<enable xmlns='{sm}' resume='true'/>")).await.unwrap();
        let enabled = juliet.find("the session's id", |node| node.is("enabled", sm)).await.unwrap();
        let id = enabled.attr("id").unwrap().to_owned();
        drop(juliet);
        // As a restart does.
        place.server.known_features.forget(&jid(jid_text));
        let address = Address::parse(jid_text).unwrap();
        let link = place.connect(&address).await.unwrap();
        let mut juliet = Client::connect(link, &address, PATIENCE).await.unwrap();
        juliet.authenticate("wherefore").await.unwrap();
        juliet.send(&format!("<resume xmlns='{sm}' previd='{id}' h='0'/>")).await.unwrap();
        juliet.find("the session", |node| node.is("resumed", sm)).await.unwrap();
        answer(&mut juliet, &info(FEATURES[1])).await;
        assert!(features(&place, jid_text).await.has(FEATURES[1]));
    }

    /// XEP-0115 §5.4 steps 2.3 and 3.9, §9.3
    #[tokio::test]
    async fn what_cannot_be_verified_is_believed_of_one_alone() {
        let place = memory("");
        let tree = Tree::parse(&info(FEATURES[1]), "", Limits::NONE).unwrap();
        let ver = verification(tree.root()).unwrap();
        for hash in ["sha-1", "sha-512"] {
            let mut tybalt = log_in(&place, "tybalt@capulet.lit/alley").await;
            announce(&mut tybalt, hash, &ver).await;
            answer(&mut tybalt, &info("urn:x:poison")).await;
            assert!(features(&place, "tybalt@capulet.lit/alley").await.has("urn:x:poison"));
            let mut nurse = log_in(&place, "nurse@capulet.lit/hall").await;
            announce(&mut nurse, hash, &ver).await;
            answer(&mut nurse, &info(FEATURES[1])).await;
            let known = features(&place, "nurse@capulet.lit/hall").await;
            assert!(known.has(FEATURES[1]) && !known.has("urn:x:poison"));
            tybalt.log_out().await.unwrap();
            nurse.log_out().await.unwrap();
        }
    }
}
