//! A server stream hears an element: stanzas are handed in, if the peer may send them.

use std::panic::AssertUnwindSafe;

use verona_xml::Frame;
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, NotAStanza, Stanza};

use crate::federation::session::{End, Session};
use crate::stream::open::stream_error;
use crate::stream::server::managing::Command;
use crate::trail::{Step, Trail};

impl Session {
    /// What comes of one element; a step when it was a stanza.
    pub(super) fn element(&mut self, frame: &Frame<'_>) -> Result<Option<Step>, End> {
        match frame.ns() {
            ns::SERVER => self.stanza(frame),
            ns::SM => self.answered(|session| session.manage(Command::read(frame))),
            ns::DIALBACK => {
                let tree = frame.tree().map_err(|error| End::Error(stream_error(&error)))?;
                self.answered(|session| session.dialback(tree.root()))
            }
            ns::STREAMS if frame.name() == "error" => {
                let tree = frame.tree().map_err(|error| End::Error(stream_error(&error)))?;
                Err(End::Refused(StreamError::read(tree.root()).to_string()))
            }
            // RFC 6120 §4.3.2: what else is offered concerns what has been negotiated.
            ns::STREAMS if frame.name() == "features" => Ok(None),
            _ => Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        }
    }

    /// Does what may be answered past the queue, and counts those bytes.
    pub(super) fn answered(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), End>,
    ) -> Result<Option<Step>, End> {
        let before = self.output.len();
        act(self)?;
        let answer = self.output.len().saturating_sub(before);
        self.answers_bytes = self.answers_bytes.saturating_add(answer);
        Ok(None)
    }

    /// Hands a stanza in, if the peer may send it (RFC 6120 §8.1.1.2, §8.1.2.2).
    pub(super) fn stanza(&mut self, frame: &Frame<'_>) -> Result<Option<Step>, End> {
        if self.times.closing.is_some() && self.managed.is_some() {
            // Not counted, so the peer sends it again.
            return Ok(None);
        }
        let stanza = match Stanza::adopt(frame, ns::SERVER, None) {
            Ok(stanza) => stanza,
            Err(NotAStanza::TooLarge) => {
                return Err(End::Error(StreamCondition::PolicyViolation.into()));
            }
            Err(_) => return Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        };
        self.pace.count(&self.server);
        self.times.used = self.times.heard;
        self.hand_in(stanza).map(Some)
    }

    pub(super) fn hand_in(&mut self, stanza: Stanza) -> Result<Step, End> {
        let checked = self.dialbacks.pairs.check(stanza.from(), stanza.to());
        checked.map_err(|condition| End::Error(condition.into()))?;
        if stanza.to().is_some_and(Jid::is_domain) && self.server.questions.answer(&stanza) {
            return Ok(Step::Done(Vec::new()));
        }
        self.server.federation.seen.note(&stanza);
        let server = &self.server;
        let back = stanza.clone();
        // A panic in a module ends its stanza, not the stream.
        let handled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut trail = Trail { is_hurried: true, ..Trail::default() };
            match is_proper(&stanza) {
                true => trail.sends.push_back(stanza),
                false => trail.bounce(&stanza, &StanzaError::new(Condition::BadRequest)),
            }
            server.carry_out(trail)
        }));
        Ok(handled.unwrap_or_else(|_| {
            tracing::error!(stream = %self.place.peer.id, "a module panicked");
            let mut trail = Trail::default();
            trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
            server.carry_out(trail)
        }))
    }
}

/// RFC 6120 §8.2.3: whether an IQ has what it needs.
fn is_proper(stanza: &Stanza) -> bool {
    match stanza.kind() {
        Kind::Iq(kind) => {
            kind != IqType::Unknown && stanza.id_raw().is_some() && stanza.has_due_children()
        }
        _ => true,
    }
}
