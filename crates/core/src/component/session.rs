//! A component's stream once it has proven its secret: the one task that reads stanzas, writes what
//! is in the mailbox, and settles what was kept.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use verona_xml::{Event, Frame, Scanner};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{IqType, Kind, NotAStanza, PresenceType, Stanza};
use verona_xmpp::stream::Content;

use crate::component::connected::Component;
use crate::component::shown::Shown;
use crate::limits::{CLOSE_SECS, COMPONENT_IDLE_SECS, UNCOMMITTED_PER_SESSION_MAX};
use crate::link::Link;
use crate::mailbox::{Order, StanzaEnd};
use crate::server::Server;
use crate::stream::open::stream_error;
use crate::stream::pace::Pace;
use crate::stream::wire::Wire;
use crate::trail::{Kept, Step, Trail};

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// A connection of a component.
pub struct Session {
    /// The server.
    pub server: Arc<Server>,
    /// The component.
    pub component: Arc<Component>,
    /// The shared half.
    pub link: Arc<Link>,
    /// Which of the component's connections it is.
    pub number: u64,
    /// The connection.
    pub wire: Box<dyn Wire>,
    /// What reads it.
    pub scanner: Scanner,
    /// What came behind the handshake.
    pub unread: Vec<u8>,
    /// Who has connected to whom.
    pub content: Content,
    /// The id of the stream, for the log.
    pub stream: Box<str>,
}

/// Why it ended.
enum End {
    Gone,
    Closed,
    Error(StreamError),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<StreamCondition> for End {
    fn from(condition: StreamCondition) -> Self {
        Self::Error(condition.into())
    }
}

impl Session {
    /// Runs it to its end.
    pub async fn run(self) {
        let Self { server, component, link, number, wire, mut scanner, unread, content, stream } =
            self;
        scanner.set_limits(limits(&server, &component));
        let (reader, mut writer) = tokio::io::split(wire);
        let (notes, kept) = mpsc::channel(UNCOMMITTED_PER_SESSION_MAX);
        // It ends when the reader does and all is settled.
        tokio::spawn(settle(server.clone(), kept));
        let mut shown = Shown::default();
        let mut out = Outgoing::default();
        server.component_came(&component);
        let mut input = Input {
            server: &server,
            component: &component,
            content,
            link: &link,
            shown: &mut shown,
            notes,
        };
        let who = Writing { server: &server, component: &component, number, link: &link };
        let end = tokio::select! {
            end = input.read(reader, scanner, unread) => end,
            end = who.write(&mut writer, &mut out) => end,
        };
        let why = match &end {
            End::Gone => "connection lost".to_owned(),
            End::Closed => "closed by the component".to_owned(),
            End::Error(error) => error.to_string(),
        };
        tracing::warn!(%stream, component = %component.jid, why, "component's stream has ended");
        let last = match end {
            End::Gone => None,
            End::Closed => Some(String::new()),
            End::Error(error) => Some(error.to_xml()),
        };
        let limit = Duration::from_secs(CLOSE_SECS);
        if last.is_some() {
            let _ = timeout(limit, who.finish_begun(&mut writer, &mut out)).await;
        }
        // Before the component sees the end: it may connect anew at once.
        let left = server.component_left(&component, number);
        if left.was_last {
            server.component_gone(&component);
        }
        tokio::spawn({
            let (server, component) = (server.clone(), component.clone());
            async move { server.settle_left(&component, left).await }
        });
        if let Some(last) = last.filter(|_| out.is_whole()) {
            let _ = timeout(limit, close(&mut writer, &last)).await;
        }
        drop(writer);
        server.send(shown.farewells()).await;
    }
}

/// RFC 6120 §4.4: writes an error if there is one, and the end of the stream.
async fn close(writer: &mut WriteHalf<Box<dyn Wire>>, last: &str) -> std::io::Result<()> {
    writer.write_all(last.as_bytes()).await?;
    writer.write_all(b"</stream:stream>").await?;
    writer.flush().await?;
    writer.shutdown().await
}

/// The bounds of what a component may send.
fn limits(server: &Server, component: &Component) -> verona_xml::Limits {
    let limits = server.policy().limits.after_login();
    verona_xml::Limits { element_bytes_max: component.settings().stanza_bytes_max, ..limits }
}

/// Tells senders of messages that could not be kept.
async fn settle(server: Arc<Server>, mut kept: mpsc::Receiver<Kept>) {
    while let Some(Kept { ticket, stanza }) = kept.recv().await {
        if let Err(error) = ticket.await {
            tracing::error!(%error, "a message could not be kept");
            server.send(stanza.error_answer(&error.into()).into_iter().collect()).await;
        }
    }
}

/// The side that reads.
struct Input<'a> {
    server: &'a Arc<Server>,
    component: &'a Arc<Component>,
    content: Content,
    link: &'a Arc<Link>,
    shown: &'a mut Shown,
    notes: mpsc::Sender<Kept>,
}

/// What is to be done with an element.
enum Act {
    Route(Stanza),
    Refuse(Stanza, StanzaError),
}

impl Input<'_> {
    async fn read(
        &mut self,
        mut reader: ReadHalf<Box<dyn Wire>>,
        mut scanner: Scanner,
        mut bytes: Vec<u8>,
    ) -> End {
        let mut pace = Pace::default();
        loop {
            let mut input = bytes.as_slice();
            loop {
                let act = match scanner.next(&mut input) {
                    Ok(None) => break,
                    Ok(Some(Event::Element(frame))) => self.judge(&frame),
                    Ok(Some(Event::Close)) => return End::Closed,
                    Ok(Some(Event::Open(_))) => return StreamCondition::NotWellFormed.into(),
                    Err(error) => return End::Error(stream_error(&error)),
                };
                let step = match act {
                    Ok(Act::Route(stanza)) => self.route(stanza),
                    Ok(Act::Refuse(stanza, error)) => {
                        let mut trail = Trail::default();
                        trail.bounce(&stanza, &error);
                        self.server.carry_out(trail)
                    }
                    Err(end) => return end,
                };
                pace.count(self.server);
                let kept = match step {
                    Step::Done(kept) => kept,
                    // On a task of its own: when the connection breaks meanwhile, nothing may be left
                    // half done.
                    Step::Later(later) => tokio::spawn(later).await.unwrap_or_default(),
                };
                for kept in kept {
                    // The other end lives as long as this.
                    let _ = self.notes.send(kept).await;
                }
            }
            std::future::poll_fn(|context| pace.poll(context)).await;
            bytes.clear();
            bytes.reserve(READ);
            match reader.read_buf(&mut bytes).await {
                Ok(count) if count > 0 => {
                    self.link.heard(self.server.clock.uptime_secs());
                    let settings = self.component.settings();
                    let mut limits = self.server.policy().limits.clone();
                    limits.rate_bytes_per_sec = settings.rate_bytes_per_sec;
                    limits.rate_burst_bytes = settings.rate_bytes_per_sec.saturating_mul(4);
                    limits.rate_stanzas_per_sec = settings.rate_stanzas_per_sec;
                    pace.spend_of(count, &limits);
                }
                _ => return End::Gone,
            }
        }
    }

    /// XEP-0114 §3: every stanza has `from` and `to`, and `from` is within the component's domain.
    fn judge(&self, frame: &Frame<'_>) -> Result<Act, End> {
        let stanza = match Stanza::adopt(frame, self.content.ns(), None) {
            Ok(stanza) => stanza,
            Err(NotAStanza::TooLarge) => return Err(StreamCondition::PolicyViolation.into()),
            Err(_) => return Err(StreamCondition::UnsupportedStanzaType.into()),
        };
        // RFC 6120 §4.9.3.7.
        if frame.attr("from").is_none() || frame.attr("to").is_none() {
            let error = StreamError::new(StreamCondition::ImproperAddressing);
            return Err(End::Error(error.text("a component's stanza has 'from' and 'to'")));
        }
        // RFC 6120 §4.9.3.9.
        let own = stanza.from().is_some_and(|from| self.is_own(from));
        if !own {
            let error = StreamError::new(StreamCondition::InvalidFrom);
            return Err(End::Error(error.text("'from' is not within the component's domain")));
        }
        if stanza.to_malformed() {
            return Ok(Act::Refuse(stanza, StanzaError::new(Condition::JidMalformed)));
        }
        // RFC 6120 §8.2.3.
        let wrong = match stanza.kind() {
            Kind::Iq(kind) => {
                kind == IqType::Unknown || stanza.id_raw().is_none() || !stanza.has_due_children()
            }
            Kind::Presence(kind) => kind == PresenceType::Unknown,
            Kind::Message(_) => false,
        };
        if wrong {
            return Ok(Act::Refuse(stanza, StanzaError::new(Condition::BadRequest)));
        }
        Ok(Act::Route(stanza))
    }

    /// Whether an address is the component's: of its domain, or of one below that is nobody else's.
    fn is_own(&self, from: &Jid) -> bool {
        let domain = from.domain();
        if domain == self.component.jid.domain() {
            return true;
        }
        self.component.settings().covers(domain)
            && self.server.host(domain).is_none()
            && self
                .server
                .components
                .find(domain)
                .is_some_and(|owner| Arc::ptr_eq(&owner, self.component))
    }

    fn route(&mut self, stanza: Stanza) -> Step {
        self.shown.note(&stanza);
        let back = stanza.clone();
        let server = self.server;
        // A panic in a module ends its stanza, not the stream.
        let routed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            server.carry_out(Trail::of(stanza, None))
        }));
        routed.unwrap_or_else(|_| {
            tracing::error!(component = %self.component.jid, "a module panicked");
            let mut trail = Trail::default();
            trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
            server.carry_out(trail)
        })
    }
}

/// The side that writes.
struct Writing<'a> {
    server: &'a Arc<Server>,
    component: &'a Component,
    number: u64,
    link: &'a Arc<Link>,
}

/// What is being written.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    ends: Vec<StanzaEnd>,
    /// How many of them are behind what was written.
    told: usize,
}

impl Writing<'_> {
    async fn write(&self, writer: &mut WriteHalf<Box<dyn Wire>>, out: &mut Outgoing) -> End {
        let stall = Duration::from_secs(self.server.policy().limits.slow_reader_secs);
        let idle = Duration::from_secs(COMPONENT_IDLE_SECS);
        loop {
            while !out.is_whole() {
                let rest = out.bytes.get(out.written..).unwrap_or_default();
                let count = tokio::select! {
                    count = timeout(stall, writer.write(rest)) => count,
                    end = self.ordered() => return end,
                };
                match count {
                    Ok(Ok(count)) if count > 0 => self.progress(out, count),
                    Ok(_) => return End::Gone,
                    Err(_) => {
                        let error = StreamError::new(StreamCondition::ResourceConstraint);
                        return End::Error(error.text("reads too slowly"));
                    }
                }
            }
            if writer.flush().await.is_err() {
                return End::Gone;
            }
            let mailbox = &self.link.mailbox;
            let taken = timeout(idle, std::future::poll_fn(|context| mailbox.poll_take(context)));
            let Ok(taken) = taken.await else {
                // RFC 6120 §4.6.1: whether the connection still carries bytes.
                *out = Outgoing { bytes: b" ".to_vec(), ..Outgoing::default() };
                continue;
            };
            *out = Outgoing { bytes: taken.bytes, ends: taken.ends, ..Outgoing::default() };
            match taken.order {
                Some(Order::End(error)) => return End::Error(error),
                Some(Order::Yield(_) | Order::Lost) => return End::Gone,
                Some(Order::Probe) | None => {}
            }
        }
    }

    /// An order to end, while the component takes nothing.
    async fn ordered(&self) -> End {
        let mailbox = &self.link.mailbox;
        std::future::poll_fn(|context| match mailbox.poll_leave(context) {
            Some(Order::End(error)) => std::task::Poll::Ready(End::Error(error)),
            Some(_) => std::task::Poll::Ready(End::Gone),
            None => std::task::Poll::Pending,
        })
        .await
    }

    /// So much more was written: what is whole counts as delivered.
    fn progress(&self, out: &mut Outgoing, count: usize) {
        out.written = out.written.saturating_add(count);
        let whole = |end: &StanzaEnd| usize::try_from(end.at).is_ok_and(|at| at <= out.written);
        let told = out.ends.partition_point(whole);
        let more = told.saturating_sub(out.told);
        out.told = told;
        if more > 0 {
            self.server.component_wrote(self.component, self.number, more);
        }
    }

    /// Writes the rest of what was begun: no stanza may be cut, and none of these comes twice.
    async fn finish_begun(
        &self,
        writer: &mut WriteHalf<Box<dyn Wire>>,
        out: &mut Outgoing,
    ) -> std::io::Result<()> {
        while !out.is_whole() {
            let rest = out.bytes.get(out.written..).unwrap_or_default();
            match writer.write(rest).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                count => self.progress(out, count),
            }
        }
        Ok(())
    }
}

impl Outgoing {
    /// Whether all that was taken is written.
    fn is_whole(&self) -> bool {
        self.written >= self.bytes.len()
    }
}
