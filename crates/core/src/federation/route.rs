//! RFC 6120 §10.1: the one way from a domain here to a domain elsewhere. It owns the queue; the
//! stream that is attached to it, if there is one, takes from it.

use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::error::Condition;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, Stanza};

use crate::federation::gauge::Gauge;
use crate::federation::queue::{Entry, Queue, Room};
use crate::federation::reach::Pair;
use crate::federation::standing::{Failed, Lost, Means, Phase, Pushed, Standing};
use crate::limits::{QUEUE_DELAYED_SECS, QUEUE_STREAM_FACTOR};
use crate::mailbox::StanzaEnd;
use crate::store::Store;
use crate::store::batch::{Batch, Write};
use crate::store::shape::{Owner, Record, Seq, Table};
use crate::stream::output::Output;
use crate::stream::server::pairs::Trust;

/// Messages that wait for a domain elsewhere, by pair.
pub const QUEUE: Table = Table::log("federation.queue");

/// The one way from a domain here to a domain elsewhere.
#[derive(Debug)]
pub struct Route {
    /// The two domains.
    pub pair: Pair,
    /// Under what its queue is kept.
    pub owner: Owner,
    /// Rung when another try is worth it before its time.
    pub again: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: Queue,
    phase: Phase,
    /// A task looks after the connection.
    is_driven: bool,
    /// The task of the attached stream.
    taker: Option<Waker>,
    trust: Option<Trust>,
    failed: Option<Failed>,
    /// Tries that failed in a row.
    tries: u32,
    /// Streams in a row that the peer ended with an error, without having taken anything.
    strikes: u8,
    lost: Option<Lost>,
    /// The last place in its log, and up to where the log is known to be empty.
    last_seq: Seq,
    settled: Seq,
    used_secs: u32,
}

impl Route {
    /// A route without a stream.
    pub fn new(pair: Pair) -> Self {
        let owner = format!("{} {}", pair.local.domain(), pair.remote.domain()).into();
        Self { pair, owner, again: Notify::new(), inner: Mutex::default() }
    }

    /// Takes a stanza; a durable one is on its way to the disk when this returns.
    pub fn push(&self, stanza: &Stanza, durable: bool, means: &Means<'_>) -> Pushed {
        let mut inner = self.inner.lock();
        inner.used_secs = means.uptime_secs;
        if let Some(condition) = inner.refuses(stanza) {
            return Pushed::Refused(condition);
        }
        if inner.is_full(means) {
            return Pushed::Full;
        }
        let text = stanza.shared_text();
        means.gauge.add(text.len());
        let mut seq = 0;
        let ticket = durable.then(|| {
            seq = means.gauge.next_seq(means.now_micros);
            inner.last_seq = seq;
            means.store.submit(self.append(seq, &text, means.epoch))
        });
        inner.queue.push(Entry { text, seq });
        let start = inner.begin();
        wake(inner);
        Pushed::Taken { ticket, start }
    }

    fn append(&self, seq: Seq, text: &str, epoch: u32) -> Batch {
        let mut batch = Batch::new();
        let record = Record {
            seq,
            epoch,
            peer: self.pair.remote.as_str().into(),
            flags: 0,
            stanza: Bytes::copy_from_slice(text.as_bytes()),
        };
        batch.append(QUEUE, &self.owner, record);
        batch
    }

    /// Puts in what an earlier start of the server has kept.
    pub fn restore(&self, entry: Entry, gauge: &Gauge) {
        gauge.add(entry.text.len());
        gauge.seen(entry.seq);
        let mut inner = self.inner.lock();
        inner.last_seq = inner.last_seq.max(entry.seq);
        inner.queue.push(entry);
    }

    /// Whether somebody has to look after the connection now; who asks is the one.
    pub fn begin(&self) -> bool {
        let mut inner = self.inner.lock();
        (!inner.queue.is_empty() || inner.lost.is_some()) && inner.begin()
    }

    /// For the attached stream: takes what there is room for, or arranges to be woken.
    pub fn poll_take(
        &self,
        context: &mut Context<'_>,
        room: Room,
        (output, ends): (&mut Output, &mut Vec<StanzaEnd>),
        gauge: &Gauge,
    ) {
        let mut inner = self.inner.lock();
        if !inner.queue.is_empty() {
            let before = inner.queue.bytes();
            inner.queue.take(room, output.buffer(), ends);
            gauge.remove(before.saturating_sub(inner.queue.bytes()));
        }
        match &mut inner.taker {
            Some(taker) => taker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// For the attached stream: takes the first stanza when it is larger than the peer takes.
    pub fn pop_larger(&self, stanza_bytes: usize, gauge: &Gauge) -> Option<Entry> {
        let entry = self.inner.lock().queue.pop_larger(stanza_bytes)?;
        gauge.remove(entry.text.len());
        Some(entry)
    }

    /// Attaches a stream, from which on it alone takes; false when another one is there. While this
    /// server opens one of its own, that of the peer is none: else both might close theirs.
    pub fn attach(&self, trust: Trust, is_own: bool, now_micros: u64) -> bool {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Connected || (!is_own && inner.phase == Phase::Connecting) {
            return false;
        }
        inner.phase = Phase::Connected;
        inner.trust = Some(trust);
        inner.failed = None;
        self.mark_delayed(&mut inner, now_micros);
        drop(inner);
        self.again.notify_waiters();
        true
    }

    /// The stream that was attached is gone.
    pub fn detach(&self) {
        let mut inner = self.inner.lock();
        inner.phase = Phase::Idle;
        inner.trust = None;
        inner.taker = None;
    }

    /// XEP-0203 §2: what waited for a while says since when.
    fn mark_delayed(&self, inner: &mut Inner, now_micros: u64) {
        let limit = now_micros.saturating_sub(QUEUE_DELAYED_SECS.saturating_mul(1_000_000));
        if inner.queue.oldest().is_none_or(|seq| seq > limit) {
            return;
        }
        let old = inner.queue.take_where(|_| true);
        for mut entry in old {
            if (1..=limit).contains(&entry.seq)
                && let Ok(stanza) = Stanza::parse(&entry.text)
                && stanza.child("delay", ns::DELAY).is_none()
            {
                let stamp = date::write(i64::try_from(entry.seq).unwrap_or(i64::MAX));
                let mut writer = Writer::new(ns::CLIENT);
                writer.start("delay", ns::DELAY).attr("from", self.pair.local.as_str());
                writer.attr("stamp", &stamp).end();
                entry.text = stanza.with_child(&writer.finish()).shared_text();
            }
            inner.queue.push(entry);
        }
    }

    /// Puts stanzas back that a stream took and that the peer did not get.
    pub fn give_back(&self, entries: Vec<Entry>, gauge: &Gauge) {
        let mut inner = self.inner.lock();
        gauge.add(entries.iter().map(|entry| entry.text.len()).sum());
        inner.queue.give_back(entries);
    }

    /// Keeps the counters of a stream whose connection is gone, to resume it.
    pub fn park(&self, lost: Lost) {
        self.inner.lock().lost = Some(lost);
    }

    /// Takes those counters.
    pub fn take_lost(&self) -> Option<Lost> {
        self.inner.lock().lost.take()
    }

    /// The same, if this server opened the stream.
    pub fn take_lost_of_ours(&self) -> Option<Lost> {
        let mut inner = self.inner.lock();
        inner.lost.take_if(|lost| matches!(lost, Lost::Ours(..)))
    }

    /// The same, if the peer opened it.
    pub fn take_lost_of_theirs(&self) -> Option<Lost> {
        let mut inner = self.inner.lock();
        inner.lost.take_if(|lost| matches!(lost, Lost::Theirs(..)))
    }

    /// Forgets what the peer has got or what was given back to its sender.
    pub fn forget(&self, seqs: &[Seq], store: &dyn Store) {
        if seqs.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        for seq in seqs {
            batch.writes.push(Write::Remove { log: QUEUE, owner: self.owner.clone(), seq: *seq });
        }
        // Nobody waits for it: after a crash a few are sent once more.
        drop(store.submit(batch));
    }

    /// Forgets what the peer has got: all before the first stanza that waits or that was sent and is
    /// not acknowledged, `sent`.
    pub fn settle(&self, sent: Option<Seq>, store: &dyn Store) {
        let mut inner = self.inner.lock();
        let first = [sent, inner.queue.oldest()].into_iter().flatten().min();
        let through = first.map_or(inner.last_seq, |first| first.saturating_sub(1));
        if through.min(inner.last_seq) <= inner.settled {
            return;
        }
        inner.settled = through;
        let mut batch = Batch::new();
        batch.writes.push(Write::Trim { log: QUEUE, owner: self.owner.clone(), through });
        // Nobody waits for it: after a crash a few are sent once more.
        drop(store.submit(batch));
    }

    /// Takes out all that waits.
    pub fn take_all(&self, gauge: &Gauge) -> Vec<Entry> {
        self.take_where(|_| true, gauge)
    }

    /// Takes those out for which `gone` says so.
    pub fn take_where(&self, gone: impl Fn(&Entry) -> bool, gauge: &Gauge) -> Vec<Entry> {
        let taken = self.inner.lock().queue.take_where(gone);
        gauge.remove(taken.iter().map(|entry| entry.text.len()).sum());
        taken
    }

    /// Notes that a stream is being opened.
    pub fn connecting(&self) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Connected {
            inner.phase = Phase::Connecting;
        }
    }

    /// Notes that a try has failed; `failed` makes the record of the number of tries so far.
    pub fn failed(&self, failed: impl FnOnce(u32) -> Failed) {
        let mut inner = self.inner.lock();
        inner.tries = inner.tries.saturating_add(1);
        inner.failed = Some(failed(inner.tries));
        if inner.phase == Phase::Connecting {
            inner.phase = Phase::Waiting;
        }
    }

    /// Notes that a stream was of use: what fails from now on fails for the first time.
    pub fn served(&self) {
        self.inner.lock().tries = 0;
    }

    /// How long the next try is away; None: it is due.
    pub fn pause(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        let left = inner.failed.as_ref()?.until.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }

    /// The other domain has shown that it is there: no reason to wait.
    pub fn encourage(&self) {
        let mut inner = self.inner.lock();
        if let Some(failed) = &mut inner.failed {
            failed.until = Instant::now();
        }
        drop(inner);
        self.again.notify_waiters();
    }

    /// Counts a stream that the peer ended with an error; true when what it was sent first is to
    /// blame.
    pub fn strike(&self, took_something: bool) -> bool {
        let mut inner = self.inner.lock();
        inner.strikes = if took_something { 0 } else { inner.strikes.saturating_add(1) };
        inner.strikes >= crate::limits::STREAM_STRIKES_MAX && {
            inner.strikes = 0;
            true
        }
    }

    /// Whether a stream is attached.
    pub fn is_connected(&self) -> bool {
        self.inner.lock().phase == Phase::Connected
    }

    /// Whether the task that looks after the connection has nothing more to do; then it ends.
    pub fn rest(&self) -> bool {
        let mut inner = self.inner.lock();
        let done =
            inner.phase == Phase::Connected || (inner.queue.is_empty() && inner.lost.is_none());
        if done {
            inner.is_driven = false;
            if inner.phase != Phase::Connected {
                inner.phase = Phase::Idle;
            }
        }
        done
    }

    /// When the oldest message that waits came, in microseconds.
    pub fn oldest(&self) -> Option<Seq> {
        self.inner.lock().queue.oldest()
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let inner = self.inner.lock();
        Standing {
            phase: inner.phase,
            stanzas: inner.queue.len(),
            bytes: inner.queue.bytes(),
            trust: inner.trust,
            failed: inner.failed.clone(),
        }
    }

    /// Whether nobody has used it for so long that it may be forgotten.
    pub fn is_stale(&self, now_secs: u32, after_secs: u32) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Idle
            && !inner.is_driven
            && inner.queue.is_empty()
            && inner.lost.is_none()
            && now_secs.saturating_sub(inner.used_secs) > after_secs
    }
}

impl Inner {
    /// What does not wait while there is no way: a question, whose asker does not wait either; and
    /// everything, when waiting would not help.
    fn refuses(&self, stanza: &Stanza) -> Option<Condition> {
        if !matches!(self.phase, Phase::Idle | Phase::Waiting) {
            return None;
        }
        let failed = self.failed.as_ref().filter(|failed| failed.until > Instant::now())?;
        let asks = matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set));
        (asks || !failed.retry).then_some(failed.condition)
    }

    fn is_full(&self, means: &Means<'_>) -> bool {
        let terms = means.terms;
        let factor = if self.phase == Phase::Connected { QUEUE_STREAM_FACTOR } else { 1 };
        self.queue.len() >= terms.queue_stanzas_max.saturating_mul(factor)
            || self.queue.bytes() >= terms.queue_bytes_max.saturating_mul(factor)
            || means.gauge.bytes() >= terms.queue_total_bytes_max
    }

    fn begin(&mut self) -> bool {
        if self.is_driven || self.phase == Phase::Connected {
            return false;
        }
        self.is_driven = true;
        self.phase = Phase::Connecting;
        true
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let taker = inner.taker.take();
    drop(inner);
    if let Some(taker) = taker {
        taker.wake();
    }
}
