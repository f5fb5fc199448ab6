//! XEP-0191: Blocking Command. A blocked JID finds the account as if it were away, and the account
//! cannot send to it by mistake.

use std::collections::BTreeSet;
use std::sync::Arc;

use verona_core::account::presence;
use verona_core::account::state::{Part, State};
use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, IqResult, Manifest, Module, Passage, Reply,
    Request, Spec, Target, Verdict,
};
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Entry, Table};
use verona_core::token;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, ErrorType, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Kind;

const NS: &str = "urn:xmpp:blocking";
const NS_ERRORS: &str = "urn:xmpp:blocking:errors";

/// The blocked JIDs of an account.
const BLOCKED: Table = Table::set("blocked");

/// How many JIDs one account may block.
const BLOCKED_MAX: usize = 2_000;

/// A resource that has read the list and so hears of its changes (§3.3).
const WATCHES: &str = "blocklist";

/// The module.
pub struct Blocking;

/// The blocked JIDs of an account, in memory with it.
#[derive(Debug, Default)]
pub struct BlockList {
    blocked: BTreeSet<Jid>,
}

impl Part for BlockList {
    fn load(entries: &[Entry]) -> Self {
        let of_this = entries.iter().filter(|entry| entry.table == BLOCKED);
        Self { blocked: of_this.filter_map(|entry| Jid::parse(&entry.key).ok()).collect() }
    }
}

impl Module for Blocking {
    const MANIFEST: Manifest = Manifest {
        name: "blocking",
        specs: &[Spec("XEP-0191", "1.3")],
        features: &[NS],
        account_features: &[NS],
        loaded: &[BLOCKED],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.part::<BlockList>();
        on.iq_get(Target::Own, NS, "blocklist", Self::read);
        on.iq_set(Target::Own, NS, "block", Self::block);
        on.iq_set(Target::Own, NS, "unblock", Self::unblock);
        on.guard(Direction::Inbound, Self::stop_from_blocked);
        on.guard(Direction::Outbound, Self::stop_to_blocked);
    }
}

impl Blocking {
    /// §3.2: the list; who reads it gets pushes from then on.
    async fn read(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let mut state = account.turn();
        if let Some(link) = &request.link
            && let Some(resource) = state.resource_of_mut(link)
        {
            resource.mark(WATCHES, true);
        }
        Ok(Reply::with(|writer| {
            writer.start("blocklist", NS);
            write_items(
                state.part::<BlockList>().into_iter().flat_map(|list| &list.blocked),
                writer,
            );
            writer.end();
        }))
    }

    /// §3.3
    async fn block(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let wanted = jids(request.tree()?.root())?;
        if wanted.is_empty() {
            return Err(StanzaError::new(Condition::BadRequest).text("nothing to block"));
        }
        let edit = account.edit(&request.server).await;
        let (fresh, batch) = {
            let state = account.turn();
            let list = state.part::<BlockList>();
            let known = |jid: &Jid| list.is_some_and(|list| list.blocked.contains(jid));
            let fresh: Vec<Jid> = wanted.iter().filter(|jid| !known(jid)).cloned().collect();
            let count = list.map_or(0, |list| list.blocked.len());
            if count.saturating_add(fresh.len()) > BLOCKED_MAX {
                return Err(StanzaError::new(Condition::ResourceConstraint).text("list is full"));
            }
            let mut batch = Batch::new();
            for jid in &fresh {
                batch.put(BLOCKED, &account.owner, jid.as_str(), "");
            }
            (fresh, batch)
        };
        edit.commit(batch).await?;
        let mut sends = Vec::new();
        {
            let mut state = account.turn();
            // Who saw the account sees it leave, while it may still be told.
            for contact in concerned(&state, &fresh) {
                presence::withdraw_from(&state, &contact, &mut sends);
            }
            state.part_mut::<BlockList>().blocked.extend(fresh);
            push(&state, "block", &wanted);
        }
        request.server.send(sends).await;
        Ok(Reply::empty())
    }

    /// §3.4, and §3.5 when no item is named.
    async fn unblock(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let wanted = jids(request.tree()?.root())?;
        let edit = account.edit(&request.server).await;
        let (gone, batch) = {
            let state = account.turn();
            let list = state.part::<BlockList>();
            let listed = list.into_iter().flat_map(|list| &list.blocked);
            let gone: Vec<Jid> =
                listed.filter(|jid| wanted.is_empty() || wanted.contains(jid)).cloned().collect();
            let mut batch = Batch::new();
            for jid in &gone {
                batch.delete(BLOCKED, &account.owner, jid.as_str());
            }
            (gone, batch)
        };
        edit.commit(batch).await?;
        let mut sends = Vec::new();
        {
            let mut state = account.turn();
            let list = state.part_mut::<BlockList>();
            list.blocked.retain(|jid| !gone.contains(jid));
            for contact in concerned(&state, &gone) {
                presence::show_to(&state, &contact, &mut sends);
            }
            push(&state, "unblock", &wanted);
        }
        request.server.send(sends).await;
        Ok(Reply::empty())
    }

    /// §3.3: the blocked JID learns no more than of an account that is away: of presence nothing,
    /// of messages that they were not served. Requests to a bare JID are not delivered but answered
    /// by the server, and so that nobody can tell a block from an account that there is not
    /// (XEP-0030 §8), they are answered as if there were none: with an error, except that nothing
    /// belongs to it (disco#items), where XEP-0030 demands an empty list.
    fn stop_from_blocked(&self, passage: &mut Passage<'_>) -> Verdict {
        let Some(list) = passage.state.part::<BlockList>() else { return Verdict::Pass };
        let Some(from) = passage.stanza.from() else { return Verdict::Pass };
        if from.same_bare(&passage.account.jid) || !list.holds(from) {
            return Verdict::Pass;
        }
        match passage.stanza.kind() {
            Kind::Presence(_) => Verdict::Drop,
            Kind::Message(_) => Verdict::Refuse(StanzaError::new(Condition::ServiceUnavailable)),
            Kind::Iq(_) => Verdict::Absent,
        }
    }

    /// §3.3: the account is told that it has blocked whom it writes to.
    fn stop_to_blocked(&self, passage: &mut Passage<'_>) -> Verdict {
        let Some(list) = passage.state.part::<BlockList>() else { return Verdict::Pass };
        let Some(to) = passage.stanza.to() else { return Verdict::Pass };
        if to.same_bare(&passage.account.jid) || !list.holds(to) {
            return Verdict::Pass;
        }
        Verdict::Refuse(
            StanzaError::new(Condition::NotAcceptable)
                .with_type(ErrorType::Cancel)
                .application("blocked", NS_ERRORS),
        )
    }
}

impl BlockList {
    /// Whether a JID is blocked: itself, its bare JID, its domain with its resourcepart, or its
    /// domain.
    pub fn holds(&self, jid: &Jid) -> bool {
        if self.blocked.is_empty() {
            return false;
        }
        let domain = jid.domain();
        self.blocked.contains(jid.as_str())
            || self.blocked.contains(jid.bare_str())
            || self.blocked.contains(domain)
            || jid.resource().is_some_and(|resource| {
                self.blocked.contains([domain, "/", resource].concat().as_str())
            })
    }
}

/// The JIDs that a command names; `jid-malformed` for what is none.
fn jids(command: Element<'_>) -> Result<Vec<Jid>, StanzaError> {
    let mut jids = Vec::new();
    for item in command.children() {
        let jid = item.attr("jid").filter(|_| item.is("item", NS));
        let jid = jid.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        jids.push(Jid::parse(jid)?);
    }
    Ok(jids)
}

/// The contacts that see the account's presence and that one of these JIDs means.
fn concerned(state: &State, jids: &[Jid]) -> Vec<Jid> {
    let list = BlockList { blocked: jids.iter().cloned().collect() };
    let seeing = state.roster.contacts().filter(|(_, item)| item.subscription.has_from());
    seeing.map(|(contact, _)| contact).filter(|contact| list.holds(contact)).cloned().collect()
}

/// §3.3: tells all resources that have read the list.
fn push(state: &State, command: &str, jids: &[Jid]) {
    for resource in state.resources.iter().filter(|resource| resource.marked(WATCHES)) {
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("iq", ns::CLIENT).attr("type", "set").attr("id", &token::random());
        writer.attr("to", resource.link.jid.as_str());
        writer.start(command, NS);
        write_items(jids, &mut writer);
        writer.end().end();
        let text = writer.finish();
        resource.link.mailbox.put(|out| out.extend_from_slice(text.as_bytes()));
    }
}

fn write_items<'a>(jids: impl IntoIterator<Item = &'a Jid>, writer: &mut Writer) {
    for jid in jids {
        writer.start("item", NS).attr("jid", jid.as_str()).end();
    }
}
