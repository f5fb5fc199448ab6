//! RFC 6120 §8.1 and §10.3, RFC 6121 §4 and §3: a stanza that a client sends.

use std::sync::Arc;

use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

use crate::account::Account;
use crate::account::backlog;
use crate::account::keep;
use crate::account::presence::{self, Broadcast};
use crate::account::state::State;
use crate::account::subscription;
use crate::account::transition::Act;
use crate::hooks::decision::{Delivery, Direction, Keep, Phase, Verdict};
use crate::hooks::place::Target;
use crate::link::Link;
use crate::server::{Change, Host, Passage, Seat, Server};
use crate::store::batch::Batch;
use crate::trail::{Kept, Need, Step, Trail, passes};

/// How much later a leaving must be than the one on disk to be worth writing.
const LAST_SEEN_MICROS: u64 = 60_000_000;

/// Who sends a message.
struct Speaker<'a> {
    account: &'a Arc<Account>,
    host: &'a Host,
    /// The session, if it is one.
    link: Option<&'a Arc<Link>>,
}

impl Server {
    /// Handles a stanza of a bound session; `from` has been set to the full JID.
    pub fn handle(self: &Arc<Self>, seat: &Seat, stanza: Stanza) -> Step {
        let mut trail = Trail { origin: Some(seat.link.clone()), ..Trail::default() };
        if stanza.to_malformed() {
            trail.bounce(&stanza, &StanzaError::new(Condition::JidMalformed));
            return self.carry_out(trail);
        }
        match stanza.kind() {
            Kind::Message(kind) => self.message_of_client(seat, kind, stanza, &mut trail),
            Kind::Presence(kind) => return self.presence_of_client(seat, kind, stanza, trail),
            Kind::Iq(kind) => return self.iq_of_client(seat, kind, stanza, trail),
        }
        self.carry_out(trail)
    }

    /// §10.3.1: a message without `to` is for the sender's own account.
    fn message_of_client(
        self: &Arc<Self>,
        seat: &Seat,
        kind: MessageType,
        stanza: Stanza,
        trail: &mut Trail,
    ) {
        let stanza = if stanza.to().is_none() { stanza.with_to(&seat.account.jid) } else { stanza };
        let speaker = Speaker { account: &seat.account, host: &seat.host, link: Some(&seat.link) };
        self.message_of(&speaker, kind, stanza, trail);
    }

    /// A message that an account sends, from a session or by who may speak in its place.
    fn message_of(
        self: &Arc<Self>,
        speaker: &Speaker<'_>,
        kind: MessageType,
        mut stanza: Stanza,
        trail: &mut Trail,
    ) {
        let came = stanza.clone();
        let registry = speaker.host.registry();
        let mut sends = Vec::new();
        {
            let mut state = speaker.account.turn();
            if state.gone {
                // Nothing may be kept for an account that was removed; its sessions are ending.
                return;
            }
            let mut passage = Passage {
                server: self,
                host: speaker.host,
                account: speaker.account,
                state: &mut state,
                direction: Direction::Outbound,
                stanza: &mut stanza,
                link: speaker.link,
                keep: Keep::default(),
                delivery: Delivery::Ignore,
                sends: &mut sends,
                copies: smallvec::SmallVec::new(),
            };
            let verdict = registry.guard(&mut passage);
            if !passes(verdict, passage.stanza, trail) {
                return;
            }
            registry.watch(Phase::Stamp, &mut passage);
            if kind != MessageType::Error {
                registry.watch(Phase::Keep, &mut passage);
            }
            let sent = passage.stanza.clone();
            if passage.keep != Keep::default() {
                let seq = keep::next_seq(self, passage.state);
                let what = (&*passage.stanza, Direction::Outbound, passage.keep);
                let ticket = keep::append(self, passage.account, passage.state, seq, what);
                trail.kept.push(Kept { ticket, stanza: came });
                // XEP-0313 §3.5: the id is for the account's own resources, not for the contact.
                if passage.state.resources.len() > 1 {
                    let id = self.ids.of(self.epoch, seq);
                    *passage.stanza = sent.with_stanza_id(&id, &passage.account.jid);
                }
            }
            registry.watch(Phase::Copy, &mut passage);
            *passage.stanza = sent;
            for (place, copy) in &passage.copies {
                if let Some(resource) = passage.state.resources.get(*place) {
                    trail.write_for(&resource.link, passage.stanza, copy.text());
                }
            }
        }
        trail.sends.push_back(stanza);
        trail.extend(sends);
    }

    /// Sends a message in the name of an account's bare JID, as if the account had: its guards, its
    /// archive and its other resources see it so. `forbidden` when there is no such account. Returns
    /// what is on its way to the disk.
    pub async fn speak_for(self: &Arc<Self>, stanza: Stanza) -> Result<Vec<Kept>, StanzaError> {
        let forbidden = || StanzaError::new(Condition::Forbidden);
        let from = stanza.from().cloned().ok_or_else(forbidden)?;
        let account = self.account(&from).await?.ok_or_else(forbidden)?;
        let host = self.host(from.domain()).ok_or_else(forbidden)?;
        let Kind::Message(kind) = stanza.kind() else {
            return Err(StanzaError::new(Condition::BadRequest));
        };
        let stanza = if stanza.to().is_none() { stanza.with_to(&account.jid) } else { stanza };
        let mut trail = Trail::default();
        let speaker = Speaker { account: &account, host: &host, link: None };
        self.message_of(&speaker, kind, stanza, &mut trail);
        Ok(match self.carry_out(trail) {
            Step::Done(kept) => kept,
            Step::Later(later) => later.await,
        })
    }

    /// §8.2.3, §10.3.3: an IQ without `to` is for the sender's own account.
    fn iq_of_client(
        self: &Arc<Self>,
        seat: &Seat,
        kind: IqType,
        stanza: Stanza,
        mut trail: Trail,
    ) -> Step {
        if kind == IqType::Unknown || stanza.id_raw().is_none() || !stanza.has_due_children() {
            trail.bounce(&stanza, &StanzaError::new(Condition::BadRequest));
            return self.carry_out(trail);
        }
        let own = stanza.to().is_none_or(|to| *to == seat.account.jid);
        let asks = matches!(kind, IqType::Get | IqType::Set);
        if own && asks {
            let account = Some(seat.account.clone());
            let need = self.ask(Target::Own, &seat.host, account, stanza, &mut trail);
            return self.carry_out_after(need, trail);
        }
        if own {
            // Not addressed means addressed to the account.
            let to_account = stanza.to().is_none().then(|| stanza.with_to(&seat.account.jid));
            self.questions.answer(to_account.as_ref().unwrap_or(&stanza));
            return Step::Done(Vec::new());
        }
        if !self.may_send(seat, &stanza, &mut trail) {
            return self.carry_out(trail);
        }
        trail.sends.push_back(stanza);
        self.carry_out(trail)
    }

    /// Asks the guards of the sender's own account.
    fn may_send(self: &Arc<Self>, seat: &Seat, stanza: &Stanza, trail: &mut Trail) -> bool {
        let mut stanza = stanza.clone();
        let mut sends = Vec::new();
        let mut state = seat.account.turn();
        let mut passage = Passage {
            server: self,
            host: &seat.host,
            account: &seat.account,
            state: &mut state,
            direction: Direction::Outbound,
            stanza: &mut stanza,
            link: Some(&seat.link),
            keep: Keep::default(),
            delivery: Delivery::Ignore,
            sends: &mut sends,
            copies: smallvec::SmallVec::new(),
        };
        let verdict = seat.host.registry().guard(&mut passage);
        passes(verdict, passage.stanza, trail)
    }

    /// §10.3.2: presence without `to` is broadcast.
    fn presence_of_client(
        self: &Arc<Self>,
        seat: &Seat,
        kind: PresenceType,
        stanza: Stanza,
        mut trail: Trail,
    ) -> Step {
        let Some(to) = stanza.to().cloned() else {
            match kind {
                PresenceType::Available => {
                    let mut state = seat.account.turn();
                    if backlog::comes_first(&state, seat, &stanza) {
                        state.log.flushing = true;
                        drop(state);
                        let flush = backlog::deliver(self.clone(), seat.clone(), stanza, trail);
                        return Step::Later(Box::pin(flush));
                    }
                    self.becomes_available(seat, &mut state, &stanza, &mut trail);
                }
                PresenceType::Unavailable => self.becomes_unavailable(seat, &stanza, &mut trail),
                PresenceType::Error => {}
                _ => trail.bounce(&stanza, &StanzaError::new(Condition::BadRequest)),
            }
            return self.carry_out(trail);
        };
        if !self.may_send(seat, &stanza, &mut trail) {
            return self.carry_out(trail);
        }
        if let Some(act) = Act::of(kind) {
            let (server, account) = (self.clone(), seat.account.clone());
            return Step::Later(Box::pin(async move {
                let back = stanza.clone();
                match subscription::send(&server, &account, act, stanza).await {
                    Ok(sends) => trail.extend(sends),
                    Err(error) => trail.bounce(&back, &error),
                }
                match server.carry_out(trail) {
                    Step::Done(kept) => kept,
                    Step::Later(later) => later.await,
                }
            }));
        }
        match kind {
            PresenceType::Available | PresenceType::Unavailable => {
                let known = presence::directed(&mut seat.account.turn(), &seat.link, &to, kind);
                if !known {
                    let error = StanzaError::new(Condition::ResourceConstraint);
                    trail.bounce(&stanza, &error.text("directed presence to too many entities"));
                    return self.carry_out(trail);
                }
            }
            PresenceType::Unknown => {
                trail.bounce(&stanza, &StanzaError::new(Condition::BadRequest));
                return self.carry_out(trail);
            }
            _ => {}
        }
        trail.sends.push_back(stanza);
        self.carry_out(trail)
    }

    /// RFC 6121 §4.2.2, §4.4.2, within the account's turn.
    pub(crate) fn becomes_available(
        self: &Arc<Self>,
        seat: &Seat,
        state: &mut State,
        stanza: &Stanza,
        trail: &mut Trail,
    ) {
        let mut sends = Vec::new();
        let Some(broadcast) = presence::available(state, &seat.link, stanza) else { return };
        if let Some(resource) = state.resource_of_mut(&seat.link) {
            // Said of what waited until now.
            resource.mark(backlog::READS_ARCHIVE, false);
        }
        presence::to_own(state, &seat.account.jid, stanza);
        self.tell_modules(seat, state, &broadcast, stanza, &mut sends);
        if !broadcast.was_available {
            // RFC 6121 §3.1.3: requests are repeated at each login until they are answered.
            presence::of_others(state, &seat.link);
            for request in presence::waiting_requests(state) {
                trail.write_text(&seat.link, request);
            }
        }
        self.fan_out(&broadcast, seat, state, stanza, trail);
        trail.extend(sends);
    }

    /// RFC 6121 §4.5.2.
    pub(crate) fn becomes_unavailable(
        self: &Arc<Self>,
        seat: &Seat,
        stanza: &Stanza,
        trail: &mut Trail,
    ) {
        let mut sends = Vec::new();
        {
            let mut state = seat.account.turn();
            let own = state.resource_of(&seat.link);
            // The sessions of an account that was removed end without such notices.
            if own.is_some_and(|resource| resource.is_available()) && !state.gone {
                presence::to_own(&state, &seat.account.jid, stanza);
            }
            let Some(broadcast) = presence::unavailable(&mut state, &seat.link) else { return };
            self.tell_modules(seat, &mut state, &broadcast, stanza, &mut sends);
            self.fan_out(&broadcast, seat, &mut state, stanza, trail);
            if broadcast.was_available && state.available().next().is_none() {
                self.note_last_seen(seat, &mut state);
            }
        }
        trail.extend(sends);
    }

    /// A session is resumed. What modules remember of its resource only in memory may be gone, if
    /// the server was restarted meanwhile, so they hear of it as of a presence sent anew.
    pub(crate) async fn returns(self: &Arc<Self>, seat: &Seat) {
        let mut sends = Vec::new();
        {
            let mut state = seat.account.turn();
            let resource = state.resource_of(&seat.link);
            let presence = resource.and_then(|resource| resource.presence.clone());
            let Some(presence) = presence else { return };
            let (to, probes, was_available) = (Vec::new(), Vec::new(), true);
            let nobody = Broadcast { to, probes, was_available };
            self.tell_modules(seat, &mut state, &nobody, &presence, &mut sends);
        }
        self.send(sends).await;
    }

    fn tell_modules(
        self: &Arc<Self>,
        seat: &Seat,
        state: &mut State,
        broadcast: &Broadcast,
        stanza: &Stanza,
        sends: &mut Vec<Stanza>,
    ) {
        seat.host.registry().changed(&mut Change {
            host: &seat.host,
            account: &seat.account,
            state,
            link: &seat.link,
            was_available: broadcast.was_available,
            presence: stanza,
            server: self,
            sends,
        });
    }

    /// Carries out a need that came up before anything was routed.
    fn carry_out_after(self: &Arc<Self>, need: Need, trail: Trail) -> Step {
        match need {
            Need::Nothing => self.carry_out(trail),
            need => Step::Later(Box::pin(self.clone().finish(need, trail))),
        }
    }

    /// Puts a broadcast on the trail: one body, another `to` for each contact that the guards let
    /// it go to.
    fn fan_out(
        self: &Arc<Self>,
        broadcast: &Broadcast,
        seat: &Seat,
        state: &mut State,
        stanza: &Stanza,
        trail: &mut Trail,
    ) {
        let registry = seat.host.registry();
        let left = stanza.kind() == Kind::Presence(PresenceType::Unavailable);
        let kind = left.then_some("unavailable");
        let mut sends = Vec::new();
        let mut to = Vec::new();
        for contact in &broadcast.to {
            // The guards look at who and what; the payload is not copied for that.
            let mut notice = Stanza::presence(kind, &seat.link.jid, Some(contact), None);
            let mut passage = Passage {
                server: self,
                host: &seat.host,
                account: &seat.account,
                state,
                direction: Direction::Outbound,
                stanza: &mut notice,
                link: Some(&seat.link),
                keep: Keep::default(),
                delivery: Delivery::Ignore,
                sends: &mut sends,
                copies: smallvec::SmallVec::new(),
            };
            if matches!(registry.guard(&mut passage), Verdict::Pass) {
                to.push(contact.clone());
            }
        }
        trail.sends.push_to_each(stanza.clone(), to);
        for contact in &broadcast.probes {
            // RFC 6121 §4.3.1: to another server in the name of the account. Here no probe would be
            // needed at all, so that the answer may go to the one resource that has just come.
            let here = self.host(contact.domain()).is_some();
            let asker = if here { &seat.link.jid } else { &seat.account.jid };
            trail.sends.push_back(presence::probe(asker, contact));
        }
        trail.extend(sends);
    }

    /// Keeps the time when the account's last available resource left (RFC 6121 §4.3.2). Nobody
    /// waits for it: after a crash it is the time before.
    fn note_last_seen(&self, seat: &Seat, state: &mut State) {
        if state.gone {
            return;
        }
        state.last_seen_micros = self.clock.now_micros();
        // Who comes and goes does not keep the disk busy: after a crash it is a time before.
        if state.last_seen_micros.saturating_sub(state.last_seen_saved_micros) < LAST_SEEN_MICROS {
            return;
        }
        state.last_seen_saved_micros = state.last_seen_micros;
        let mut batch = Batch::new();
        let time = presence::encode_last_seen(state.last_seen_micros);
        batch.put(presence::LAST_SEEN, &seat.account.owner, "", time);
        drop(self.store.submit(batch));
    }
}
