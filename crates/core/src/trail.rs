//! What is still to be done for the stanza in hand, and how far that got.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::transition::Act;
use crate::hooks::decision::Verdict;
use crate::hooks::reply::Answer;
use crate::link::Link;
use crate::mailbox::Put;
use crate::store::shape::Seq;
use crate::store::ticket::Ticket;

/// A message that is being made durable, with what it takes to tell its sender of a failure.
#[derive(Debug)]
pub struct Kept {
    /// When it is durable.
    pub ticket: Ticket,
    /// The message as it came.
    pub stanza: Stanza,
}

/// What is still to be done for the stanza in hand.
#[derive(Default)]
pub struct Trail {
    /// Stanzas to be routed, in order, each with `to` and `from`.
    pub sends: Sends,
    /// Messages that were appended to a log.
    pub kept: Vec<Kept>,
    /// A session whose mailbox is over its bound: the source pauses.
    pub crowded: Option<Arc<Link>>,
    /// The session that the stanza in hand came from.
    pub origin: Option<Arc<Link>>,
    /// The source serves many, so it does not wait for one slow reader: what that cannot take goes
    /// back.
    pub is_hurried: bool,
}

/// Stanzas in the order in which they are to be routed. One that is for many is held once: each copy
/// is made when its turn comes, and is gone before the next.
#[derive(Default)]
pub struct Sends {
    queue: VecDeque<Sending>,
}

enum Sending {
    One(Stanza),
    ToEach(Stanza, std::vec::IntoIter<Jid>),
}

impl Sends {
    /// Puts a stanza behind all others.
    pub fn push_back(&mut self, stanza: Stanza) {
        self.queue.push_back(Sending::One(stanza));
    }

    /// Puts a stanza before all others.
    pub fn push_front(&mut self, stanza: Stanza) {
        self.queue.push_front(Sending::One(stanza));
    }

    /// Puts a stanza behind all others, once to each of these.
    pub fn push_to_each(&mut self, stanza: Stanza, to: Vec<Jid>) {
        if !to.is_empty() {
            self.queue.push_back(Sending::ToEach(stanza, to.into_iter()));
        }
    }

    /// Takes the first stanza.
    pub fn pop_front(&mut self) -> Option<Stanza> {
        loop {
            match self.queue.pop_front()? {
                Sending::One(stanza) => return Some(stanza),
                Sending::ToEach(stanza, mut to) => {
                    let Some(next) = to.next() else { continue };
                    let copy = stanza.with_to(&next);
                    self.queue.push_front(Sending::ToEach(stanza, to));
                    return Some(copy);
                }
            }
        }
    }
}

impl Extend<Stanza> for Sends {
    fn extend<T: IntoIterator<Item = Stanza>>(&mut self, stanzas: T) {
        self.queue.extend(stanzas.into_iter().map(Sending::One));
    }
}

impl From<Vec<Stanza>> for Sends {
    fn from(stanzas: Vec<Stanza>) -> Self {
        Self { queue: stanzas.into_iter().map(Sending::One).collect() }
    }
}

/// How far handling a stanza got.
pub enum Step {
    /// To the end, with these messages on their way to the disk.
    Done(Vec<Kept>),
    /// The source waits for this before it hands in its next stanza.
    Later(BoxFuture<'static, Vec<Kept>>),
}

/// What one stanza needs before it can be routed on.
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// This account in memory; then the stanza comes again.
    Account(Jid, Stanza),
    /// A module's answer, asked when the account's turn is over.
    Ask(Stanza),
    /// A change of a subscription.
    Subscription(Arc<Account>, Act, Stanza),
    /// The end of a sleeping session that can hold no more; then the stanza comes again.
    Room(Arc<Account>, Arc<Link>, Stanza),
    /// The answer of a module to a request.
    Answer(Stanza, Answer),
    /// What a module does about a message.
    Told(Stanza, BoxFuture<'static, Result<Vec<Kept>, StanzaError>>),
}

impl Trail {
    /// A trail that begins with one stanza.
    pub fn of(stanza: Stanza, origin: Option<Arc<Link>>) -> Self {
        Self { sends: vec![stanza].into(), origin, ..Self::default() }
    }

    /// Puts what a turn wants sent behind what is waiting.
    pub fn extend(&mut self, sends: Vec<Stanza>) {
        self.sends.extend(sends);
    }

    /// Sends a stanza back with an error to who sent it, where one is due (RFC 6120 §8.3.1).
    pub fn bounce(&mut self, stanza: &Stanza, error: &StanzaError) {
        if let Some(answer) = stanza.error_answer(error) {
            self.answer(answer);
        }
    }

    /// Sends an answer: to the session in hand at once, since nothing of its own account stands
    /// between it and what it asked, else by the way of all stanzas.
    pub fn answer(&mut self, answer: Stanza) {
        match self.origin.clone().filter(|origin| answer.to() == Some(&origin.jid)) {
            Some(origin) => {
                self.write(&origin, &answer);
            }
            None => self.sends.push_back(answer),
        }
    }

    /// Writes the result of a request that the session in hand has made; false when another made it.
    /// Most answers go this way, and large ones are not worth an index.
    pub fn answer_with(&mut self, iq: &Stanza, payload: &str) -> bool {
        let Some(origin) = self.origin.clone() else { return false };
        if iq.from() != Some(&origin.jid) {
            return false;
        }
        let put = origin.mailbox.put(|out| iq.write_result(payload, out));
        self.note(&origin, put);
        true
    }

    /// Writes a stanza to a session.
    pub fn write(&mut self, link: &Arc<Link>, stanza: &Stanza) -> Put {
        self.write_for(link, stanza, stanza.text())
    }

    /// The same with a message that has a place in the account's log; 0 for none.
    pub fn write_kept(&mut self, link: &Arc<Link>, stanza: &Stanza, seq: Seq) -> Put {
        let text = stanza.text().as_bytes();
        let put = link.mailbox.put_kept(stanza, seq, |out| out.extend_from_slice(text));
        self.note(link, put)
    }

    /// Writes what is sent because of a stanza, and may wait if that may.
    pub fn write_for(&mut self, link: &Arc<Link>, stanza: &Stanza, text: &str) -> Put {
        let put = link.mailbox.put_stanza(stanza, |out| out.extend_from_slice(text.as_bytes()));
        self.note(link, put)
    }

    /// Writes XML that may not wait to a session.
    pub fn write_text(&mut self, link: &Arc<Link>, text: &str) -> Put {
        let put = link.mailbox.put(|out| out.extend_from_slice(text.as_bytes()));
        self.note(link, put)
    }

    fn note(&mut self, link: &Arc<Link>, put: Put) -> Put {
        if put == Put::Crowded && !self.is_hurried {
            self.crowded = Some(link.clone());
        }
        put
    }
}

/// What a guard decided, carried out: true when the stanza goes on.
pub(crate) fn passes(verdict: Verdict, stanza: &Stanza, trail: &mut Trail) -> bool {
    match verdict {
        Verdict::Pass => true,
        Verdict::Drop => false,
        Verdict::Refuse(error) => {
            trail.bounce(stanza, &error);
            false
        }
        Verdict::Absent => {
            trail.bounce(stanza, &StanzaError::new(Condition::ServiceUnavailable));
            false
        }
    }
}
