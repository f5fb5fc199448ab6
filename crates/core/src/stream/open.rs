//! A stream that is being negotiated: elements in, XML out, one after the other.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use verona_xml::Tree;
use verona_xml::Writer;
use verona_xml::{Event, ScanError, Scanner};
use verona_xmpp::error::{StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stream::{Content, Header, Opening, Version};

use crate::account::Account;
use crate::server::Server;
use crate::stream::wire::{Gone, Wire};
use crate::token;

/// Bytes read at a time while negotiating.
const READ: usize = 4_096;

/// A stream without a session.
pub struct Open {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub wire: Box<dyn Wire>,
    /// What reads it.
    pub scanner: Scanner,
    /// Who has logged in over it.
    pub account: Option<Arc<Account>>,
    /// The id that our header gave the stream (RFC 6120 §4.7.3); empty before there is one.
    pub id: Box<str>,
    unread: Vec<u8>,
    taken: usize,
    /// Written already, but for the socket: it leaves with what is sent next, or before the peer is
    /// waited for.
    unsent: Vec<u8>,
    /// Elements and bytes read so far, against floods before login.
    elements: u32,
    bytes: usize,
    /// Our header is out, so that an error can follow it (RFC 6120 §4.9.1.2).
    opened: bool,
    /// Until then the peer is waited for. What happens between its elements is never cut short, so
    /// that nothing is left half done.
    deadline: Instant,
    /// Nothing but whitespace has come since a login.
    is_blank: bool,
    /// Logins that have failed.
    failures: u32,
    /// Who speaks over it.
    content: Content,
    /// Whether this server has opened it, so that the peer's header answers ours.
    initiating: bool,
}

/// What came.
pub enum Incoming {
    /// The peer's stream header.
    Header(Result<Header, StreamError>),
    /// A first-level element.
    Element(Tree),
    /// The peer closed the stream.
    Close,
}

/// Why a stream ended before it was a session.
#[derive(Debug)]
pub enum End {
    /// The connection is gone; nobody is there to be told.
    Gone,
    /// The peer closed the stream.
    Closed,
    /// The stream has to end with this error.
    Error(StreamError),
    /// The peer has ended it with this error.
    Refused(StreamError),
}

impl From<StreamCondition> for End {
    fn from(condition: StreamCondition) -> Self {
        Self::Error(condition.into())
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<ScanError> for End {
    fn from(error: ScanError) -> Self {
        Self::Error(stream_error(&error))
    }
}

/// The stream error for bytes that cannot be read (RFC 6120 §4.9.3, §11).
pub fn stream_error(error: &ScanError) -> StreamError {
    let condition = match error {
        ScanError::Restricted => StreamCondition::RestrictedXml,
        ScanError::UnsupportedEncoding | ScanError::NotUtf8 => StreamCondition::UnsupportedEncoding,
        ScanError::TooLarge
        | ScanError::TooDeep
        | ScanError::TooManyAttributes
        | ScanError::TooManyNamespaces
        | ScanError::TooManyElements => StreamCondition::PolicyViolation,
        _ => StreamCondition::NotWellFormed,
    };
    let told = StreamError::new(condition).text(error.to_string());
    match error {
        // XEP-0205 §4.5
        ScanError::TooLarge => told.application("stanza-too-big", ns::APPLICATION_ERRORS),
        _ => told,
    }
}

impl Open {
    /// A client's stream on a fresh connection.
    pub fn new(server: Arc<Server>, wire: Box<dyn Wire>) -> Self {
        let limits = server.policy().limits.clone();
        let deadline = Instant::now() + Duration::from_secs(limits.bind_secs);
        Self {
            server,
            wire,
            account: None,
            scanner: Scanner::stream(limits.before_login()),
            id: Box::default(),
            unread: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
            elements: 0,
            bytes: 0,
            opened: false,
            deadline,
            is_blank: false,
            failures: 0,
            content: Content::Client,
            initiating: false,
        }
    }

    /// A stream with another server, which this one opens (`initiating`) or is called on.
    pub fn between_servers(server: Arc<Server>, wire: Box<dyn Wire>, initiating: bool) -> Self {
        Self { content: Content::Server, initiating, ..Self::new(server, wire) }
    }

    /// Waits for so many seconds from now on, if that is longer than it would else.
    pub fn wait_for(&mut self, secs: u64) {
        let deadline = Instant::now().checked_add(Duration::from_secs(secs));
        self.deadline = deadline.map_or(self.deadline, |deadline| deadline.max(self.deadline));
    }

    /// A stream with a component, whoever has connected to whom.
    pub fn with_component(server: Arc<Server>, wire: Box<dyn Wire>, content: Content) -> Self {
        Self { content, ..Self::new(server, wire) }
    }

    /// Counts a login that has failed. RFC 6120 §6.4.5: after some of them the stream ends.
    pub fn failed(&mut self) -> Result<(), End> {
        self.failures = self.failures.saturating_add(1);
        let limits = &self.server.policy().limits;
        if self.failures >= limits.failed_logins_per_connection && !limits.unlimited {
            let error = StreamError::new(StreamCondition::PolicyViolation);
            return Err(End::Error(error.text("too many failed logins")));
        }
        Ok(())
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Result<Incoming, End> {
        loop {
            let mut input = self.unread.get(self.taken..).unwrap_or_default();
            let waiting = input.len();
            if self.is_blank {
                input = input.trim_ascii_start();
                self.is_blank = input.is_empty();
            }
            let found = match self.scanner.next(&mut input) {
                Ok(None) => None,
                Ok(Some(Event::Open(frame))) => Some(Incoming::Header(match self.initiating {
                    true => Header::read_answer(&frame, self.content),
                    false => Header::read(&frame, self.content),
                })),
                Ok(Some(Event::Close)) => Some(Incoming::Close),
                Ok(Some(Event::Element(frame))) => Some(Incoming::Element(frame.tree()?)),
                Err(error) => return Err(error.into()),
            };
            self.taken = self.taken.saturating_add(waiting.saturating_sub(input.len()));
            if let Some(found) = found {
                self.count()?;
                return Ok(found);
            }
            self.read().await?;
        }
    }

    /// The next element; a header here is an error, a close ends the stream.
    pub async fn element(&mut self) -> Result<Tree, End> {
        match self.next().await? {
            Incoming::Element(tree) => Ok(tree),
            Incoming::Close => Err(End::Closed),
            Incoming::Header(_) => Err(StreamCondition::NotWellFormed.into()),
        }
    }

    /// The next element, with nothing before it, not even whitespace (XEP-0388 §2.4).
    pub async fn element_alone(&mut self) -> Result<Tree, End> {
        if !self.has_unread() {
            self.read().await?;
        }
        let first = self.unread.get(self.taken);
        if self.scanner.pending() == 0 && first.is_some_and(u8::is_ascii_whitespace) {
            return Err(StreamCondition::PolicyViolation.into());
        }
        self.element().await
    }

    async fn read(&mut self) -> Result<(), End> {
        if !self.unsent.is_empty() {
            self.send_bytes(&[]).await?;
        }
        self.unread.clear();
        self.taken = 0;
        self.unread.reserve(READ);
        let read = self.wire.read_buf(&mut self.unread);
        // RFC 6120 §4.9.3.4.
        let count = timeout_at(self.deadline, read)
            .await
            .map_err(|_| End::from(StreamCondition::ConnectionTimeout))??;
        if count == 0 {
            return Err(End::Gone);
        }
        self.bytes = self.bytes.saturating_add(count);
        if self.bytes > self.server.policy().limits.login_bytes_max {
            return Err(StreamCondition::PolicyViolation.into());
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), End> {
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.server.policy().limits.login_elements_max {
            return Err(StreamCondition::PolicyViolation.into());
        }
        Ok(())
    }

    /// Whether bytes of the peer have been received and not looked at.
    pub fn has_unread(&self) -> bool {
        self.taken < self.unread.len() || self.scanner.pending() > 0
    }

    /// Whether more than whitespace of the peer has been received and not looked at.
    pub fn has_unread_xml(&self) -> bool {
        let unread = self.unread.get(self.taken..).unwrap_or_default();
        !unread.trim_ascii().is_empty() || self.scanner.pending() > 0
    }

    /// Writes to the peer.
    pub async fn send(&mut self, text: &str) -> Result<(), End> {
        self.send_bytes(text.as_bytes()).await
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut joined = std::mem::take(&mut self.unsent);
        let bytes = match joined.is_empty() {
            true => bytes,
            false => {
                joined.extend_from_slice(bytes);
                &joined
            }
        };
        // Who takes nothing for so long would not take an error either.
        timeout_at(self.deadline, write(&mut self.wire, bytes)).await.map_err(|_| End::Gone)??;
        Ok(())
    }

    /// Writes an element to the peer, in the content namespace of the stream.
    pub async fn send_with(&mut self, build: impl FnOnce(&mut Writer)) -> Result<(), End> {
        let mut writer = Writer::new(self.content.ns());
        build(&mut writer);
        self.send(&writer.finish()).await
    }

    /// Answers the peer's header with ours (RFC 6120 §4.2, §4.7), in one go with what follows it.
    pub fn answer_header(&mut self, reply: &Opening<'_>) {
        self.opened = true;
        self.id = reply.id.map(Into::into).unwrap_or_default();
        reply.write(&mut self.unsent);
    }

    /// Writes the header that opens the stream (RFC 6120 §4.2).
    pub async fn send_header(&mut self, opening: &Opening<'_>) -> Result<(), End> {
        self.opened = true;
        let mut text = Vec::new();
        opening.write(&mut text);
        self.send_bytes(&text).await
    }

    /// The header that answers ours (RFC 6120 §4.7.3: it names the stream).
    pub async fn header_answer(&mut self) -> Result<Header, End> {
        match self.next().await? {
            Incoming::Header(header) => {
                let header = header.map_err(End::Error)?;
                self.id = header.id.clone().unwrap_or_default();
                Ok(header)
            }
            Incoming::Element(_) => Err(StreamCondition::InvalidXml.into()),
            Incoming::Close => Err(End::Closed),
        }
    }

    /// The other server is known: the bounds of stanzas hold from now on.
    pub fn authenticated(&mut self) {
        self.scanner.set_limits(self.server.policy().limits.between_servers());
        self.elements = 0;
        self.bytes = 0;
    }

    /// Begins TLS as the server of a domain, as the peer has asked for (RFC 6120 §5.4): what was
    /// received before it is never read as XML.
    pub async fn start_tls(&mut self, domain: &str) -> Result<(), End> {
        if !self.wire.can_start_tls() || self.has_unread_xml() {
            // §5.4.2.2: bytes behind the command are an attempt at injection. But
            // compat(go-sendxmpp and others on go-xmpp): a line break, which §5.3.3 forbids, is harmless.
            let _ = self.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            return Err(End::Closed);
        }
        self.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        let wire = std::mem::replace(&mut self.wire, Box::new(Gone));
        self.shake_hands(wire.start_tls(domain)).await
    }

    /// Begins TLS with the server of `remote`, which has just agreed to it, in the name of `local`.
    pub async fn connect_tls(&mut self, local: &str, remote: &str) -> Result<(), End> {
        // RFC 6120 §5.4.3.3: what came in plaintext is worth nothing, and what came behind the last
        // word of it was put there by somebody.
        if self.has_unread_xml() {
            return Err(StreamCondition::PolicyViolation.into());
        }
        let wire = std::mem::replace(&mut self.wire, Box::new(Gone));
        self.shake_hands(wire.connect_tls(local, remote)).await
    }

    async fn shake_hands(
        &mut self,
        handshake: BoxFuture<'static, io::Result<Box<dyn Wire>>>,
    ) -> Result<(), End> {
        let secs = self.server.policy().limits.tls_secs;
        match tokio::time::timeout(Duration::from_secs(secs), handshake).await {
            Ok(Ok(wire)) => self.wire = wire,
            // §5.4.3.2: the TCP connection ends.
            Ok(Err(_)) | Err(_) => return Err(End::Gone),
        }
        self.restart();
        Ok(())
    }

    /// Begins the stream anew on the same connection (RFC 6120 §4.3.3): all that was received is
    /// forgotten.
    pub fn restart(&mut self) {
        self.scanner.restart();
        self.unread = Vec::new();
        self.taken = 0;
        self.opened = false;
    }

    /// Begins the stream anew behind a SASL success, keeping what the peer may have sent already.
    ///
    /// compat(go-sendxmpp and others on go-xmpp): the line break behind their last element, which
    /// RFC 6120 §6.3.5 forbids, is no beginning of the new stream.
    pub fn restart_keeping(&mut self) {
        self.scanner.restart();
        self.opened = false;
        self.is_blank = true;
    }

    /// Takes the bytes that were received and not looked at.
    pub fn take_unread(&mut self) -> Vec<u8> {
        let unread = std::mem::take(&mut self.unread);
        let rest = unread.get(self.taken..).unwrap_or_default().to_vec();
        self.taken = 0;
        rest
    }

    /// Ends the stream as its end demands (RFC 6120 §4.4, §4.9.1) and closes the connection.
    pub async fn finish(mut self, end: End, host: Option<&Jid>, who: impl Display) {
        let mut last = std::mem::take(&mut self.unsent);
        match end {
            End::Gone => return,
            End::Closed => {}
            End::Refused(error) => {
                tracing::debug!(stream = %self.id, peer = %who, %error, "stream ended by the peer");
            }
            End::Error(error) => {
                tracing::debug!(stream = %self.id, peer = %who, %error, "stream ended");
                if !self.opened {
                    let id = token::random();
                    let opening = Opening {
                        content: self.content,
                        from: host,
                        to: None,
                        id: Some(&id),
                        version: Some(Version::CURRENT),
                        dialback: self.content == Content::Server,
                    };
                    opening.write(&mut last);
                }
                last.extend_from_slice(error.to_xml().as_bytes());
            }
        }
        last.extend_from_slice(b"</stream:stream>");
        let limit = Duration::from_secs(crate::limits::CLOSE_SECS);
        let _ = tokio::time::timeout(limit, async {
            let _ = write(&mut self.wire, &last).await;
            let _ = self.wire.shutdown().await;
        })
        .await;
    }
}

async fn write(wire: &mut Box<dyn Wire>, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await
}
