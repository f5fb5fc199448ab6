//! XEP-0313: Message Archive Management, with the preferences of XEP-0441, the search of XEP-0431 and
//! the tombstones of XEP-0424. What is kept is decided in the turn of the account; the archive is its log, read by page.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verona_core::account::Account;
use verona_core::account::backlog::READS_ARCHIVE;
use verona_core::account::keep::settled;
use verona_core::hooks::{
    ConfigError, Delivery, Direction, Hooks, HostSettings, IqResult, Key, Manifest, Module,
    Passage, Phase, Reply, Request, Settings, Spec, Target,
};
use verona_core::server::{Host, Seat, Server};
use verona_core::store::batch::Batch;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::MAM as NS;
use verona_xmpp::stanza::Kind;

use crate::archive::answer;
use crate::archive::content::{is_for_archive, is_instant};
use crate::archive::find::Archive;
use crate::archive::prefs::{PREFERENCES, Prefs};
use crate::archive::query::{self, Query};
use crate::archive::retention::Retention;
use crate::archive::retraction::{Retraction, Underway};

const NS_EXTENDED: &str = "urn:xmpp:mam:2#extended";
const NS_GROUPCHAT_FIELD: &str = "urn:xmpp:mam:2#groupchat-field";

/// What an operator may set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether messages are archived.
    pub enabled: bool,
    /// Days for which they are kept; 0: for ever.
    pub retention_days: u32,
    /// Messages kept of one account; 0: all.
    pub messages_max: u64,
    /// Bytes kept of one account; 0: all.
    pub bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, retention_days: 0, messages_max: 0, bytes_max: 0 }
    }
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[
        Key {
            name: "enabled",
            doc: "Whether messages are archived. What is archived already can be read either way.",
        },
        Key {
            name: "retention_days",
            doc: "Days after which archived messages are removed; 0 keeps them for ever.",
        },
        Key {
            name: "messages_max",
            doc: "Messages in one account's archive, beyond which the oldest go; 0 keeps all.",
        },
        Key {
            name: "bytes_max",
            doc: "Bytes of the messages in one account's archive, beyond which the oldest go, within a \
                  quarter of an hour; 0 keeps all.",
        },
    ];
}

/// The module.
pub struct Mam {
    config: Config,
    retractions: Arc<Underway>,
}

impl Module for Mam {
    const MANIFEST: Manifest = Manifest {
        name: "mam",
        specs: &[Spec("XEP-0313", "1.1.3"), Spec("XEP-0431", "0.2.0"), Spec("XEP-0441", "0.2.0")],
        account_features: &[
            NS,
            NS_EXTENDED,
            NS_GROUPCHAT_FIELD,
            // XEP-0431 §2.1
            "urn:xmpp:fulltext:0",
            "urn:xmpp:message-retract:1",
            "urn:xmpp:message-retract:1#tombstone",
        ],
        loaded: &[PREFERENCES],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self { config, retractions: Arc::default() })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.part::<Prefs>();
        on.iq_set(Target::Own, NS, "query", Self::read);
        on.iq_get(Target::Own, NS, "query", Self::fields);
        on.iq_get(Target::Own, NS, "metadata", Self::metadata);
        on.bound(Self::tell_bound);
        on.iq_get(Target::Own, NS, "prefs", Self::read_prefs);
        on.iq_set(Target::Own, NS, "prefs", Self::change_prefs);
        for name in ["query", "metadata", "prefs"] {
            on.iq_get(Target::Account, NS, name, Self::refuse);
            on.iq_set(Target::Account, NS, name, Self::refuse);
        }
        on.message(Direction::Inbound, Phase::Keep, Self::keep_received);
        on.message(Direction::Outbound, Phase::Keep, Self::keep_sent);
        on.chore(Self::trim);
    }
}

impl Mam {
    /// §4: a page of the archive, and then the result.
    async fn read(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let Some(link) = &request.link else { return Err(Condition::Forbidden.into()) };
        let query = Query::read(request.tree()?.root())?;
        settled(&request.server, account).await?;
        self.retractions.settled(&account.owner).await;
        let found = Archive { server: &request.server, account }.find(&query).await?;
        answer::write_results((&request.server, account), link, &query, &found).await?;
        if query.catches_up() {
            let mut state = account.turn();
            let resource = state.resource_of_mut(link);
            if let Some(resource) = resource.filter(|resource| !resource.is_available()) {
                resource.mark(READS_ARCHIVE, true);
            }
        }
        Ok(answer::fin(&request.server, &found))
    }

    /// §4.1.5: what a query may ask for.
    async fn fields(self: Arc<Self>, request: Request) -> IqResult {
        request.own()?;
        Ok(Reply::with(|writer| {
            writer.start("query", NS);
            query::write_fields(writer);
            writer.end();
        }))
    }

    /// §5: the first and the last message.
    async fn metadata(self: Arc<Self>, request: Request) -> IqResult {
        state_of(&request.server, request.own()?).await
    }

    /// XEP-0386 §3.2.1: the same for a resource that has just been bound.
    async fn tell_bound(self: Arc<Self>, server: Arc<Server>, seat: Seat) -> IqResult {
        state_of(&server, &seat.account).await
    }

    /// XEP-0441 §2.1
    async fn read_prefs(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let prefs = account.turn().part::<Prefs>().cloned().unwrap_or_default();
        Ok(Reply::with(|writer| prefs.write(writer)))
    }

    /// XEP-0441 §2.1: the answer shows what holds from now on.
    async fn change_prefs(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let prefs = Prefs::read(request.tree()?.root())?;
        let edit = account.edit(&request.server).await;
        let mut batch = Batch::new();
        if prefs == Prefs::default() {
            batch.delete(PREFERENCES, &account.owner, "");
        } else {
            batch.put(PREFERENCES, &account.owner, "", prefs.encode());
        }
        edit.commit(batch).await?;
        *account.turn().part_mut::<Prefs>() = prefs.clone();
        Ok(Reply::with(|writer| prefs.write(writer)))
    }

    /// §8.1: another's archive; the same answer whether there is such an account or not.
    async fn refuse(self: Arc<Self>, _: Request) -> IqResult {
        Err(StanzaError::new(Condition::Forbidden))
    }

    /// §6.1.1: what the account receives. What is refused, or reaches nobody and does not wait, is
    /// nothing it would have received.
    fn keep_received(&self, passage: &mut Passage<'_>) {
        let Kind::Message(kind) = passage.stanza.kind() else { return };
        let arrives = match &passage.delivery {
            Delivery::To(places) => !places.is_empty() || passage.keep.offline,
            Delivery::Bounce(_) | Delivery::Ignore => false,
        };
        if arrives && is_for_archive(kind, passage.stanza) {
            let target = passage.stanza.from().cloned();
            self.keep(passage, target.as_ref());
        }
    }

    /// §6.1.1: what the account sends. A message to itself comes back, and is archived then: once.
    fn keep_sent(&self, passage: &mut Passage<'_>) {
        let Kind::Message(kind) = passage.stanza.kind() else { return };
        let to_self = passage.stanza.to().is_none_or(|to| to.same_bare(&passage.account.jid));
        if !to_self && is_for_archive(kind, passage.stanza) {
            let target = passage.stanza.to().cloned();
            self.keep(passage, target.as_ref());
        }
    }

    /// XEP-0441 §2.3: archives a message if the account wants those from or to this JID archived.
    fn keep(&self, passage: &mut Passage<'_>, target: Option<&Jid>) {
        let Some(target) = target.filter(|_| self.config.enabled) else { return };
        let prefs = passage.state.part::<Prefs>();
        if prefs.is_some_and(|prefs| !prefs.want(target, &passage.state.roster)) {
            return;
        }
        passage.keep.archive = true;
        passage.keep.instant = is_instant(passage.stanza);
        if let Some(retraction) = Retraction::of(passage) {
            self.retractions.begin(passage.server, retraction);
        }
    }

    /// §3.2
    async fn trim(self: Arc<Self>, server: Arc<Server>, host: Arc<Host>) {
        let Config { retention_days: days, messages_max, bytes_max, .. } = self.config;
        let retention = Retention { days, messages_max, bytes_max };
        if retention.is_bounded()
            && let Err(error) = retention.enforce(&server, &host).await
        {
            tracing::error!(host = %host.jid, %error, "cannot trim the archives");
        }
    }
}

/// §5: where the archive begins and ends.
async fn state_of(server: &Server, account: &Account) -> IqResult {
    settled(server, account).await?;
    let archive = Archive { server, account };
    let first = archive.end(false).await?;
    let last = archive.end(true).await?;
    Ok(answer::metadata(server, first.zip(last)))
}

#[cfg(test)]
mod tests {
    use verona_core::account::log;
    use verona_testkit::play::play;

    use super::*;
    use crate::testing::memory;

    /// What the next process finds waiting for Juliet when this one is killed now.
    async fn found_after_a_crash(script: &str) -> (u64, Option<String>) {
        let memory = memory(script);
        play(script, &memory).await.unwrap_or_else(|failure| panic!("{failure}"));
        let (owner, store) = ("juliet@capulet.lit".into(), &*memory.server.store);
        store.submit(Batch::new()).await.unwrap();
        let (count, _, first) = log::waiting(&owner, store).await.unwrap();
        let record = store.record(log::LOG, &owner, first).await.unwrap();
        (count, record.map(|record| String::from_utf8(record.stanza.to_vec()).unwrap()))
    }

    const RESUMABLE: &str = "
juliet sends
    <enable xmlns='urn:xmpp:sm:3' resume='true'/>
juliet receives
    <enabled xmlns='urn:xmpp:sm:3' resume='true' id='{any}' max='{number}'/>
romeo sends
    <message to='juliet@capulet.lit' id='m1' type='chat'><body>Wilt thou</body></message>
juliet receives
    <message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='m1' type='chat'>
        {and more}
    </message>
";

    #[tokio::test]
    async fn crash_loses_nothing_that_was_not_acknowledged() {
        let script = [RESUMABLE, "juliet disconnects\n"].concat();
        let (count, found) = found_after_a_crash(&script).await;
        assert_eq!(count, 1);
        assert!(found.is_some_and(|found| found.contains("Wilt thou")));
    }

    #[tokio::test]
    async fn what_was_acknowledged_does_not_wait_for_the_next_process() {
        let acknowledge = "
juliet sends
    <a xmlns='urn:xmpp:sm:3' h='2'/>
romeo sends
    <message to='juliet@capulet.lit' id='m2' type='chat'><body>leave me so</body></message>
juliet disconnects
";
        let (count, found) = found_after_a_crash(&[RESUMABLE, acknowledge].concat()).await;
        assert_eq!(count, 1);
        assert!(found.is_some_and(|found| found.contains("leave me so")));
    }

    #[tokio::test]
    async fn archive_that_is_switched_off_keeps_nothing() {
        let script = "
config
    [modules.mam]
    enabled = false
romeo sends
    <message to='juliet@capulet.lit' id='m1' type='chat'><body>Wilt thou</body></message>
juliet receives
    <message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='m1' type='chat'>
        <body>Wilt thou</body>
    </message>
";
        let memory = memory(script);
        play(script, &memory).await.unwrap_or_else(|failure| panic!("{failure}"));
        let owners = memory.server.store.owners(log::LOG, None, 10).await.unwrap();
        assert!(owners.is_empty(), "{owners:?}");
    }
}
