//! The module: what clients enable, and which messages their services are told of.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use verona_core::account::Account;
use verona_core::account::state::Resource;
use verona_core::hooks::{
    Change, ConfigError, Delivery, Direction, Hooks, HostSettings, IqResult, Key, Manifest, Module,
    Passage, Phase, Reply, Request, Settings, Spec, Target, Verdict,
};
use verona_core::limits::{PUSH_BODY_CHARS_MAX, PUSH_SERVICES_MAX};
use verona_core::link::Link;
use verona_core::server::{Host, Server};
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{Kind, MessageType, Stanza};

use crate::devices::push::attempt::Attempt;
use crate::devices::push::content::{is_news, words};
use crate::devices::push::notification::{NS, Summary};
use crate::devices::push::service::{
    Enabled, FAILURES, Latest, SERVICES, Service, Services, Watched, forget, forgotten, node_of,
};

/// Accounts whose failed services are looked up at a time.
const PAGE: usize = 500;

/// What an operator may set. XEP-0357 §9 advises that no client can.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What services are told of the messages.
    pub summary: Vec<String>,
    /// Seconds for which a client that seems to be there may be silent.
    pub patience_secs: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { summary: vec!["message-count".to_owned()], patience_secs: 10 }
    }
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[
        Key {
            name: "summary",
            doc: "What push services, which belong to others, are told of the messages: some of \
                  `message-count` (by default the only one), `pending-subscription-count`, \
                  `last-message-sender` and `last-message-body`.",
        },
        Key {
            name: "patience_secs",
            doc: "Seconds after which a client that has not acknowledged a message is notified as if \
                  it were away.",
        },
    ];
}

/// The module.
pub struct Push {
    summary: Summary,
    patience: Duration,
}

impl Module for Push {
    const MANIFEST: Manifest = Manifest {
        name: "push",
        specs: &[Spec("XEP-0357", "0.4.1")],
        account_features: &[NS],
        loaded: &[SERVICES, FAILURES],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        if config.patience_secs == 0 {
            let message = "a client needs at least a second to answer".to_owned();
            return Err(ConfigError::of("patience_secs", message));
        }
        let patience = Duration::from_secs(config.patience_secs.into());
        Ok(Self { summary: Summary::named(&config.summary)?, patience })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.part::<Services>();
        on.iq_set(Target::Own, NS, "enable", Self::enable);
        on.iq_set(Target::Own, NS, "disable", Self::disable);
        on.guard(Direction::Inbound, Self::hear_service);
        on.message(Direction::Inbound, Phase::Copy, Self::notify);
        on.change(Self::client_is_there);
        on.chore(Self::try_again);
    }
}

impl Push {
    /// §5: the last request for an address and a node counts.
    async fn enable(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let link = request.link.as_ref().ok_or_else(|| StanzaError::new(Condition::NotAllowed))?;
        let now = request.server.clock.now_micros();
        let tree = request.tree()?;
        let edit = account.edit(&request.server).await;
        let (enabled, oldest, batch) = {
            let state = account.turn();
            let resource = state.resource_of(link);
            let resource = resource.ok_or_else(|| StanzaError::new(Condition::NotAllowed))?;
            let enabled = Enabled::read(tree.root(), resource, now)?;
            let list = state.part::<Services>().map(|services| &*services.list);
            plan(account, list.unwrap_or_default(), enabled)
        };
        edit.commit(batch).await?;
        let mut state = account.turn();
        let services = state.part_mut::<Services>();
        if let Some(oldest) = oldest {
            services.remove(&oldest);
        }
        services.put(enabled);
        Ok(Reply::empty())
    }

    /// §6: one node, or all of a service; nothing is wrong with what was not enabled.
    async fn disable(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let jid = tree.root().attr("jid");
        let jid = Jid::parse(jid.ok_or_else(|| StanzaError::new(Condition::BadRequest))?)?;
        let node = node_of(tree.root());
        let edit = account.edit(&request.server).await;
        let gone: Vec<String> = {
            let state = account.turn();
            let services = state.part::<Services>().into_iter().flat_map(|of| &of.list);
            let meant = services.filter(|service| {
                service.jid == jid && (node.is_none() || service.enabled.node == node)
            });
            meant.map(|service| service.enabled.key()).collect()
        };
        let mut batch = Batch::new();
        forget(&gone, &account.owner, &mut batch);
        edit.commit(batch).await?;
        forgotten(&gone, &mut account.turn());
        Ok(Reply::empty())
    }

    /// §8: a service says that it takes no more. Nobody else is meant to read that.
    fn hear_service(&self, passage: &mut Passage<'_>) -> Verdict {
        let Some(services) = passage.state.part::<Services>() else { return Verdict::Pass };
        let Some(from) = passage.stanza.from() else { return Verdict::Pass };
        let mut keys = services.list.iter().filter(|service| service.jid == *from);
        if keys.clone().next().is_none() {
            return Verdict::Pass;
        }
        let Some(node) = shut_out(passage.stanza, &passage.account.jid) else {
            return Verdict::Pass;
        };
        let Some(service) = keys.find(|service| service.enabled.node == node) else {
            return Verdict::Pass;
        };
        let attempt = self.attempt((passage.server, passage.host), passage.account, service);
        // At once, so that nothing more is published; if it cannot be stored, the service will have
        // to refuse once more.
        passage.state.part_mut::<Services>().remove(&attempt.key);
        tokio::spawn(async move { attempt.give_up().await });
        Verdict::Drop
    }

    /// §7: a message that reaches no online client, as seen from each client that wants to be
    /// notified: one without a session, with one that sleeps, or with one that does not answer.
    fn notify(&self, passage: &mut Passage<'_>) {
        let services = passage.state.part::<Services>();
        if services.is_none_or(|services| services.list.is_empty()) || !is_told_of(passage) {
            return;
        }
        let services = services.into_iter().flat_map(|services| &services.list);
        let due: Vec<Due> = services.map(|service| Due::of(passage, service)).collect();
        if due.iter().all(|due| matches!(due, Due::Never)) {
            return;
        }
        let (server, host, account) = (passage.server, passage.host, passage.account);
        let latest = Latest {
            sender: passage.stanza.from().filter(|_| self.summary.sender).map(Jid::to_string),
            words: self.summary.body.then(|| words(passage.stanza, PUSH_BODY_CHARS_MAX)).flatten(),
        };
        let services = passage.state.part_mut::<Services>();
        if !services.note(passage.stanza) {
            return;
        }
        for (service, due) in services.list.iter_mut().zip(due) {
            let attempt = self.attempt((server, host), account, service);
            match due {
                Due::Never => continue,
                Due::Now => {
                    service.missed = service.missed.saturating_add(1);
                    attempt.begin(service);
                }
                Due::Unanswered(link) => {
                    if watch(service, link) {
                        attempt.watch(self.patience);
                    }
                }
            }
            service.latest = Some(latest.clone());
        }
    }

    /// A client that is there has missed nothing.
    fn client_is_there(&self, change: &mut Change<'_>) {
        if change.state.part::<Services>().is_none() {
            return;
        }
        let place = change.state.place_of(change.link.jid.resource().unwrap_or_default());
        let resource = place.and_then(|place| change.state.resources.get(place));
        let Some(resource) = resource.filter(|resource| resource.is_available()) else { return };
        let services = change.state.part::<Services>().into_iter().flat_map(|of| &of.list);
        let its: Vec<bool> = services.map(|service| service.is_of(resource)).collect();
        let services = change.state.part_mut::<Services>();
        for (service, _) in services.list.iter_mut().zip(its).filter(|(_, its)| *its) {
            service.missed = 0;
            service.latest = None;
        }
    }

    /// §7.1: what failed before the server was started anew. While it runs, each attempt looks after
    /// itself.
    async fn try_again(self: Arc<Self>, server: Arc<Server>, host: Arc<Host>) {
        if let Err(error) = self.find_failed(&server, &host).await {
            tracing::error!(host = %host.jid, %error, "cannot look for failed push services");
        }
    }

    async fn find_failed(&self, server: &Arc<Server>, host: &Host) -> Result<(), StoreError> {
        let now_secs = server.clock.now_micros() / 1_000_000;
        let mut after: Option<Arc<str>> = None;
        loop {
            let owners = server.store.owners(FAILURES, after.as_deref(), PAGE).await?;
            let Some(last) = owners.last().cloned() else { return Ok(()) };
            for owner in owners {
                let jid = Jid::parse(&owner).ok().filter(|jid| jid.domain() == host.jid.domain());
                let Some(jid) = jid else { continue };
                let Some(account) = server.account(&jid).await? else { continue };
                self.begin_failed((server, host), &account, now_secs);
            }
            after = Some(last);
        }
    }

    fn begin_failed(&self, place: (&Arc<Server>, &Host), account: &Arc<Account>, now_secs: u64) {
        let mut state = account.turn();
        let Some(services) = state.part::<Services>() else { return };
        let is_due = |service: &Service| {
            service.failures > 0 && service.retry_secs <= now_secs && !service.is_awake(&state)
        };
        let due: Vec<bool> = services.list.iter().map(is_due).collect();
        let services = state.part_mut::<Services>();
        for (service, _) in services.list.iter_mut().zip(due).filter(|(_, due)| *due) {
            if !service.underway {
                self.attempt(place, account, service).begin(service);
            }
        }
    }

    fn attempt(
        &self,
        (server, host): (&Arc<Server>, &Host),
        account: &Arc<Account>,
        service: &Service,
    ) -> Attempt {
        Attempt {
            server: server.clone(),
            host: host.jid.clone(),
            account: account.clone(),
            key: service.enabled.key(),
            summary: self.summary,
        }
    }
}

/// What is to be written, and which service has to go for another.
fn plan(
    account: &Account,
    list: &[Service],
    mut enabled: Enabled,
) -> (Enabled, Option<String>, Batch) {
    let mut batch = Batch::new();
    let key = enabled.key();
    let known = list.iter().find(|service| service.enabled.key() == key);
    let full = known.is_none() && list.len() >= PUSH_SERVICES_MAX;
    let oldest = list.first().filter(|_| full).map(|service| service.enabled.key());
    forget(oldest.as_slice(), &account.owner, &mut batch);
    if known.is_some_and(|known| known.failures > 0) {
        batch.delete(FAILURES, &account.owner, &key);
    }
    match known.filter(|known| known.enabled.says_the_same(&enabled)) {
        // Clients ask again whenever they log in.
        Some(known) => enabled.since_micros = known.enabled.since_micros,
        None => {
            // Strings and numbers are always written.
            if let Ok(value) = serde_json::to_vec(&enabled) {
                batch.put(SERVICES, &account.owner, &key, value);
            }
        }
    }
    (enabled, oldest, batch)
}

/// Whether a message is one to tell of at all: from somebody else, new, and to be had.
fn is_told_of(passage: &Passage<'_>) -> bool {
    let own = passage.stanza.from().is_none_or(|from| from.same_bare(&passage.account.jid));
    let arrives = match &passage.delivery {
        Delivery::To(places) => !places.is_empty() || passage.keep.offline,
        Delivery::Bounce(_) | Delivery::Ignore => false,
    };
    !own && arrives && !passage.state.disabled && is_news(passage.stanza)
}

/// When a service is to be told of a message.
enum Due {
    Never,
    Now,
    /// When this session does not answer.
    Unanswered(Arc<Link>),
}

impl Due {
    fn of(passage: &Passage<'_>, service: &Service) -> Self {
        if passage.keep.offline {
            return Self::Now;
        }
        let Delivery::To(places) = &passage.delivery else { return Self::Never };
        // A client that was not sent the message finds it in the archive.
        match service.session(passage.state) {
            None if passage.keep.archive => Self::Now,
            Some((place, session)) if passage.keep.archive || places.contains(&place) => {
                Self::of_session(session)
            }
            None | Some(_) => Self::Never,
        }
    }

    fn of_session(session: &Resource) -> Self {
        match session.link.mailbox.is_asleep() {
            true => Self::Now,
            false => Self::Unanswered(session.link.clone()),
        }
    }
}

/// Notes that a client was sent a message; true when nobody looks after that yet.
fn watch(service: &mut Service, link: Arc<Link>) -> bool {
    let heard = link.heard_times();
    match &mut service.watched {
        Some(watched) if Arc::ptr_eq(&watched.link, &link) => {
            let answered = watched.heard.1 != heard;
            watched.count = if answered { 1 } else { watched.count.saturating_add(1) };
            watched.heard.1 = heard;
            false
        }
        // Who looks after the session before looks after this one then.
        other => {
            let watched = Watched { link, heard: (heard, heard), count: 1 };
            other.replace(watched).is_none()
        }
    }
}

/// §8: the node whose affiliation the account loses.
fn shut_out(stanza: &Stanza, own: &Jid) -> Option<Option<String>> {
    let Kind::Message(kind) = stanza.kind() else { return None };
    let tree = stanza.child("pubsub", ns::PUBSUB)?.tree()?;
    let affiliation = tree.root().child("affiliation", ns::PUBSUB)?;
    let whose = Jid::parse(affiliation.attr("jid")?).ok()?;
    let publishes =
        matches!(affiliation.attr("affiliation"), Some("owner" | "publisher" | "publish-only"));
    let counts = kind != MessageType::Error && whose == *own && !publishes;
    counts.then(|| node_of(tree.root()))
}

#[cfg(test)]
mod tests {
    use verona_core::account::log::{LOG, OFFLINE};
    use verona_core::store::shape::{Owner, Slice};
    use verona_testkit::address::Address;
    use verona_testkit::client::Client;
    use verona_testkit::memory::Memory;
    use verona_testkit::node::Node;
    use verona_testkit::place::Place;
    use verona_testkit::wire::PATIENCE;

    use super::*;
    use crate::devices::push::service::write_failures;
    use crate::testing::memory;

    const SHOP: &str = "apothecary@montague.lit/shop";

    async fn log_in(place: &Memory, jid: &str) -> Client {
        let address = Address::parse(jid).unwrap();
        place.account(&address, "wherefore").await.unwrap();
        let link = place.connect(&address).await.unwrap();
        let mut client = Client::connect(link, &address, PATIENCE).await.unwrap();
        client.log_in("wherefore").await.unwrap();
        client
    }

    /// The service, which hears what the host says.
    async fn shop(place: &Memory) -> Client {
        let mut shop = log_in(place, SHOP).await;
        shop.send("<presence to='capulet.lit'/>").await.unwrap();
        shop.round_trip().await.unwrap();
        shop
    }

    async fn enable(client: &mut Client, node: &str) {
        let iq = format!(
            "<iq type='set' id='{node}'><enable xmlns='{NS}' jid='{SHOP}' node='{node}'/></iq>"
        );
        client.send(&iq).await.unwrap();
        let answer = client.find("the answer", |it| it.attr("id") == Some(node)).await.unwrap();
        assert_eq!(answer.attr("type"), Some("result"));
    }

    async fn published(shop: &mut Client) -> Node {
        let publishes = |node: &Node| node.child("pubsub", ns::PUBSUB).is_some();
        shop.find("a notification", publishes).await.unwrap()
    }

    fn juliet() -> Owner {
        "juliet@capulet.lit".into()
    }

    async fn stored(place: &Memory, table: verona_core::store::shape::Table) -> Vec<Box<str>> {
        let entries = place.server.store.entries(&juliet(), &[table]).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn the_oldest_service_goes_when_there_are_too_many() {
        let place = memory("");
        let mut juliet = log_in(&place, "juliet@capulet.lit/balcony").await;
        for n in 0..=PUSH_SERVICES_MAX {
            enable(&mut juliet, &format!("n{n}")).await;
        }
        let keys = stored(&place, SERVICES).await;
        assert_eq!(keys.len(), PUSH_SERVICES_MAX);
        assert!(!keys.contains(&format!("{SHOP}\nn0").into()));
        enable(&mut juliet, "n1").await;
        assert_eq!(stored(&place, SERVICES).await, keys, "known already");
        let account = place.server.directory.loaded("juliet@capulet.lit").unwrap();
        assert_eq!(account.turn().part::<Services>().unwrap().list.len(), PUSH_SERVICES_MAX);
    }

    #[tokio::test]
    async fn what_fails_for_now_stays_enabled_and_is_remembered() {
        let place = memory("");
        let mut shop = shop(&place).await;
        let mut juliet = log_in(&place, "juliet@capulet.lit/balcony").await;
        enable(&mut juliet, "mandrake").await;
        juliet.log_out().await.unwrap();
        let mut romeo = log_in(&place, "romeo@montague.lit/orchard").await;
        let message = "<message to='juliet@capulet.lit' type='chat'><body>O</body></message>";
        romeo.send(message).await.unwrap();
        let request = published(&mut shop).await;
        let error = format!(
            "<iq type='error' to='capulet.lit' id='{}'><error type='wait'>\
             <resource-constraint xmlns='{}'/></error></iq>",
            request.attr("id").unwrap(),
            ns::STANZA_ERRORS
        );
        shop.send(&error).await.unwrap();
        let failed = async {
            while stored(&place, FAILURES).await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, failed).await.unwrap();
        assert_eq!(stored(&place, SERVICES).await.len(), 1);
        let waiting = Slice { flags_any: OFFLINE, ..Slice::default() };
        let count = place.server.store.count(LOG, &super::tests::juliet(), &waiting).await;
        assert_eq!(count.unwrap(), 1, "the message itself waits as ever");
    }

    #[tokio::test]
    async fn what_failed_before_a_restart_is_tried_again_when_it_is_time() {
        let place = memory("");
        let mut shop = shop(&place).await;
        let mut juliet = log_in(&place, "juliet@capulet.lit/balcony").await;
        enable(&mut juliet, "late").await;
        enable(&mut juliet, "due").await;
        juliet.log_out().await.unwrap();
        let mut batch = Batch::new();
        let future = place.server.clock.now_micros() / 1_000_000 + 1_000;
        let key = |node: &str| format!("{SHOP}\n{node}");
        batch.put(FAILURES, &self::juliet(), &key("late"), write_failures(2, future));
        batch.put(FAILURES, &self::juliet(), &key("due"), write_failures(2, 1));
        place.server.store.submit(batch).await.unwrap();
        // As if it had never been in memory.
        place.server.directory.forget("juliet@capulet.lit");
        place.server.do_chores().await;
        let request = published(&mut shop).await;
        let publish = request.child("pubsub", ns::PUBSUB).unwrap().child("publish", ns::PUBSUB);
        assert_eq!(publish.unwrap().attr("node"), Some("due"));
        let id = request.attr("id").unwrap();
        shop.send(&format!("<iq type='result' to='capulet.lit' id='{id}'/>")).await.unwrap();
        let well = async {
            while stored(&place, FAILURES).await.len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, well).await.unwrap();
        assert_eq!(stored(&place, FAILURES).await, [key("late").into()]);
        shop.round_trip().await.unwrap();
        assert!(shop.take(|node| node.child("pubsub", ns::PUBSUB).is_some()).is_none());
    }

    #[test]
    fn only_known_fields_can_be_told() {
        let new = |summary: &[&str], patience_secs| {
            let summary = summary.iter().map(|name| (*name).to_owned()).collect();
            let host = crate::testing::settings("capulet.lit");
            Push::new(Config { summary, patience_secs }, &host).map(|push| push.summary)
        };
        let all = ["message-count", "last-message-body"];
        let summary = new(&all, 1).ok().unwrap();
        assert!(summary.count && summary.body && !summary.sender && !summary.requests);
        assert_eq!(new(&["body"], 1).err().unwrap().key.as_deref(), Some("summary"));
        assert_eq!(new(&[], 0).err().unwrap().key.as_deref(), Some("patience_secs"));
    }
}
