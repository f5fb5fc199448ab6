//! RFC 6121 §3 and §2.3 to §2.5: changes of subscriptions and roster items, made durable, then
//! told to everybody concerned in the order that the RFC gives.

use std::sync::Arc;

use verona_xml::Writer;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::edit::Edit;
use crate::account::presence;
use crate::account::roster::Item;
use crate::account::state::State;
use crate::account::transition::{self, Act};
use crate::hooks::vouch::{Asking, Voucher};
use crate::limits::{PENDING_REQUEST_BYTES_MAX, ROSTER_BYTES_MAX, ROSTER_ITEMS_MAX};
use crate::server::{Listed, Server};
use crate::store::batch::Batch;

/// A contact's item before and after an act.
struct Changed {
    before: Item,
    after: Item,
}

impl Changed {
    /// What makes it durable; nothing where nothing changes.
    fn plan(&self, state: &State, account: &Account, contact: &Jid) -> Batch {
        let mut batch = Batch::new();
        if self.after != self.before {
            state.roster.plan(&account.owner, contact, Some(&self.after), &mut batch);
        }
        batch
    }

    /// It is durable.
    fn apply(&self, state: &mut State, contact: &Jid) {
        if self.after != self.before {
            state.roster.apply(contact, Some(self.after.clone()));
        }
    }

    /// Whether the contact sees the account's presence from now on.
    fn shows(&self) -> bool {
        !self.before.subscription.has_from() && self.after.subscription.has_from()
    }

    /// Whether the contact sees it no longer.
    fn hides(&self) -> bool {
        self.before.subscription.has_from() && !self.after.subscription.has_from()
    }
}

/// The account sends an act to a contact (RFC 6121 §3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2).
/// Returns what is to be routed.
pub async fn send(
    server: &Server,
    account: &Arc<Account>,
    act: Act,
    stanza: Stanza,
) -> Result<Vec<Stanza>, StanzaError> {
    // §3.1.2: a full JID is treated as the bare one.
    let Some(contact) = stanza.to().map(Jid::bare) else { return Ok(Vec::new()) };
    if contact == account.jid {
        return Ok(Vec::new());
    }
    let edit = account.edit(server).await;
    let (route, change, batch) = {
        let state = account.turn();
        let before = state.roster.contact(&contact).cloned().unwrap_or_default();
        let step = transition::outbound(act, &before);
        if !before.listed && step.item.listed && state.roster.len() >= ROSTER_ITEMS_MAX {
            return Err(StanzaError::new(Condition::ResourceConstraint).text("roster is full"));
        }
        let change = Changed { before, after: step.item };
        let batch = change.plan(&state, account, &contact);
        (step.route, change, batch)
    };
    edit.commit(batch).await?;
    let mut sends = Vec::new();
    let mut state = account.turn();
    change.apply(&mut state, &contact);
    if route {
        if change.hides() {
            // §3.2.2: unavailable presence goes ahead while the contact is still subscribed.
            presence::withdraw_from(&state, &contact, &mut sends);
        }
        sends.push(stanza.between(&account.jid, &contact));
        if change.shows() {
            presence::show_to(&state, &contact, &mut sends);
        }
    }
    if visibly_differs(&change.before, &change.after) {
        push(server, account, &state, &contact, &mut sends);
    }
    Ok(sends)
}

/// A contact sends an act to the account (RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3). Returns what is
/// to be routed.
pub async fn receive(
    server: &Server,
    account: &Arc<Account>,
    act: Act,
    stanza: Stanza,
) -> Result<Vec<Stanza>, StanzaError> {
    let Some(contact) = stanza.from().map(Jid::bare) else { return Ok(Vec::new()) };
    let edit = account.edit(server).await;
    if act == Act::Subscribe
        && let Some(voucher) = vouched(server, account, &contact, &stanza).await
    {
        let seat = (&edit, &**account);
        return welcome(server, seat, (&contact, stanza.id_raw()), voucher).await;
    }
    let ((delivers, reply), change, batch) = {
        let state = account.turn();
        let before = state.roster.contact(&contact).cloned().unwrap_or_default();
        if refuses_request(server, act, &before, &state) {
            return Ok(Vec::new());
        }
        let step = transition::inbound(act, &before, &kept_form(&stanza));
        let change = Changed { before, after: step.item };
        let batch = change.plan(&state, account, &contact);
        ((step.deliver, step.reply), change, batch)
    };
    edit.commit(batch).await?;
    let mut sends = Vec::new();
    let mut state = account.turn();
    change.apply(&mut state, &contact);
    if delivers {
        deliver(&state, act, &stanza.between(&contact, &account.jid));
    }
    if visibly_differs(&change.before, &change.after) {
        push(server, account, &state, &contact, &mut sends);
    }
    if change.hides() {
        // §3.3.3: the contact sees the account no longer.
        presence::withdraw_from(&state, &contact, &mut sends);
    }
    if let Some(reply) = reply {
        sends.push(act_stanza(reply, &account.jid, &contact, stanza.id_raw()));
        if change.shows() {
            presence::show_to(&state, &contact, &mut sends);
        }
    }
    Ok(sends)
}

/// Whether a module vouches for who asks; not where there is nothing to be granted, or no room.
async fn vouched(
    server: &Server,
    account: &Arc<Account>,
    contact: &Jid,
    stanza: &Stanza,
) -> Option<Voucher> {
    {
        let state = account.turn();
        let before = state.roster.contact(contact);
        let has = before.is_some_and(|item| item.subscription.has_from() || item.approved);
        if has || (before.is_none() && state.roster.len() >= ROSTER_ITEMS_MAX) {
            return None;
        }
    }
    let host = server.host(account.jid.domain())?;
    let registry = Arc::clone(&host.registry());
    let asking = || Asking {
        account: account.clone(),
        request: stanza.clone(),
        store: server.store.clone(),
        now_micros: server.clock.now_micros(),
    };
    registry.vouch(asking).await
}

/// XEP-0379 §3.5: who is vouched for is approved, added to the roster and asked back.
async fn welcome(
    server: &Server,
    (edit, account): (&Edit<'_>, &Account),
    (contact, id): (&Jid, Option<&str>),
    voucher: Voucher,
) -> Result<Vec<Stanza>, StanzaError> {
    let Voucher { writes: mut batch, held } = voucher;
    let item = {
        let state = account.turn();
        let before = state.roster.contact(contact).cloned().unwrap_or_default();
        let item = transition::welcomed(&before);
        state.roster.plan(&account.owner, contact, Some(&item), &mut batch);
        item
    };
    edit.commit(batch).await?;
    drop(held);
    let asks = item.ask;
    let mut state = account.turn();
    state.roster.apply(contact, Some(item));
    let mut sends = Vec::new();
    push(server, account, &state, contact, &mut sends);
    sends.push(act_stanza(Act::Subscribed, &account.jid, contact, id));
    presence::show_to(&state, contact, &mut sends);
    if asks {
        sends.push(act_stanza(Act::Subscribe, &account.jid, contact, None));
    }
    Ok(sends)
}

/// A contact that an account gets together with something else that must be durable.
pub struct NewContact<'a> {
    _edit: Edit<'a>,
    server: &'a Server,
    account: &'a Account,
    contact: Jid,
    item: Item,
}

impl<'a> NewContact<'a> {
    /// Puts a mutual subscription with a contact into a batch. None when the account is gone, or
    /// can have no more contacts.
    pub async fn plan(
        server: &'a Server,
        account: &'a Account,
        contact: &Jid,
        batch: &mut Batch,
    ) -> Option<Self> {
        let edit = account.edit(server).await;
        let state = account.turn();
        let before = state.roster.contact(contact).cloned();
        if state.gone || (before.is_none() && state.roster.len() >= ROSTER_ITEMS_MAX) {
            return None;
        }
        let item = transition::befriended(&before.unwrap_or_default());
        state.roster.plan(&account.owner, contact, Some(&item), batch);
        drop(state);
        Some(Self { _edit: edit, server, account, contact: contact.clone(), item })
    }

    /// The batch is durable: the account's resources hear of the contact (RFC 6121 §2.1.6). Returns
    /// what is to be routed.
    pub fn apply(self) -> Vec<Stanza> {
        let mut state = self.account.turn();
        state.roster.apply(&self.contact, Some(self.item));
        let mut sends = Vec::new();
        push(self.server, self.account, &state, &self.contact, &mut sends);
        sends
    }
}

/// A client adds or changes an item (RFC 6121 §2.3.2, §2.4.2). Only name and groups of `wanted`
/// count (§2.1.2), and the subscription when who asks may decide on it. Returns what is to be routed.
pub async fn set_item(
    server: &Server,
    account: &Arc<Account>,
    contact: &Jid,
    (wanted, decides): (Item, bool),
) -> Result<Vec<Stanza>, StanzaError> {
    let edit = account.edit(server).await;
    let gains;
    let (item, batch) = {
        let state = account.turn();
        let mut item = state.roster.contact(contact).cloned().unwrap_or_default();
        if !item.listed && state.roster.len() >= ROSTER_ITEMS_MAX {
            return Err(StanzaError::new(Condition::ResourceConstraint).text("roster is full"));
        }
        let before = item.bytes();
        gains = decides && wanted.subscription.has_from() && !item.subscription.has_from();
        item.listed = true;
        item.name = wanted.name;
        item.groups = wanted.groups;
        if decides {
            item.subscription = wanted.subscription;
            item.ask = false;
            item.request = None;
        }
        let more = item.bytes().saturating_sub(before);
        // Who has too much already may still make it less.
        if more > 0 && state.roster.bytes().saturating_add(more) > ROSTER_BYTES_MAX {
            return Err(StanzaError::new(Condition::ResourceConstraint).text("roster is full"));
        }
        let mut batch = Batch::new();
        state.roster.plan(&account.owner, contact, Some(&item), &mut batch);
        (item, batch)
    };
    edit.commit(batch).await?;
    let mut state = account.turn();
    state.roster.apply(contact, Some(item));
    let mut sends = Vec::new();
    push(server, account, &state, contact, &mut sends);
    if gains {
        presence::show_to(&state, contact, &mut sends);
    }
    Ok(sends)
}

/// A client removes an item (RFC 6121 §2.5.2); `item-not-found` when there is none. Subscriptions
/// in both directions end with it. Returns what is to be routed.
pub async fn remove_item(
    server: &Server,
    account: &Arc<Account>,
    contact: &Jid,
) -> Result<Vec<Stanza>, StanzaError> {
    let edit = account.edit(server).await;
    let (before, batch) = {
        let state = account.turn();
        let Some(before) = state.roster.contact(contact).filter(|item| item.listed).cloned() else {
            return Err(StanzaError::new(Condition::ItemNotFound));
        };
        let mut batch = Batch::new();
        state.roster.plan(&account.owner, contact, None, &mut batch);
        (before, batch)
    };
    edit.commit(batch).await?;
    let mut sends = Vec::new();
    let mut state = account.turn();
    state.roster.apply(contact, None);
    push(server, account, &state, contact, &mut sends);
    if before.subscription.has_to() || before.ask {
        sends.push(act_stanza(Act::Unsubscribe, &account.jid, contact, None));
    }
    if before.subscription.has_from() {
        presence::withdraw_from(&state, contact, &mut sends);
    }
    if before.subscription.has_from() || before.request.is_some() {
        sends.push(act_stanza(Act::Unsubscribed, &account.jid, contact, None));
    }
    Ok(sends)
}

/// RFC 6121 §2.1.6: pushes a contact's item to all resources that asked for the roster. Modules hear
/// of it, too.
fn push(server: &Server, account: &Account, state: &State, contact: &Jid, sends: &mut Vec<Stanza>) {
    if let Some(host) = server.host(account.jid.domain()) {
        host.registry().listed(&Listed { account, state, contact }, sends);
    }
    let item = state.roster.contact(contact);
    let ver = state.roster.version();
    for resource in state.resources.iter().filter(|resource| resource.interested) {
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("iq", ns::CLIENT);
        writer.attr("type", "set").attr("id", &format!("push-{ver}"));
        writer.attr("to", resource.link.jid.as_str());
        writer.start("query", ns::ROSTER).attr("ver", &ver.to_string());
        Item::write(item, contact, &mut writer);
        writer.end().end();
        let text = writer.finish();
        resource.link.mailbox.put(|out| out.extend_from_slice(text.as_bytes()));
    }
}

/// Whether a request is passed over: the account has too many already (RFC 6121 §3.1.3).
fn refuses_request(server: &Server, act: Act, before: &Item, state: &State) -> bool {
    act == Act::Subscribe
        && before.request.is_none()
        && !before.approved
        && (state.roster.requests() >= server.policy().limits.pending_requests_max
            || state.roster.len() >= ROSTER_ITEMS_MAX)
}

/// RFC 6121 §3.1.3: requests go to all available resources, approvals and cancellations to the
/// interested ones (§3.1.6, §3.2.3, §3.3.3).
fn deliver(state: &State, act: Act, stanza: &Stanza) {
    for resource in &state.resources {
        let takes = match act {
            Act::Subscribe => resource.is_available(),
            _ => resource.interested || resource.is_available(),
        };
        if takes {
            resource.link.mailbox.put(|out| out.extend_from_slice(stanza.text().as_bytes()));
        }
    }
}

/// The request as it is kept: whole (RFC 6121 §3.1.3), or without its payload when that is large.
fn kept_form(stanza: &Stanza) -> String {
    if stanza.text().len() <= PENDING_REQUEST_BYTES_MAX {
        return stanza.text().to_owned();
    }
    match (stanza.from(), stanza.to()) {
        (Some(from), Some(to)) => {
            act_stanza(Act::Subscribe, &from.bare(), &to.bare(), None).text().to_owned()
        }
        _ => String::new(),
    }
}

/// Whether clients see a difference between two states of an item.
fn visibly_differs(before: &Item, after: &Item) -> bool {
    let shown = |item: &Item| {
        item.listed.then(|| {
            (item.name.clone(), item.groups.clone(), item.subscription, item.ask, item.approved)
        })
    };
    shown(before) != shown(after)
}

/// An act that the server sends on an account's behalf.
fn act_stanza(act: Act, from: &Jid, to: &Jid, id: Option<&str>) -> Stanza {
    Stanza::presence(Some(act.name()), from, Some(to), id)
}
