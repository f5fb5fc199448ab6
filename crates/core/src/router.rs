//! RFC 6120 §8 and §10: where a stanza goes. The router alone carries out what turns decide.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{IqType, Kind, PresenceType, Stanza};

use crate::account::Account;
use crate::account::subscription;
use crate::hooks::decision::Standing;
use crate::hooks::place::Target;
use crate::hooks::reply::{Answer, IqResult};
use crate::inbound;
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::{Host, HostMessage, Request, Server};
use crate::trail::{Kept, Need, Step, Trail};
use verona_xmpp::error::{StreamCondition, StreamError};

impl Server {
    /// Carries out a trail, without waiting as far as that goes.
    pub fn carry_out(self: &Arc<Self>, mut trail: Trail) -> Step {
        while let Some(stanza) = trail.sends.pop_front() {
            match self.route(stanza, &mut trail) {
                Need::Nothing => {}
                need => return Step::Later(Box::pin(self.clone().finish(need, trail))),
            }
        }
        if trail.crowded.is_some() {
            return Step::Later(Box::pin(self.clone().finish(Need::Nothing, trail)));
        }
        Step::Done(trail.kept)
    }

    /// Carries out a trail that has to wait: load first, then decide.
    pub(crate) async fn finish(self: Arc<Self>, first: Need, mut trail: Trail) -> Vec<Kept> {
        let mut need = first;
        loop {
            need = self.meet(need, &mut trail).await;
            while matches!(need, Need::Nothing) {
                let Some(stanza) = trail.sends.pop_front() else { break };
                need = self.route_contained(stanza, &mut trail);
            }
            if let Some(link) = trail.crowded.take() {
                wait_for_reader(&self, &link).await;
            }
            if matches!(need, Need::Nothing) {
                return trail.kept;
            }
        }
    }

    /// Routes a stanza whose sender does not wait for it any more, so that nobody else would catch a
    /// panic in a module: it costs this stanza, and nothing that is on the trail.
    fn route_contained(self: &Arc<Self>, stanza: Stanza, trail: &mut Trail) -> Need {
        let back = stanza.clone();
        let routed = std::panic::AssertUnwindSafe(|| self.route(stanza, trail));
        std::panic::catch_unwind(routed).unwrap_or_else(|_| {
            tell_panic(trail.origin.as_deref(), "a module panicked while watching a stanza");
            trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
            Need::Nothing
        })
    }

    /// Meets a need; what is needed next, if anything, comes before other stanzas.
    async fn meet(self: &Arc<Self>, need: Need, trail: &mut Trail) -> Need {
        match need {
            Need::Nothing | Need::Ask(_) => {}
            Need::Room(account, link, stanza) => {
                self.end_sleeper(&account.owner, &link).await;
                trail.sends.push_front(stanza);
            }
            Need::Account(jid, stanza) => match self.account(&jid).await {
                Ok(Some(_)) => trail.sends.push_front(stanza),
                Ok(None) => return inbound::no_such_account(self, &jid, &stanza, trail),
                Err(error) => {
                    tracing::error!(account = %jid, %error, "cannot load account");
                    trail.bounce(&stanza, &StanzaError::from(error));
                }
            },
            Need::Subscription(account, act, stanza) => {
                let back = stanza.clone();
                match subscription::receive(self, &account, act, stanza).await {
                    Ok(sends) => trail.extend(sends),
                    Err(error) => trail.bounce(&back, &error),
                }
            }
            Need::Told(stanza, told) => {
                match std::panic::AssertUnwindSafe(told).catch_unwind().await {
                    Ok(Ok(kept)) => trail.kept.extend(kept),
                    Ok(Err(error)) => trail.bounce(&stanza, &error),
                    Err(_) => {
                        tracing::error!("a module panicked while hearing a message");
                        trail.bounce(&stanza, &StanzaError::new(Condition::InternalServerError));
                    }
                }
            }
            Need::Answer(iq, answer) => {
                let answer = contained(answer, trail.origin.as_deref()).await;
                let written = answer.as_ref().is_ok_and(|reply| {
                    !reply.is_written() && trail.answer_with(&iq, reply.payload())
                });
                if !written && let Some(reply) = iq_answer(&iq, answer) {
                    trail.answer(reply);
                }
            }
        }
        Need::Nothing
    }

    /// Routes one stanza (RFC 6120 §10): to a session, a host, a component or another server.
    pub(crate) fn route(self: &Arc<Self>, stanza: Stanza, trail: &mut Trail) -> Need {
        let Some(to) = stanza.to() else { return Need::Nothing };
        let Some(host) = self.host(to.domain()) else {
            if let Some(component) = self.components.find(to.domain()) {
                return self.to_component(&component, stanza, trail);
            }
            self.send_abroad(stanza, trail);
            return Need::Nothing;
        };
        if to.local().is_none() {
            return self.to_host(&host, stanza, trail);
        }
        match self.directory.loaded(to.bare_str()) {
            Some(account) => inbound::to_account(self, &host, &account, stanza, trail),
            // Nobody of the account is online, so nobody sees a presence (RFC 6121 §8.5.2.2.2).
            None if is_notice(&stanza) && !host.registry().watches_presence() => Need::Nothing,
            None => Need::Account(to.bare(), stanza),
        }
    }

    /// RFC 6120 §10.5.1, §10.5.2: a stanza for the host itself.
    fn to_host(self: &Arc<Self>, host: &Arc<Host>, stanza: Stanza, trail: &mut Trail) -> Need {
        match stanza.kind() {
            Kind::Iq(IqType::Get | IqType::Set) => {
                let bare = stanza.to().is_some_and(Jid::is_bare);
                if bare {
                    return self.ask(Target::Host, host, None, stanza, trail);
                }
                trail.bounce(&stanza, &StanzaError::new(Condition::ServiceUnavailable));
            }
            Kind::Message(_) => {
                let told = HostMessage {
                    stanza: stanza.clone(),
                    host: host.clone(),
                    server: self.clone(),
                };
                match host.registry().tell(told) {
                    Some(told) => return Need::Told(stanza, told),
                    None => trail.bounce(&stanza, &StanzaError::new(Condition::ServiceUnavailable)),
                }
            }
            Kind::Iq(_) => {
                self.questions.answer(&stanza);
            }
            Kind::Presence(_) => {}
        }
        Need::Nothing
    }

    /// Asks the module that answers a request; `service-unavailable` when none does (RFC 6120 §8.4).
    pub(crate) fn ask(
        self: &Arc<Self>,
        target: Target,
        host: &Arc<Host>,
        account: Option<Arc<Account>>,
        iq: Stanza,
        trail: &mut Trail,
    ) -> Need {
        let Some(from) = iq.from().cloned() else { return Need::Nothing };
        let mut request = Request {
            iq: iq.clone(),
            from,
            account,
            host: host.clone(),
            link: trail.origin.clone(),
            server: self.clone(),
            stands_in: false,
        };
        let registry = host.registry();
        if let Some(answer) = registry.replace(&request) {
            return Need::Answer(iq, answer);
        }
        let mut target = target;
        if target == Target::Account {
            match registry.standing(&request) {
                Standing::Own => {}
                Standing::Account => {
                    request.stands_in = true;
                    target = Target::Own;
                }
                Standing::Refused(error) => {
                    trail.bounce(&iq, &error);
                    return Need::Nothing;
                }
            }
        }
        match registry.answer(target, request) {
            Some(answer) => Need::Answer(iq, answer),
            None => {
                trail.bounce(&iq, &StanzaError::new(Condition::ServiceUnavailable));
                Need::Nothing
            }
        }
    }

    /// Routes stanzas that do not come from a stream in hand: from a timer or an operator.
    pub async fn send(self: &Arc<Self>, sends: Vec<Stanza>) {
        let trail = Trail { sends: sends.into(), ..Trail::default() };
        if let Step::Later(later) = self.carry_out(trail) {
            later.await;
        }
    }
}

/// A panic in a module ends its request, not the session (RFC 6120 §8.3.3.6).
async fn contained(answer: Answer, origin: Option<&Link>) -> IqResult {
    match std::panic::AssertUnwindSafe(answer).catch_unwind().await {
        Ok(result) => result,
        Err(_) => {
            tell_panic(origin, "a module panicked while answering a request");
            Err(StanzaError::new(Condition::InternalServerError))
        }
    }
}

fn tell_panic(origin: Option<&Link>, what: &str) {
    // A stanza of another server or of ours has no stream here.
    let (stream, account) = match origin {
        Some(link) => (link.stream(), link.account()),
        None => (Box::default(), ""),
    };
    tracing::error!(%stream, account, "{what}");
}

/// The stanza that answers a request (RFC 6120 §8.2.3).
pub(crate) fn iq_answer(iq: &Stanza, answer: IqResult) -> Option<Stanza> {
    match answer {
        Ok(reply) => (!reply.is_written()).then(|| iq.result(reply.payload())),
        Err(error) => iq.error_answer(&error),
    }
}

/// A presence that concerns only who is online.
fn is_notice(stanza: &Stanza) -> bool {
    matches!(
        stanza.kind(),
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable | PresenceType::Error)
    )
}

/// Waits for a slow reader; one that takes nothing for long is detached.
pub async fn wait_for_reader(server: &Server, link: &Arc<Link>) {
    let patience = Duration::from_secs(server.policy().limits.slow_reader_secs);
    if tokio::time::timeout(patience, link.mailbox.room()).await.is_err() {
        tracing::warn!(
            stream = %link.stream(), account = %link.account(), resource = link.resource(),
            "session reads too slowly and is ended"
        );
        let error = StreamError::new(StreamCondition::ResourceConstraint).text("reads too slowly");
        link.mailbox.order(Order::End(error));
    }
}
