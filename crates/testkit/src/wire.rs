//! One connection: bytes out, elements in, and no wait without an end.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::node::{NS_CLIENT, NS_COMPONENT, NS_STREAM, Node};
use crate::place::{Link, Pipe, Security};
use crate::reader::{Item, Reader, XmlError};
use crate::tls;

/// How long a client waits for something that must come, where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

const READ_BYTES: usize = 16 * 1024;
const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// Why a client cannot go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// What was waited for did not come in time.
    Late(String),
    /// The other side closed the stream or the connection.
    Closed(String),
    /// The connection failed.
    Io(String),
    /// What came is not XML.
    Xml(XmlError),
    /// Something else came.
    Unexpected(String, Box<Node>),
    /// The login was refused with this SASL failure.
    Refused(Box<Node>),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(what) => write!(f, "{what} did not come in time"),
            Self::Closed(what) => write!(f, "the stream ended while waiting for {what}"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Xml(error) => write!(f, "what came is not XML: {error}"),
            Self::Unexpected(what, node) => {
                write!(f, "waiting for {what}, received\n{}", node.pretty(4))
            }
            Self::Refused(node) => write!(f, "the login was refused\n{}", node.pretty(4)),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<XmlError> for Trouble {
    fn from(error: XmlError) -> Self {
        Self::Xml(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// A connection with the stream on it.
pub struct Wire {
    pipe: Box<dyn Pipe>,
    reader: Reader,
    patience: Duration,
}

impl Wire {
    /// Takes a connection over; direct TLS begins here, STARTTLS does not.
    pub async fn new(link: Link, domain: &str, patience: Duration) -> Result<Self, Trouble> {
        let mut wire = Self { pipe: link.pipe, reader: Reader::new(), patience };
        if link.security == Security::Tls {
            wire.secure(domain, true).await?;
        }
        Ok(wire)
    }

    /// Opens a stream and gives back its features; STARTTLS is done on the way if it is asked for.
    pub async fn open(&mut self, domain: &str, security: Security) -> Result<Node, Trouble> {
        let features = self.open_stream(domain).await?;
        if security != Security::StartTls {
            return Ok(features);
        }
        self.start_tls(domain).await?;
        self.open_stream(domain).await
    }

    /// Opens the stream of a component and gives back its id (XEP-0114 §3).
    pub async fn open_component(&mut self, domain: &str) -> Result<String, Trouble> {
        self.begin_anew();
        let header = format!(
            "<stream:stream to='{domain}' xmlns='{NS_COMPONENT}' xmlns:stream='{NS_STREAM}'>"
        );
        self.send(header.as_bytes()).await?;
        match self.item("the stream header").await? {
            Item::Open(header) => Ok(header.attr("id").unwrap_or_default().to_owned()),
            Item::Element(other) => {
                Err(Trouble::Unexpected("the stream header".to_owned(), Box::new(other)))
            }
            Item::Close => Err(Trouble::Closed("the stream header".to_owned())),
        }
    }

    /// Asks for STARTTLS and shakes hands (RFC 6120 §5.4).
    pub async fn start_tls(&mut self, domain: &str) -> Result<(), Trouble> {
        self.send(format!("<starttls xmlns='{NS_TLS}'/>").as_bytes()).await?;
        self.expect("proceed", NS_TLS).await?;
        self.secure(domain, false).await?;
        self.begin_anew();
        Ok(())
    }

    /// Takes what comes next for the beginning of a document.
    pub fn begin_anew(&mut self) {
        self.reader = Reader::new();
    }

    /// Waits longer, or less long, for whatever comes from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Begins a new stream on the same connection (RFC 6120 §4.3.3) and gives back its features.
    pub async fn open_stream(&mut self, domain: &str) -> Result<Node, Trouble> {
        self.begin_anew();
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
             xmlns='{NS_CLIENT}' xmlns:stream='{NS_STREAM}'>"
        );
        self.send(header.as_bytes()).await?;
        match self.item("the stream header").await? {
            Item::Open(header) if header.is("stream", NS_STREAM) => {}
            Item::Open(other) | Item::Element(other) => {
                return Err(Trouble::Unexpected("the stream header".to_owned(), Box::new(other)));
            }
            Item::Close => return Err(Trouble::Closed("the stream header".to_owned())),
        }
        self.expect("features", NS_STREAM).await
    }

    async fn secure(&mut self, domain: &str, direct: bool) -> Result<(), Trouble> {
        // The pipe is away during the handshake; when it fails, nothing can be read any more.
        let pipe = std::mem::replace(
            &mut self.pipe,
            Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink())),
        );
        let deadline = Instant::now() + self.patience;
        self.pipe = timeout_at(deadline, tls::wrap(pipe, domain, direct))
            .await
            .map_err(|_| Trouble::Late("the TLS handshake".to_owned()))??;
        Ok(())
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience;
        let write = async {
            self.pipe.write_all(bytes).await?;
            self.pipe.flush().await
        };
        let sent = timeout_at(deadline, write).await;
        Ok(sent.map_err(|_| Trouble::Late("room to write".to_owned()))??)
    }

    /// Waits for the next item; `what` is for the message when it does not come.
    pub async fn item(&mut self, what: &str) -> Result<Item, Trouble> {
        let deadline = Instant::now() + self.patience;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(mut item) = self.reader.pop() {
                // A stanza is the same on every stream, so a script writes it in one way.
                if let Item::Element(node) = &mut item {
                    node.rename(NS_COMPONENT, NS_CLIENT);
                }
                return Ok(item);
            }
            let read = timeout_at(deadline, self.pipe.read(&mut buffer)).await;
            match read.map_err(|_| Trouble::Late(what.to_owned()))? {
                Ok(0) => return Err(Trouble::Closed(what.to_owned())),
                Ok(count) => self.reader.push(buffer.get(..count).unwrap_or_default())?,
                // Closing with unread input resets the connection: it is an end all the same.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Trouble::Closed(what.to_owned()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the next element.
    pub async fn element(&mut self, what: &str) -> Result<Node, Trouble> {
        match self.item(what).await? {
            Item::Element(node) => Ok(node),
            Item::Open(node) => Err(Trouble::Unexpected(what.to_owned(), Box::new(node))),
            Item::Close => Err(Trouble::Closed(what.to_owned())),
        }
    }

    /// Waits for the next element, which must be this one.
    pub async fn expect(&mut self, name: &str, ns: &str) -> Result<Node, Trouble> {
        let what = format!("<{name} xmlns='{ns}'/>");
        let node = self.element(&what).await?;
        match node.is(name, ns) {
            true => Ok(node),
            false => Err(Trouble::Unexpected(what, Box::new(node))),
        }
    }

    /// Sends the end of the stream.
    pub async fn close(&mut self) -> Result<(), Trouble> {
        self.send(b"</stream:stream>").await
    }

    /// Ends the sending side of the connection, as TLS wants it to be ended.
    pub async fn shutdown(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience;
        let shut = timeout_at(deadline, self.pipe.shutdown()).await;
        // The other side may have been faster.
        let _ = shut.map_err(|_| Trouble::Late("the end of the connection".to_owned()))?;
        Ok(())
    }

    /// Waits for the end of the connection; nothing but the end of the stream may come before.
    pub async fn expect_end(&mut self) -> Result<(), Trouble> {
        loop {
            match self.item("the end of the connection").await {
                Ok(Item::Close) => {}
                Ok(Item::Open(node) | Item::Element(node)) => {
                    let what = "the end of the connection".to_owned();
                    return Err(Trouble::Unexpected(what, Box::new(node)));
                }
                Err(Trouble::Closed(_)) => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }
}
