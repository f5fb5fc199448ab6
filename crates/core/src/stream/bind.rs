//! RFC 6120 §7: resource binding, and a session's end.

use std::sync::Arc;

use verona_xml::{Element, Writer};
use verona_xml::{Event, Limits, Scanner};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, Stanza};

use crate::account::Account;
use crate::account::state::{Resource, State};
use crate::account::{backlog, keep};
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::{Host, Seat, Server, Sleeper};
use crate::stream::management::Managed;
use crate::stream::open::{End, Open};
use crate::stream::resume::{NotResumed, failed};
use crate::token;
use crate::trail::{Step, Trail};

/// A session that has begun or goes on.
pub struct Entered {
    /// The session.
    pub seat: Seat,
    /// Its counters, when it goes on (XEP-0198 §5).
    pub managed: Option<Box<Managed>>,
    /// What is written before anything else.
    pub first: Vec<u8>,
}

/// Answers requests to bind or to resume until one succeeds.
pub async fn until_bound(open: &mut Open, host: &Arc<Host>, account: &Jid) -> Result<Entered, End> {
    loop {
        let tree = open.element().await?;
        let root = tree.root();
        if root.ns() == ns::SM {
            match enter_managed(open, account, root).await? {
                Some(entered) => return Ok(entered),
                None => continue,
            }
        }
        let text = tree.root().to_text(ns::CLIENT);
        // RFC 6120 §7.1: nothing else is processed before a resource is bound.
        let Ok(iq) = Stanza::parse(&text) else {
            return Err(StreamCondition::UnsupportedStanzaType.into());
        };
        let request = root.child("bind", ns::BIND).filter(|_| iq.iq_type() == Some(IqType::Set));
        // Nor is anything for somebody else, whatever it asks.
        let here = iq.to().is_none_or(|to| *to == host.jid || to == account) && !iq.to_malformed();
        let Some(request) = request.filter(|_| here) else {
            return Err(StreamCondition::NotAuthorized.into());
        };
        // RFC 6120 §8.2.3: an id, and one child.
        if iq.id_raw().is_none() || !iq.has_due_children() {
            if let Some(answer) = iq.error_answer(&StanzaError::new(Condition::BadRequest)) {
                open.send(answer.text()).await?;
            }
            continue;
        }
        let wanted = request.child("resource", ns::BIND).map(|element| element.text().into_owned());
        let Some(account) = &open.account else { return Err(End::Closed) };
        match bind(&open.server, host, account, wanted.as_deref()).await {
            Ok(seat) => {
                let mut writer = Writer::new(ns::CLIENT);
                writer.start("bind", ns::BIND).start("jid", ns::BIND).text(seat.link.jid.as_str());
                writer.end().end();
                let answer = iq.result(&writer.finish());
                // The session writes it, so that it is the session that ends when that fails.
                return Ok(Entered { seat, managed: None, first: answer.text().into() });
            }
            Err(error) => {
                if let Some(answer) = iq.error_answer(&error) {
                    open.send(answer.text()).await?;
                }
            }
        }
    }
}

/// XEP-0198 §5: resumes a session; §3: managing comes after binding, so everything else fails.
async fn enter_managed(
    open: &mut Open,
    account: &Jid,
    request: Element<'_>,
) -> Result<Option<Entered>, End> {
    if request.name() != "resume" {
        open.send(&failed(Condition::UnexpectedRequest, None)).await?;
        return Ok(None);
    }
    match resume(&open.server.clone(), account, request, &open.id).await? {
        Ok(Resumed { mut entered, answer }) => {
            entered.first.splice(..0, answer.into_bytes());
            Ok(Some(entered))
        }
        Err(refused) => {
            open.send(&refused).await?;
            Ok(None)
        }
    }
}

/// A session that goes on.
pub struct Resumed {
    /// The session; what the client has not acknowledged is written first.
    pub entered: Entered,
    /// What the client is told before that.
    pub answer: String,
}

/// Takes a session over for its client (XEP-0198 §5). The inner error is what the client is told
/// when it cannot be resumed.
pub async fn resume(
    server: &Arc<Server>,
    account: &Jid,
    request: Element<'_>,
    stream: &str,
) -> Result<Result<Resumed, String>, End> {
    let sleeper = match server.resume(account.as_str(), request).await {
        Ok(sleeper) => sleeper,
        Err(NotResumed::Refused { condition, handled }) => {
            return Ok(Err(failed(condition, handled)));
        }
        Err(NotResumed::PutAway) => return Err(StreamCondition::SystemShutdown.into()),
    };
    let Sleeper { seat, mut managed, .. } = *sleeper;
    let h = request.attr("h").and_then(|h| h.parse().ok()).unwrap_or_default();
    match managed.acknowledged(h) {
        Ok(taken) => keep::taken(server, &seat.account, &taken),
        Err(error) => {
            server.put_to_sleep(seat, managed);
            return Err(End::Error(error));
        }
    }
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("resumed", ns::SM).attr("previd", &managed.id);
    writer.attr("h", &managed.received.to_string()).end();
    let first = managed.unacked_text();
    managed.told = managed.received;
    managed.asked = false;
    seat.link.mailbox.wake_up();
    server.sleepers.awake(&managed.id, &seat.account.owner, seat.clone());
    server.returns(&seat).await;
    let link = &seat.link;
    link.on_stream(stream);
    tracing::info!(%stream, account = %link.account(), resource = link.resource(), "session resumed");
    let entered = Entered { seat, managed: Some(Box::new(managed)), first };
    Ok(Ok(Resumed { entered, answer: writer.finish() }))
}

/// Binds a resource to an account; without a wish, or with an empty one, the server chooses
/// (RFC 6120 §7.6). A session that holds the resource is ended with `conflict` (§7.7.2.2, the third
/// way: the new client is the one that the user sits at).
pub async fn bind(
    server: &Arc<Server>,
    host: &Arc<Host>,
    account: &Arc<Account>,
    wanted: Option<&str>,
) -> Result<Seat, StanzaError> {
    let wish = Wish { host, account, resource: wanted };
    bind_with(server, wish, |_, _| ()).await
}

/// Which resource is to be bound to which account.
pub struct Wish<'a> {
    /// The account's host.
    pub host: &'a Arc<Host>,
    /// The account.
    pub account: &'a Arc<Account>,
    /// The resourcepart; None or empty when the server is to choose.
    pub resource: Option<&'a str>,
}

/// Binds a resource and prepares it in the same turn, so that nothing reaches it before.
pub async fn bind_with(
    server: &Arc<Server>,
    wish: Wish<'_>,
    prepare: impl FnOnce(&mut State, &Seat) + Send,
) -> Result<Seat, StanzaError> {
    let Wish { host, account, resource } = wish;
    let jid = match resource.filter(|resource| !resource.is_empty()) {
        Some(resource) => account
            .jid
            .with_resource(resource)
            .map_err(|_| StanzaError::new(Condition::BadRequest).text("resource is not allowed"))?,
        // §7.6: random, so that nobody can guess a full JID.
        None => account.jid.with_resource(&token::random()).map_err(StanzaError::from)?,
    };
    let link = Arc::new(Link::new(jid, server.clock.uptime_secs()));
    let seat = Seat { link, account: account.clone(), host: host.clone() };
    let mut trail = Trail::default();
    take_place(server, &seat, &mut trail, prepare)?;
    if let Step::Later(later) = server.carry_out(trail) {
        later.await;
    }
    Ok(seat)
}

/// Adds the resource to its account once nobody else holds it. Between the end of one who does and
/// the account's next turn another may have come, so each turn looks anew.
fn take_place(
    server: &Arc<Server>,
    seat: &Seat,
    trail: &mut Trail,
    prepare: impl FnOnce(&mut State, &Seat),
) -> Result<(), StanzaError> {
    loop {
        let mut state = seat.account.turn();
        if state.gone || state.disabled {
            return Err(StanzaError::new(Condition::NotAuthorized));
        }
        let taken = seat.link.jid.resource().and_then(|name| state.place_of(name));
        let Some(old) = taken.and_then(|place| state.resources.get(place)) else {
            let most = server.policy().limits.resources_per_account;
            if state.resources.len() >= most {
                let error = StanzaError::new(Condition::ResourceConstraint);
                let error = error.text("too many resources");
                // XEP-0205 §4.4
                return Err(error.application("resource-limit-exceeded", ns::APPLICATION_ERRORS));
            }
            state.resources.push(Resource::new(seat.link.clone()));
            prepare(&mut state, seat);
            return Ok(());
        };
        let old = Seat { link: old.link.clone(), ..seat.clone() };
        drop(state);
        server.supersede(&old, trail);
    }
}

impl Server {
    /// Takes a session out of its account; contacts see it leave (RFC 6121 §4.5.2). Nothing happens
    /// when that was done before.
    pub(crate) fn leave(self: &Arc<Self>, seat: &Seat, trail: &mut Trail) {
        let known = seat.account.turn().resource_of(&seat.link).is_some();
        if !known {
            return;
        }
        let gone = Stanza::presence(Some("unavailable"), &seat.link.jid, None, None);
        self.becomes_unavailable(seat, &gone, trail);
        seat.account.turn().resources.retain(|resource| !Arc::ptr_eq(&resource.link, &seat.link));
    }

    /// Ends a session whose place another takes (RFC 6120 §7.7.2.2).
    pub(crate) fn supersede(self: &Arc<Self>, old: &Seat, trail: &mut Trail) {
        old.link.mailbox.order(Order::End(StreamError::new(StreamCondition::Conflict)));
        self.leave(old, trail);
        let (server, old) = (self.clone(), old.clone());
        // When it sleeps, nobody reads the order; what it did not get goes on by the rules.
        tokio::spawn(async move { server.end_sleeper(&old.account.owner, &old.link).await });
    }

    /// Ends a session: who is concerned hears of it.
    pub async fn unbind(self: &Arc<Self>, seat: &Seat) {
        let mut trail = Trail::default();
        self.leave(seat, &mut trail);
        if let Step::Later(later) = self.carry_out(trail) {
            later.await;
        }
    }

    /// Brings what a session that is gone did not get to others: messages that are in the log to
    /// another resource or the next login, the rest by the rules, requests back to who asked
    /// (RFC 6120 §10.5.4).
    pub async fn redeliver(self: &Arc<Self>, seat: &Seat, left: &[u8]) {
        let mut scanner = Scanner::elements(Limits::NONE, ns::CLIENT);
        let mut input = left;
        let mut trail = Trail::default();
        let mut kept = Vec::new();
        while let Ok(Some(Event::Element(frame))) = scanner.next(&mut input) {
            let Ok(stanza) = Stanza::adopt(&frame, ns::CLIENT, None) else { continue };
            let own = &seat.account.jid;
            if let Some(id) = own_id(&stanza, own) {
                kept.extend(self.ids.place(&id).map(|(_, seq)| seq));
                continue;
            }
            let is_message = matches!(stanza.kind(), Kind::Message(_));
            // What the account itself said to the resource alone: results of queries, copies.
            let to_it_alone = is_message && stanza.from().is_none_or(|from| from == own);
            let is_presence = matches!(stanza.kind(), Kind::Presence(_));
            if !to_it_alone && !is_presence && stanza.to().is_some() && stanza.from().is_some() {
                trail.sends.push_back(stanza);
            }
        }
        if let Step::Later(later) = self.carry_out(trail) {
            later.await;
        }
        if let Err(error) = keep::lost(self, &seat.account, &kept, &seat.link).await {
            tracing::error!(
                stream = %seat.link.stream(), account = %seat.link.account(), %error,
                "cannot keep what was not taken"
            );
        }
        backlog::give_on(self, &seat.account, &seat.host).await;
        keep::tell(self, &seat.account, &mut seat.account.turn());
    }
}

/// The id under which the account's log has a message (XEP-0359 §3).
fn own_id(stanza: &Stanza, own: &Jid) -> Option<String> {
    stanza.children().filter(|child| child.ns == ns::SID).find_map(|child| {
        let tree = child.tree()?;
        let root = tree.root();
        (root.attr("by") == Some(own.as_str())).then(|| root.attr("id").map(str::to_owned))?
    })
}
