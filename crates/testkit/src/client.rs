//! A small client: opens a stream, logs in, sends bytes and collects what comes.

use std::collections::VecDeque;
use std::time::Duration;

use sha1::{Digest, Sha1};

use crate::address::Address;
use crate::node::{NS_CLIENT, NS_STREAM, Node, escape};
use crate::parse::ROUND_TRIP;
use crate::place::{HOSTS, Link, Security};
use crate::reader::Item;
use crate::sasl;
use crate::wire::{Trouble, Wire};

const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const NS_BIND2: &str = "urn:xmpp:bind:0";
const NS_SM: &str = "urn:xmpp:sm:3";
const NS_SASL2: &str = "urn:xmpp:sasl:2";
const NS_PING: &str = "urn:xmpp:ping";
const NS_REGISTER: &str = "jabber:iq:register";

/// A client of one server.
pub struct Client {
    wire: Wire,
    /// Of a component's stream.
    stream_id: String,
    address: Address,
    features: Node,
    /// What came while something else was waited for.
    inbox: VecDeque<Node>,
    authenticated: bool,
    bound: bool,
    ended: bool,
    round_trips: usize,
}

impl Client {
    /// Opens a stream to the server of an address, protected as the link says.
    pub async fn connect(
        link: Link,
        address: &Address,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let security = link.security;
        let mut wire = Wire::new(link, &address.domain, patience).await?;
        let (features, stream_id) = match address.is_component() {
            true => (Node::default(), wire.open_component(&address.domain).await?),
            false => (wire.open(&address.domain, security).await?, String::new()),
        };
        Ok(Self {
            wire,
            stream_id,
            address: address.clone(),
            features,
            inbox: VecDeque::new(),
            authenticated: false,
            bound: false,
            ended: false,
            round_trips: 0,
        })
    }

    /// Authenticates and binds the resource of the address.
    pub async fn log_in(&mut self, password: &str) -> Result<(), Trouble> {
        self.authenticate(password).await?;
        self.bind().await
    }

    /// Authenticates, unless that is done, and reads the features of the new stream.
    pub async fn authenticate(&mut self, password: &str) -> Result<(), Trouble> {
        if self.authenticated {
            return Ok(());
        }
        if self.address.is_component() {
            self.shake_hands(password).await?;
            self.authenticated = true;
            return Ok(());
        }
        let local = self.address.local.clone();
        sasl::authenticate(&mut self.wire, &self.features, &local, password).await?;
        self.authenticated = true;
        self.features = self.wire.open_stream(&self.address.domain).await?;
        Ok(())
    }

    /// XEP-0114 §3.
    async fn shake_hands(&mut self, secret: &str) -> Result<(), Trouble> {
        let digest = Sha1::digest([self.stream_id.as_str(), secret].concat());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.wire.send(format!("<handshake>{hex}</handshake>").as_bytes()).await?;
        self.wire.expect("handshake", NS_CLIENT).await?;
        Ok(())
    }

    /// Authenticates by XEP-0388, with a token if there is one, and asks for these things along with
    /// it. The success or failure is what comes next; the features behind a success are read.
    pub async fn log_in_at_once(
        &mut self,
        (password, token): (&str, Option<&str>),
        wishes: &str,
    ) -> Result<(), Trouble> {
        let (wire, name) = (&mut self.wire, self.address.local.as_str());
        let outcome = match token {
            Some(token) => sasl::authenticate_by_token(wire, (name, token), wishes).await,
            None => {
                let who = (name, password);
                sasl::authenticate_at_once(wire, &self.features, who, wishes).await
            }
        };
        let success = match outcome {
            Ok(success) => success,
            Err(Trouble::Refused(failure)) => {
                self.inbox.push_back(*failure);
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        };
        if success.is("continue", NS_SASL2) {
            self.inbox.push_back(success);
            return Ok(());
        }
        self.authenticated = true;
        let resumed = success.child("resumed", NS_SM).is_some();
        self.bound = resumed || success.child("bound", NS_BIND2).is_some();
        self.inbox.push_back(success);
        if !resumed {
            self.features = self.wire.expect("features", NS_STREAM).await?;
        }
        Ok(())
    }

    /// Binds the resource of the address (RFC 6120 §7.7).
    pub async fn bind(&mut self) -> Result<(), Trouble> {
        if self.address.is_component() {
            self.bound = true;
            return Ok(());
        }
        let resource = escape(&self.address.resource);
        let request = format!(
            "<iq type='set' id='bind'><bind xmlns='{NS_BIND}'>\
             <resource>{resource}</resource></bind></iq>"
        );
        self.wire.send(request.as_bytes()).await?;
        let answer = self.wire.element("the answer to bind").await?;
        let bind = answer.child("bind", NS_BIND).and_then(|bind| bind.child("jid", NS_BIND));
        if bind.map(Node::text) != Some(self.address.full()) {
            return Err(Trouble::Unexpected(self.address.full(), Box::new(answer)));
        }
        self.bound = true;
        Ok(())
    }

    /// Makes the account of the address on a stream that is not logged in (XEP-0077 §3.1).
    pub async fn register(&mut self, password: &str) -> Result<(), Trouble> {
        let request = format!(
            "<iq type='set' id='register'><query xmlns='{NS_REGISTER}'><username>{}</username>\
             <password>{}</password></query></iq>",
            escape(&self.address.local),
            escape(password)
        );
        self.wire.send(request.as_bytes()).await?;
        let answer = self.wire.element("the answer to the registration").await?;
        match answer.attr("type") {
            Some("result") => Ok(()),
            _ => Err(Trouble::Unexpected("a registration".to_owned(), Box::new(answer))),
        }
    }

    /// The stream features that came last.
    pub fn features(&self) -> &Node {
        &self.features
    }

    /// Whether a resource is bound and the stream lives, as far as is known.
    pub fn is_bound(&self) -> bool {
        self.bound && !self.ended
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, text: &str) -> Result<(), Trouble> {
        self.wire.send(text.as_bytes()).await
    }

    /// The next element, waiting for it if need be; `what` is for the message when none comes.
    pub async fn element(&mut self, what: &str) -> Result<Node, Trouble> {
        if let Some(node) = self.inbox.pop_front() {
            return Ok(node);
        }
        if self.ended {
            return Err(Trouble::Closed(what.to_owned()));
        }
        let node = self.wire.element(what).await?;
        // XEP-0198 §5, RFC 6120 §7.7.1: a script can do by hand what makes a resource.
        self.bound |= self.authenticated
            && (node.is("resumed", NS_SM) || node.child("bind", NS_BIND).is_some_and(has_jid));
        Ok(node)
    }

    /// Waits for an element that fits and keeps the others in the inbox.
    pub async fn find(
        &mut self,
        what: &str,
        fits: impl Fn(&Node) -> bool,
    ) -> Result<Node, Trouble> {
        if let Some(at) = self.inbox.iter().position(&fits)
            && let Some(node) = self.inbox.remove(at)
        {
            return Ok(node);
        }
        loop {
            let node = self.wire.element(what).await?;
            if fits(&node) {
                return Ok(node);
            }
            self.inbox.push_back(node);
        }
    }

    /// Takes something out of the inbox, if it is there, without waiting.
    pub fn take(&mut self, fits: impl Fn(&Node) -> bool) -> Option<Node> {
        let at = self.inbox.iter().position(fits)?;
        self.inbox.remove(at)
    }

    /// All that has come and was not asked for.
    pub fn inbox(&self) -> impl Iterator<Item = &Node> {
        self.inbox.iter()
    }

    /// Forgets all that has come.
    pub fn clear(&mut self) {
        self.inbox.clear();
    }

    /// Asks the own server for an answer and waits for it: what was sent before has been handled by
    /// then, and what the server sent before is in the inbox (RFC 6120 §10.1).
    ///
    /// Any answer will do. Gives `false` if the stream ended instead.
    pub async fn round_trip(&mut self) -> Result<bool, Trouble> {
        if self.ended {
            return Ok(false);
        }
        let domain = &self.address.domain;
        let addresses = match self.address.is_component() {
            true => format!("from='{domain}' to='{}'", HOSTS[0]),
            false => format!("to='{domain}'"),
        };
        self.ask(&addresses).await
    }

    /// The same with the server of another domain, at which what was sent there before has been handled
    /// by then, and from which has come what it sent here before.
    pub async fn round_trip_to(&mut self, domain: &str) -> Result<bool, Trouble> {
        if self.ended {
            return Ok(false);
        }
        self.ask(&format!("to='{domain}'")).await
    }

    async fn ask(&mut self, addresses: &str) -> Result<bool, Trouble> {
        self.round_trips += 1;
        let id = format!("{ROUND_TRIP}{}", self.round_trips);
        let ping = format!("<iq type='get' {addresses} id='{id}'><ping xmlns='{NS_PING}'/></iq>");
        // When the server has closed, what it said before can still be read.
        let _ = self.wire.send(ping.as_bytes()).await;
        loop {
            match self.wire.item("the answer to a ping").await {
                Ok(Item::Element(node)) => {
                    if node.is("iq", NS_CLIENT) && node.attr("id") == Some(&id) {
                        return Ok(true);
                    }
                    self.inbox.push_back(node);
                }
                Ok(Item::Open(node)) => {
                    return Err(Trouble::Unexpected("a stanza".to_owned(), Box::new(node)));
                }
                Ok(Item::Close) | Err(Trouble::Closed(_)) => {
                    self.ended = true;
                    return Ok(false);
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Closes the stream and waits until the other side has closed it too (RFC 6120 §4.4).
    pub async fn log_out(&mut self) -> Result<(), Trouble> {
        self.wire.close().await?;
        loop {
            match self.wire.item("the end of the stream").await {
                Ok(Item::Element(node)) => self.inbox.push_back(node),
                Ok(Item::Open(node)) => {
                    return Err(Trouble::Unexpected("the end".to_owned(), Box::new(node)));
                }
                Ok(Item::Close) | Err(Trouble::Closed(_)) => {
                    self.ended = true;
                    return self.wire.shutdown().await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Waits for a stream error, which must be followed by the end of stream and connection
    /// (RFC 6120 §4.9.1.1).
    pub async fn stream_error(&mut self) -> Result<Node, Trouble> {
        let what = "a stream error";
        let node = self.element(what).await?;
        if !node.is("error", NS_STREAM) {
            return Err(Trouble::Unexpected(what.to_owned(), Box::new(node)));
        }
        if !self.ended {
            self.wire.expect_end().await?;
        }
        self.ended = true;
        Ok(node)
    }
}

fn has_jid(bind: &Node) -> bool {
    bind.child("jid", NS_BIND).is_some()
}

/// Makes an account over a connection of its own.
pub async fn register(
    link: Link,
    address: &Address,
    password: &str,
    patience: Duration,
) -> Result<(), Trouble> {
    let mut client = Client::connect(link, address, patience).await?;
    client.register(password).await?;
    client.log_out().await
}

/// Tells in words how a connection is protected.
pub fn name_of(security: Security) -> &'static str {
    match security {
        Security::None => "plain",
        Security::StartTls => "starttls",
        Security::Tls => "tls",
    }
}
