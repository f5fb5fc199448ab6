//! XEP-0356: Privileged Entity. The operator lets components do for the accounts of a host what they
//! could do themselves: read and change rosters, send messages and requests, see presence.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use verona_core::account::roster::Item;
use verona_core::account::{Account, presence};
use verona_core::hooks::{
    Change, ComponentEvent, ConfigError, Hooks, HostMessage, HostSettings, IqResult, Listed,
    Manifest, Module, Passage, Presence, Reply, Request, Spec, Standing, Target, only_child,
};
use verona_core::server::{Host, Server};
use verona_core::trail::Kept;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::{CLIENT, FORWARD, ROSTER};
use verona_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::components::grants::{Config, Grant, Messages, Requests, Shown};

const NS: &str = "urn:xmpp:privilege:2";

/// Entities of which it is remembered what a component was last shown; beyond that all is forgotten,
/// and shown once more.
const SHOWN_MAX: usize = 100_000;

/// The module.
pub struct Privilege {
    grants: Vec<(Jid, Grant)>,
    /// What each component was last shown of whom: a hash.
    shown: Mutex<BTreeMap<(Jid, Jid), u64>>,
}

impl Module for Privilege {
    const MANIFEST: Manifest =
        Manifest { name: "privilege", specs: &[Spec("XEP-0356", "0.4.1")], ..Manifest::EMPTY };

    type Config = Config;

    fn new(config: Config, host: &HostSettings) -> Result<Self, ConfigError> {
        let mut grants: Vec<(Jid, Grant)> = Vec::new();
        for grant in config.grants {
            let wrong = |message: &str| {
                ConfigError::of("grants", format!("{:?} {message}", grant.component))
            };
            let jid = Jid::parse(&grant.component).ok().filter(Jid::is_domain);
            let jid = jid.ok_or_else(|| wrong("is not the domain of a component"))?;
            // §7.4.
            if grant.presence == Shown::Roster && !grant.roster.allows(false) {
                return Err(wrong(
                    "sees the presence of contacts only if it may read rosters: set \
                                  roster to \"get\" or \"both\"",
                ));
            }
            if !grant.hosts.is_empty() && !grant.hosts.iter().any(|of| host.domain == of.as_str()) {
                continue;
            }
            if grants.iter().any(|(known, _)| *known == jid) {
                return Err(wrong("has two grants for one host"));
            }
            grants.push((jid, grant));
        }
        Ok(Self { grants, shown: Mutex::default() })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.announce(Self::announce);
        let any = |of: fn(&Grant) -> bool| on.module().grants.iter().any(|(_, grant)| of(grant));
        if !any(|_| true) {
            return;
        }
        let pushes = any(Grant::pushes);
        let shows = any(|grant| grant.presence != Shown::None);
        let shows_contacts = any(|grant| grant.presence == Shown::Roster);
        on.stand_in(Self::stand_in);
        on.told(NS, "privilege", Self::speak);
        for target in [Target::Host, Target::Account] {
            on.iq_get(target, NS, "privileged_iq", Self::ask);
            on.iq_set(target, NS, "privileged_iq", Self::ask);
        }
        if pushes {
            on.roster(Self::push);
        }
        if shows {
            on.change(Self::show);
            on.component(Self::meet);
        }
        if shows_contacts {
            on.presence(Self::show_contact);
        }
    }
}

impl Privilege {
    fn grant(&self, component: &Jid) -> Option<&Grant> {
        self.grants.iter().find(|(jid, _)| jid == component).map(|(_, grant)| grant)
    }

    /// §4.2, §5.2, §6.2, §7.2: what it may do; nothing, once all was taken back.
    fn announce(&self, component: &Jid, again: bool) -> Option<String> {
        let grant = match self.grant(component) {
            Some(grant) => grant,
            None if again => &Grant {
                component: String::new(),
                hosts: Vec::new(),
                roster: Requests::None,
                push: None,
                message: Messages::None,
                presence: Shown::None,
                iq: BTreeMap::new(),
            },
            None => return None,
        };
        let mut writer = Writer::new(CLIENT);
        writer.start("privilege", NS);
        writer.start("perm", NS).attr("access", "roster").attr("type", grant.roster.name());
        writer.attr("push", if grant.pushes() { "true" } else { "false" }).end();
        let message = if grant.message == Messages::None { "none" } else { "outgoing" };
        writer.start("perm", NS).attr("access", "message").attr("type", message).end();
        if !grant.iq.is_empty() || again {
            writer.start("perm", NS).attr("access", "iq");
            for (ns, requests) in &grant.iq {
                writer.start("namespace", NS).attr("ns", ns).attr("type", requests.name()).end();
            }
            writer.end();
        }
        let presence = match grant.presence {
            Shown::None => "none",
            Shown::ManagedEntity => "managed_entity",
            Shown::Roster => "roster",
        };
        writer.start("perm", NS).attr("access", "presence").attr("type", presence).end();
        writer.end();
        Some(writer.finish())
    }

    /// §4.3: who may read or change rosters does it as the account would.
    fn stand_in(&self, request: &Request) -> Standing {
        let roster = request.iq.payload().is_some_and(|payload| payload.ns == ROSTER);
        match self.grant(&request.from).filter(|_| roster) {
            None => Standing::Own,
            Some(grant) if grant.roster.allows(request.is_set()) => Standing::Account,
            Some(_) => Standing::Refused(StanzaError::new(Condition::Forbidden)),
        }
    }

    /// §4.4: a change of a roster.
    fn push(&self, listed: &Listed<'_>, sends: &mut Vec<Stanza>) {
        for (component, _) in self.grants.iter().filter(|(_, grant)| grant.pushes()) {
            let ver = listed.state.roster.version().to_string();
            let mut writer = Writer::new(CLIENT);
            writer.start("iq", CLIENT).attr("to", component.as_str());
            writer.attr("from", listed.account.jid.as_str()).attr("type", "set");
            writer.attr("id", &format!("push-{ver}"));
            writer.start("query", ROSTER).attr("ver", &ver);
            Item::write(listed.state.roster.contact(listed.contact), listed.contact, &mut writer);
            writer.end().end();
            sends.extend(Stanza::parse(&writer.finish()));
        }
    }

    /// §5.1: a message in the name of the host or of an account.
    async fn speak(self: Arc<Self>, told: HostMessage) -> Result<Vec<Kept>, StanzaError> {
        let forbidden = || StanzaError::new(Condition::Forbidden);
        let grant = told.stanza.from().and_then(|from| self.grant(from)).ok_or_else(forbidden)?;
        if grant.message != Messages::Outgoing {
            return Err(forbidden());
        }
        let bad = || StanzaError::new(Condition::BadRequest);
        let tree = told.stanza.child("privilege", NS).and_then(|child| child.tree());
        let tree = tree.ok_or_else(bad)?;
        let forwarded = only_child(tree.root())?;
        let message = forwarded.children().find(|child| child.is("message", CLIENT));
        let message = message.filter(|_| forwarded.is("forwarded", FORWARD)).ok_or_else(bad)?;
        let stanza = Stanza::parse(&message.to_text(CLIENT)).map_err(|_| bad())?;
        // §5.1 rule 1.
        let from = stanza.from().filter(|from| from.is_bare()).ok_or_else(forbidden)?;
        if from.domain() != told.host.jid.domain() {
            return Err(forbidden());
        }
        if from.is_domain() {
            if stanza.to().is_none() {
                return Err(bad());
            }
            told.server.send(vec![stanza]).await;
            return Ok(Vec::new());
        }
        told.server.speak_for(stanza).await
    }

    /// §6.3: a request in the name of an account.
    async fn ask(self: Arc<Self>, request: Request) -> IqResult {
        let forbidden = || StanzaError::new(Condition::Forbidden);
        let grant = self.grant(&request.from).ok_or_else(forbidden)?;
        let account = request.account.as_ref().ok_or_else(forbidden)?;
        let tree = request.tree()?;
        let inner = only_child(tree.root())?;
        if !inner.is("iq", CLIENT) {
            return Err(forbidden());
        }
        let kind = if request.is_set() { "set" } else { "get" };
        let from = inner.attr("from");
        if inner.attr("type") != Some(kind)
            || from.is_some_and(|from| Jid::parse(from).ok().as_ref() != Some(&account.jid))
        {
            return Err(forbidden());
        }
        let payload = only_child(inner)?;
        let requests = grant.iq.get(payload.ns()).copied().unwrap_or_default();
        if !requests.allows(request.is_set()) {
            return Err(forbidden());
        }
        let to = match inner.attr("to") {
            Some(to) => Jid::parse(to)?,
            None => account.jid.clone(),
        };
        let id = inner.attr("id").ok_or(StanzaError::new(Condition::BadRequest))?.to_owned();
        let asked =
            Asked { account: account.clone(), to, kind, id, payload: payload.to_text(CLIENT) };
        // Whoever answers may speak through the same component, whose stream must not wait for it. It
        // ends with the question, whose number and time are bounded.
        tokio::spawn(async move {
            let server = request.server.clone();
            let answer = match asked.answer(&server).await {
                Some(content) => Some(request.iq.result(&content)),
                None => {
                    let late = StanzaError::new(Condition::RemoteServerTimeout);
                    request.iq.error_answer(&late)
                }
            };
            server.send(answer.into_iter().collect()).await;
        });
        Ok(Reply::written())
    }

    /// §7.1, §7.3: presence of the accounts.
    fn show(&self, change: &mut Change<'_>) {
        for (component, _) in self.grants.iter().filter(|(_, grant)| grant.presence != Shown::None)
        {
            let shown = change.presence.between(&change.link.jid, component);
            self.show_to(change.server, component, shown, change.sends);
        }
    }

    /// §7.4, §7.6: presence that an account receives from a contact.
    fn show_contact(&self, passage: &mut Passage<'_>) {
        let Some(from) = passage.stanza.from().cloned() else { return };
        let contact = passage.state.roster.contact(&from);
        if !contact.is_some_and(|item| item.subscription.has_to()) {
            return;
        }
        for (component, grant) in &self.grants {
            if grant.presence == Shown::Roster {
                let shown = passage.stanza.between(&from, component);
                self.show_to(passage.server, component, shown, passage.sends);
            }
        }
    }

    /// §8 rule 2: once, however many accounts it concerns. Nothing is sent to who is away, since that
    /// would come back to the account.
    fn show_to(&self, server: &Server, component: &Jid, shown: Stanza, sends: &mut Vec<Stanza>) {
        let Some(from) = shown.from().cloned() else { return };
        if server.components.find(component.domain()).is_none_or(|known| known.is_away()) {
            return;
        }
        let mut known = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (component.clone(), from);
        if shown.kind() == Kind::Presence(PresenceType::Unavailable) {
            known.remove(&key);
        } else {
            let mut hasher = DefaultHasher::new();
            shown.text().hash(&mut hasher);
            let hash = hasher.finish();
            if known.len() >= SHOWN_MAX {
                known.clear();
            }
            if known.insert(key, hash) == Some(hash) {
                return;
            }
        }
        drop(known);
        sends.push(shown);
    }

    fn forget_shown_to(&self, component: &Jid) {
        let mut known = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _), _| of != component);
    }

    /// §8 rule 1: who comes is shown what it would have seen.
    async fn meet(self: Arc<Self>, event: ComponentEvent) {
        let Some(grant) = self.grant(&event.component) else { return };
        if event.presence != (Presence::Came { news: false }) {
            self.forget_shown_to(&event.component);
        }
        if event.presence != (Presence::Came { news: true }) || grant.presence == Shown::None {
            return;
        }
        let contacts = grant.presence == Shown::Roster;
        let Present { here, mut sends } = present(&event.server, &event.host, contacts);
        for shown in here {
            let Some(from) = shown.from().cloned() else { continue };
            let shown = shown.between(&from, &event.component);
            self.show_to(&event.server, &event.component, shown, &mut sends);
        }
        event.server.send(sends).await;
    }
}

/// Who is there when a component comes.
struct Present {
    /// The presence of all who are known here.
    here: Vec<Stanza>,
    /// The questions about all others.
    sends: Vec<Stanza>,
}

/// The presence of all available resources of a host's accounts, and of their contacts, too. What
/// contacts at other servers have said is not kept: they are probed as at a login (RFC 6121 §4.3.1),
/// each for one of those who may see it, and what comes back is shown like any other presence.
fn present(server: &Server, host: &Host, contacts: bool) -> Present {
    let mut accounts: Vec<Arc<Account>> = Vec::new();
    server.directory.each(|account| accounts.push(account.clone()));
    let mut here = Vec::new();
    let mut watched: Vec<(Jid, Jid)> = Vec::new();
    let mut probed: BTreeMap<Jid, Jid> = BTreeMap::new();
    let of_host = |account: &&Arc<Account>| account.jid.domain() == host.jid.domain();
    for account in accounts.iter().filter(of_host) {
        let state = account.turn();
        let before = here.len();
        let available = state.available().filter_map(|(_, resource)| resource.presence.as_deref());
        here.extend(available.cloned());
        let to = state.roster.contacts().filter(|(_, item)| contacts && item.subscription.has_to());
        for (contact, _) in to {
            if server.host(contact.domain()).is_some() {
                watched.push((contact.clone(), account.jid.clone()));
            } else if here.len() > before {
                probed.entry(contact.clone()).or_insert_with(|| account.jid.clone());
            }
        }
    }
    // One account at a time: no turn within another.
    for (contact, account) in watched {
        let Some(contact) = server.directory.loaded(contact.as_str()) else { continue };
        if contact.jid.domain() == host.jid.domain() {
            continue;
        }
        let state = contact.turn();
        if state.roster.may_see(&account) {
            let available =
                state.available().filter_map(|(_, resource)| resource.presence.as_deref());
            here.extend(available.cloned());
        }
    }
    let sends = probed.iter().map(|(contact, account)| presence::probe(account, contact));
    Present { here, sends: sends.collect() }
}

/// A request in the name of an account.
struct Asked {
    account: Arc<Account>,
    to: Jid,
    kind: &'static str,
    id: String,
    payload: String,
}

impl Asked {
    /// §6.3: the answer as it came, but for the id, which is the one that the component gave.
    async fn answer(&self, server: &Arc<Server>) -> Option<String> {
        let pair = (&self.account.jid, &self.to);
        let answer = server.put_question(pair, self.kind, &self.payload).await?;
        let tree = answer.tree()?;
        let mut writer = Writer::new(CLIENT);
        writer.start("privilege", NS).start("forwarded", FORWARD);
        write_with_id(tree.root(), &self.id, &mut writer);
        writer.end().end();
        Some(writer.finish())
    }
}

fn write_with_id(iq: Element<'_>, id: &str, writer: &mut Writer) {
    writer.start("iq", CLIENT);
    for attribute in iq.attrs().filter(|attribute| attribute.ns.is_empty()) {
        let value = if attribute.name == "id" { id } else { attribute.value };
        writer.attr(attribute.name, value);
    }
    iq.children().for_each(|child| child.write(writer));
    writer.end();
}

#[cfg(test)]
mod tests {
    use verona_testkit::memory::Tables;

    use crate::install::configured;
    use crate::testing::settings;

    fn refused(grants: &str) -> Option<String> {
        let tables = Tables::read(&format!("[modules.privilege]\ngrants = [{grants}]")).unwrap();
        configured(settings("capulet.lit"), &tables).err()
    }

    #[test]
    fn grants_that_cannot_be_meant_are_refused() {
        let right = "{ component = 'a.lit', roster = 'get', presence = 'roster' }";
        assert_eq!(refused(right), None);
        // The same component may do something else for another host.
        let other = "{ component = 'a.lit', hosts = ['montague.lit'], message = 'outgoing' }";
        assert_eq!(refused(&[right, other].join(", ")), None);
        for (wrong, why) in [
            ("{ component = 'a.lit', roster = 'set', presence = 'roster' }", "may read rosters"),
            ("{ component = 'juliet@a.lit' }", "not the domain"),
            ("{ component = 'a.lit' }, { component = 'a.lit' }", "two grants"),
            ("{ component = 'a.lit', roster = 'all' }", "unknown variant"),
            ("{ component = 'a.lit', rooster = 'get' }", "unknown field"),
            ("{ roster = 'get' }", "missing field"),
        ] {
            let told = refused(wrong).unwrap_or_default();
            assert!(told.contains(why), "{wrong}: {told}");
        }
    }
}
