//! A component and its connections: who takes a stanza, and what becomes of it when the connection
//! breaks before it was written.

use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use verona_xmpp::error::{Condition, StanzaError, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::Stanza;

use crate::component::queue::{Desk, Fate, Queue, TRANSIENT, WAITED, away, fate, owner};
use crate::component::settings::ComponentSettings;
use crate::link::Link;
use crate::mailbox::{Order, Put};
use crate::store::shape::{Owner, Record, Seq};
use crate::store::ticket::{Stub, Ticket, issue};

/// A component that the operator has named.
#[derive(Debug)]
pub struct Component {
    /// Its domain.
    pub jid: Jid,
    /// The key of its queue.
    pub(crate) owner: Owner,
    settings: ArcSwap<ComponentSettings>,
    hasher: ahash::RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seats: Vec<Seat>,
    numbers: u64,
    queue: Queue,
    /// Somebody reads the queue; until that is done all else goes behind what is in it.
    tended: bool,
    /// Something that was on its way is in the queue again.
    rewound: bool,
    /// The operator has taken the component away.
    gone: bool,
}

/// A connection.
#[derive(Debug)]
struct Seat {
    number: u64,
    link: Arc<Link>,
    put: u64,
    written: u64,
    /// In its mailbox, or taken from there and not wholly written.
    unsent: VecDeque<Unsent>,
    /// What others had under way when it came: until they have written it, it takes nothing, so that
    /// nothing overtakes.
    after: Vec<(u64, u64)>,
    /// What it was told by whom, by host and place among the hooks.
    told: Vec<((Jid, usize), String)>,
}

/// A stanza on its way to a connection.
#[derive(Debug)]
struct Unsent {
    stanza: Stanza,
    /// Where it lies in the queue; 0 when it does not.
    seq: Seq,
    bytes: usize,
    /// What its sender's acknowledgement waits for.
    stub: Option<Stub>,
}

/// What became of a stanza for a component.
#[derive(Debug)]
pub enum Given {
    /// It is on its way, or waits; the ticket tells when it can no longer be lost.
    Taken(Option<Ticket>),
    /// The same, and the connection reads slowly: the source pauses.
    Crowded(Option<Ticket>, Arc<Link>),
    /// It is not, and its sender is told.
    Refused(StanzaError),
    /// It is not, and nobody misses it.
    Dropped,
}

/// What is left to do when a connection has ended.
#[derive(Debug, Default)]
pub struct Left {
    /// Messages that are in the queue again, each with who waits for its commit.
    pub kept: Vec<(Stub, Ticket)>,
    /// Stanzas whose senders are to be told.
    pub refused: Vec<(Stanza, StanzaError)>,
    /// Whether it was the last connection.
    pub was_last: bool,
    /// Whether the caller has to tend the queue.
    pub must_tend: bool,
}

/// What becomes of a record of the queue.
#[derive(Debug, Eq, PartialEq)]
pub enum Handed {
    /// A connection takes it, or has it already.
    Taken,
    /// A connection will take it when it has read more.
    Full(u64),
    /// There is no connection.
    Away,
}

impl Component {
    /// A component without connections.
    pub fn new(settings: ComponentSettings, queue: Queue) -> Self {
        Self {
            jid: settings.domain.clone(),
            owner: owner(&settings.domain),
            settings: ArcSwap::from_pointee(settings),
            hasher: ahash::RandomState::new(),
            state: Mutex::new(State { queue, ..State::default() }),
        }
    }

    /// What the operator says of it.
    pub fn settings(&self) -> arc_swap::Guard<Arc<ComponentSettings>> {
        self.settings.load()
    }

    /// Takes over changed settings.
    pub(crate) fn adopt(&self, settings: ComponentSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// How many connections it has, and how many stanzas wait for it.
    pub fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.seats.len(), state.queue.count)
    }

    /// Gives it a connection. The number names it; true: the caller has to tend the queue. None when
    /// it has all that it may have.
    pub(crate) fn enter(&self, link: &Arc<Link>) -> Option<(u64, bool)> {
        let mut state = self.state.lock();
        if state.gone || state.seats.len() >= self.settings().connections_max {
            return None;
        }
        link.mailbox.count_stanzas();
        state.numbers = state.numbers.saturating_add(1);
        let under_way = state.seats.iter().filter(|seat| seat.written < seat.put);
        let after = under_way.map(|seat| (seat.number, seat.put)).collect();
        let number = state.numbers;
        state.seats.push(Seat {
            number,
            link: link.clone(),
            put: 0,
            written: 0,
            unsent: VecDeque::new(),
            after,
            told: Vec::new(),
        });
        let must_tend = state.queue.count > state.queue.under_way.len() && !state.tended;
        state.tended |= must_tend;
        Some((number, must_tend))
    }

    /// Gives it a stanza.
    pub(crate) fn give(&self, desk: &Desk<'_>, stanza: &Stanza) -> (Given, bool) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.gone {
            let error = StanzaError::new(Condition::RemoteServerNotFound);
            return (Given::Refused(error), false);
        }
        if state.seats.is_empty() {
            return (self.keep_for_later(state, desk, stanza), false);
        }
        if state.tended {
            return (self.keep_in_order(state, desk, stanza), false);
        }
        let waits = fate(stanza) == Fate::Waits;
        let (ticket, stub) = if waits { Some(issue(0)).unzip() } else { (None, None) };
        let bytes = stanza.text().len();
        let unsent = Unsent { stanza: stanza.clone(), seq: 0, bytes, stub };
        let from = stanza.from().map_or("", Jid::bare_str);
        let Some(seat) = pick(&mut state.seats, &self.hasher, from) else {
            return (self.keep_for_later(state, desk, stanza), false);
        };
        match seat.put(unsent) {
            Some(Put::Crowded) => (Given::Crowded(ticket, seat.link.clone()), false),
            Some(_) => (Given::Taken(ticket), false),
            // Its mailbox is full, or it is just ending: from here on all goes through the queue.
            None => {
                state.tended = true;
                (self.keep_in_order(state, desk, stanza), true)
            }
        }
    }

    /// Nobody is there.
    fn keep_for_later(&self, state: &mut State, desk: &Desk<'_>, stanza: &Stanza) -> Given {
        match fate(stanza) {
            Fate::Waits if self.settings().wait_secs > 0 => {
                self.keep(state, desk, (stanza, WAITED))
            }
            Fate::Waits | Fate::Refused => Given::Refused(away()),
            Fate::Dropped => Given::Dropped,
        }
    }

    /// Others wait already.
    fn keep_in_order(&self, state: &mut State, desk: &Desk<'_>, stanza: &Stanza) -> Given {
        let transient = if fate(stanza) == Fate::Waits { 0 } else { TRANSIENT };
        self.keep(state, desk, (stanza, transient))
    }

    fn keep(&self, state: &mut State, desk: &Desk<'_>, what: (&Stanza, u32)) -> Given {
        match state.queue.append(desk, &self.owner, what) {
            Some(ticket) => Given::Taken((fate(what.0) == Fate::Waits).then_some(ticket)),
            None => Given::Refused(
                StanzaError::new(Condition::ResourceConstraint).text("too much waits for it"),
            ),
        }
    }

    /// Hands a record of the queue to a connection.
    pub(crate) fn hand(&self, record: &Record, stanza: Stanza) -> Handed {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.queue.has_left(record.seq) {
            return Handed::Taken;
        }
        let from = stanza.from().map_or("", Jid::bare_str);
        let Some(seat) = pick(&mut state.seats, &self.hasher, from) else {
            state.rewound = true;
            return Handed::Away;
        };
        if seat.unsent.len() >= UNDER_WAY_MAX {
            return Handed::Full(seat.number);
        }
        let bytes = record.stanza.len();
        let number = seat.number;
        match seat.put(Unsent { stanza, seq: record.seq, bytes, stub: None }) {
            Some(_) => {
                state.queue.under_way.insert(record.seq);
                Handed::Taken
            }
            None => Handed::Full(number),
        }
    }

    /// The connection has written so many of its stanzas.
    pub(crate) fn written(&self, desk: &Desk<'_>, number: u64, count: usize) {
        let mut done = Vec::new();
        let mut stubs = Vec::new();
        let mut state = self.state.lock();
        let Some(seat) = state.seats.iter_mut().find(|seat| seat.number == number) else { return };
        for _ in 0..count {
            let Some(unsent) = seat.unsent.pop_front() else { break };
            seat.written = seat.written.saturating_add(1);
            if unsent.seq != 0 {
                done.push((unsent.seq, unsent.bytes));
            }
            stubs.extend(unsent.stub);
        }
        state.queue.remove(desk.store, &self.owner, &done);
        drop(state);
        stubs.into_iter().for_each(|stub| stub.settle(Ok(())));
    }

    /// A connection has ended; what it had not written waits for the next.
    pub(crate) fn leave(&self, desk: &Desk<'_>, number: u64) -> Left {
        let mut left = Left::default();
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(place) = state.seats.iter().position(|seat| seat.number == number) else {
            return left;
        };
        let seat = state.seats.remove(place);
        // Nothing is put in any more, and who waits for room hears of it.
        seat.link.mailbox.close();
        left.was_last = state.seats.is_empty();
        for unsent in seat.unsent {
            if unsent.seq != 0 {
                state.queue.under_way.remove(&unsent.seq);
                state.rewound = true;
                continue;
            }
            self.put_back(state, desk, unsent, &mut left);
        }
        let waits = state.queue.count > state.queue.under_way.len();
        left.must_tend = waits && !state.tended && !left.was_last;
        state.tended |= left.must_tend;
        left
    }

    fn put_back(&self, state: &mut State, desk: &Desk<'_>, unsent: Unsent, left: &mut Left) {
        let Unsent { stanza, stub, .. } = unsent;
        let flags = match fate(&stanza) {
            // Nobody's acknowledgement waits for it: the server's own word to this connection.
            Fate::Waits if stub.is_none() => return,
            _ if state.gone => None,
            Fate::Waits if left.was_last => Some(WAITED),
            Fate::Waits => Some(0),
            _ if !left.was_last => Some(TRANSIENT),
            Fate::Refused | Fate::Dropped => None,
        };
        let kept = flags.map(|flags| state.queue.append(desk, &self.owner, (&stanza, flags)));
        match (kept, stub) {
            (Some(Some(ticket)), Some(stub)) => left.kept.push((stub, ticket)),
            (Some(Some(_)), None) => {}
            (Some(None), stub) => {
                // Told by an error, so it counts as handled.
                stub.into_iter().for_each(|stub| stub.settle(Ok(())));
                left.refused.push((stanza, StanzaError::new(Condition::ResourceConstraint)));
            }
            (None, stub) => {
                stub.into_iter().for_each(|stub| stub.settle(Ok(())));
                left.refused.push((stanza, away()));
            }
        }
    }

    /// Begins to tend the queue while nobody is there; false when somebody does already.
    pub(crate) fn begin_tending(&self) -> bool {
        let mut state = self.state.lock();
        let may = !state.tended && state.seats.is_empty() && state.queue.count > 0;
        state.tended |= may;
        may
    }

    /// Ends tending, if there is nothing to hand on: true. False: read on, and from the beginning if
    /// the second says so.
    pub(crate) fn end_tending(&self) -> (bool, bool) {
        let mut state = self.state.lock();
        let rewound = std::mem::take(&mut state.rewound);
        let waits = state.queue.count > state.queue.under_way.len();
        if state.seats.is_empty() || (!rewound && !waits) {
            state.tended = false;
            return (true, rewound);
        }
        (false, rewound)
    }

    /// Called before what was submitted is settled and the queue is read: what is removed from now on
    /// may still be found there.
    pub(crate) fn begin_reading(&self) {
        self.state.lock().queue.removed.clear();
    }

    /// Takes records out of the queue that are done with.
    pub(crate) fn remove(&self, desk: &Desk<'_>, done: &[(Seq, usize)]) {
        self.state.lock().queue.remove(desk.store, &self.owner, done);
    }

    /// Whether nobody is there.
    pub fn is_away(&self) -> bool {
        self.state.lock().seats.is_empty()
    }

    /// Waits until a connection has written something, or is gone.
    pub(crate) async fn room(&self, number: u64) {
        let link = {
            let state = self.state.lock();
            let seat = state.seats.iter().find(|seat| seat.number == number);
            seat.map(|seat| seat.link.clone())
        };
        if let Some(link) = link {
            link.mailbox.drained().await;
        }
    }

    /// Ends all connections with an error; with `gone` for ever.
    pub(crate) fn end(&self, error: &StreamError, gone: bool) {
        let mut state = self.state.lock();
        state.gone |= gone;
        for seat in &state.seats {
            seat.link.mailbox.order(Order::End(error.clone()));
        }
    }

    /// Tells each connection something, on behalf of a host: `make` is asked with what it was told
    /// last. Returns whether one was told something new.
    pub(crate) fn tell(&self, key: (&Jid, usize), make: impl Fn(bool) -> Option<Stanza>) -> bool {
        let mut any = false;
        let mut state = self.state.lock();
        for seat in &mut state.seats {
            let known = seat.told.iter().position(|(of, _)| (&of.0, of.1) == key);
            let Some(stanza) = make(known.is_some()) else { continue };
            // The id differs each time.
            let content = stanza.payload().map_or("", |payload| payload.text).to_owned();
            match known.and_then(|place| seat.told.get_mut(place)) {
                Some((_, told)) if *told == content => continue,
                Some((_, told)) => *told = content,
                None => seat.told.push(((key.0.clone(), key.1), content)),
            }
            any = true;
            let bytes = stanza.text().len();
            let _ = seat.put(Unsent { stanza, seq: 0, bytes, stub: None });
        }
        any
    }
}

/// Stanzas of the queue that are handed to a connection before it has written one.
const UNDER_WAY_MAX: usize = 512;

impl Seat {
    /// Puts a stanza into the mailbox; None when that takes nothing.
    fn put(&mut self, unsent: Unsent) -> Option<Put> {
        let text = unsent.stanza.text();
        let put = self.link.mailbox.put(|out| out.extend_from_slice(text.as_bytes()));
        match put {
            Put::Taken | Put::Crowded => {
                self.put = self.put.saturating_add(1);
                self.unsent.push_back(unsent);
                Some(put)
            }
            Put::Refused | Put::Overslept => None,
        }
    }
}

/// The connection for all that an address sends: the same as long as it is there, and when one is
/// lost, only what was on that one moves.
fn pick<'a>(
    seats: &'a mut [Seat],
    hasher: &ahash::RandomState,
    from: &str,
) -> Option<&'a mut Seat> {
    if let [only] = seats {
        return Some(only);
    }
    let progress: Vec<_> = seats.iter().map(|seat| (seat.number, seat.written)).collect();
    for seat in &mut *seats {
        // Who has ended has nothing under way any more.
        seat.after.retain(|(number, put)| {
            progress.iter().any(|(of, written)| of == number && written < put)
        });
    }
    let free = seats.iter_mut().filter(|seat| seat.after.is_empty());
    free.max_by_key(|seat| hasher.hash_one((seat.number, from)))
}
