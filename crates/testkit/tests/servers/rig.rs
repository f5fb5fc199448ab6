//! A network of servers in memory, and peers that are played by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use verona_core::federation::reach::{
    Dialled, Distrust, Pair, Proof, ProvenBy, Reach, Target, Unreachable,
};
use verona_core::limits::Limits;
use verona_core::server::{Host, Identity, Policy, Registry, Server};
use verona_core::stream::server::established::Established;
use verona_core::stream::server::incoming::accept;
use verona_core::stream::server::outgoing::{Attempt, establish};
use verona_core::stream::server::state::Rules;
use verona_core::stream::wire::Wire;
use verona_stores::memory::Memory;
use verona_testkit::address::Address;
use verona_testkit::memory::settings;
use verona_testkit::node::{NS_STREAM, Node};
use verona_testkit::place::Link;
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::ITERATIONS_MIN;
use verona_xmpp::sasl::decoy::Decoy;

pub const NS_DIALBACK: &str = "jabber:server:dialback";
pub const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// All domains and who answers for them.
#[derive(Default)]
pub struct Network {
    doors: Mutex<BTreeMap<String, Door>>,
    /// Domains whose certificates are good.
    trusted: Mutex<BTreeSet<String>>,
    /// Which domains were called, in order, with the name of who called.
    pub calls: Mutex<Vec<String>>,
    /// The connections of those calls, in the same order.
    lines: Mutex<Vec<Arc<Mutex<Shown>>>>,
}

#[derive(Clone)]
enum Door {
    /// A server, and where its established streams go.
    Server(Arc<Server>, UnboundedSender<Established>),
    /// A peer that is played by hand.
    Hand(UnboundedSender<End>),
}

/// A server of the network.
pub struct Site {
    pub server: Arc<Server>,
    accepted: UnboundedReceiver<Established>,
}

impl Network {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Says that the certificate of a domain is good in everybody's eyes.
    pub fn trust(&self, domain: &str) {
        self.trusted.lock().unwrap().insert(domain.to_owned());
    }

    /// Adds a server with some domains.
    pub fn site(self: &Arc<Self>, domains: &[&str]) -> Site {
        self.site_with(domains, Limits::default(), Rules::default())
    }

    pub fn site_with(self: &Arc<Self>, domains: &[&str], limits: Limits, rules: Rules) -> Site {
        let hosts = domains.iter().map(|name| Host::new(settings(name), Registry::default()));
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&domains[0].as_bytes()[..4]);
        let decoy = Arc::new(Decoy::new(&secret, ITERATIONS_MIN).unwrap());
        let identity = Identity { epoch: 1, secret, decoy };
        let policy = Policy { limits, require_tls: true, legacy_auth: false };
        let server = Server::new(Arc::new(Memory::new()), hosts.collect(), policy, identity);
        server.streams.set_rules(rules);
        server.streams.reach_by(Arc::new(Ways { network: self.clone() }));
        let (sender, accepted) = unbounded_channel();
        for domain in domains {
            let door = Door::Server(server.clone(), sender.clone());
            self.doors.lock().unwrap().insert((*domain).to_owned(), door);
        }
        Site { server, accepted }
    }

    /// Adds a domain whose server is played by hand.
    pub fn by_hand(&self, domain: &str) -> UnboundedReceiver<End> {
        let (sender, ends) = unbounded_channel();
        self.doors.lock().unwrap().insert(domain.to_owned(), Door::Hand(sender));
        ends
    }

    /// How often a domain was called.
    pub fn calls_to(&self, domain: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| **call == domain).count()
    }

    /// How often who called has said something to which an answer could be waited for, on the last
    /// connection to a domain: the round trips, without those of TCP and TLS.
    pub fn round_trips_to(&self, domain: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        let last = calls.iter().rposition(|call| call == domain).expect("a call");
        self.lines.lock().unwrap()[last].lock().unwrap().round_trips
    }
}

impl Site {
    /// Opens a stream to another domain.
    pub async fn establish(&self, local: &str, remote: &str) -> Attempt {
        establish(&self.server, &pair(local, remote), None).await
    }

    /// The next stream that was accepted.
    pub async fn accepted(&mut self) -> Established {
        let waiting = tokio::time::timeout(Duration::from_secs(10), self.accepted.recv());
        waiting.await.expect("a stream in time").expect("a stream")
    }

    /// Whether a stream was accepted that nobody has asked for yet.
    pub fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// A connection to the server on which a peer with this certificate is played by hand; a name of
    /// nothing is no certificate.
    pub async fn call(&self, certificate: &str) -> Hand {
        let (near, far) = pipes();
        near.shared.lock().unwrap().calling = chain(certificate);
        let (server, task) = (self.server.clone(), far);
        let (sender, accepted) = unbounded_channel();
        tokio::spawn(async move {
            if let Some(established) = accept(server, Box::new(task)).await {
                let _ = sender.send(established);
            }
        });
        Hand { raw: raw(near).await, accepted }
    }

    /// The key with which `local`, which is served here, proves itself.
    pub fn key(&self, receiving: &str, originating: &str, stream: &str) -> String {
        self.server.streams.secret.key(&jid(receiving), &jid(originating), stream)
    }
}

pub fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

pub fn pair(local: &str, remote: &str) -> Pair {
    Pair { local: jid(local), remote: jid(remote) }
}

/// A peer that is played by hand and has called a server.
pub struct Hand {
    pub raw: Raw,
    accepted: UnboundedReceiver<Established>,
}

impl Hand {
    /// Sends the header of a server, and gives back the stream id and the features.
    pub async fn open(&mut self, from: &str, to: &str) -> (String, Node) {
        self.send_header(from, to).await;
        let Item::Open(header) = self.raw.item().await.unwrap() else { panic!("no header") };
        assert_eq!(header.attr("from"), Some(to));
        let features = self.raw.element().await.unwrap();
        assert!(features.is("features", NS_STREAM), "{}", features.pretty(0));
        (header.attr("id").unwrap().to_owned(), features)
    }

    pub async fn send_header(&mut self, from: &str, to: &str) {
        self.raw.begin_anew();
        self.send(&header(from, to)).await;
    }

    /// Opens a stream with STARTTLS.
    pub async fn open_secure(&mut self, from: &str, to: &str) -> (String, Node) {
        self.open(from, to).await;
        self.send(STARTTLS).await;
        assert!(self.raw.element().await.unwrap().is("proceed", NS_TLS));
        self.open(from, to).await
    }

    pub async fn send(&mut self, text: &str) {
        self.raw.send(text.as_bytes()).await.unwrap();
    }

    pub async fn element(&mut self) -> Node {
        self.raw.element().await.unwrap()
    }

    /// What became of the stream.
    pub async fn established(&mut self) -> Established {
        let waiting = tokio::time::timeout(Duration::from_secs(10), self.accepted.recv());
        waiting.await.expect("it is established in time").expect("it is established")
    }

    pub async fn expect_error(&mut self, condition: &str) {
        self.raw.expect_stream_error(condition).await.unwrap();
        assert!(self.accepted.is_empty(), "and nothing was established");
    }
}

/// What is at the other end of a stream that a server has opened: played by hand.
pub async fn answer(ends: &mut UnboundedReceiver<End>) -> Raw {
    let waiting = tokio::time::timeout(Duration::from_secs(10), ends.recv());
    raw(waiting.await.expect("a call in time").expect("a call")).await
}

/// Answers the header of a server, up to the features.
pub async fn greet(raw: &mut Raw, from: &str, id: &str, features: &str) -> Node {
    raw.begin_anew();
    let Item::Open(theirs) = raw.item().await.unwrap() else { panic!("no header") };
    let text = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='{NS_DIALBACK}' \
         xmlns:stream='{NS_STREAM}' from='{from}' id='{id}' version='1.0'>\
         <stream:features>{features}</stream:features>"
    );
    raw.send(text.as_bytes()).await.unwrap();
    theirs
}

/// Answers up to the features behind STARTTLS.
pub async fn greet_secure(raw: &mut Raw, from: &str, id: &str, features: &str) -> Node {
    greet(raw, from, "before", STARTTLS).await;
    assert!(raw.element().await.unwrap().is("starttls", NS_TLS));
    raw.send(format!("<proceed xmlns='{NS_TLS}'/>").as_bytes()).await.unwrap();
    greet(raw, from, id, features).await
}

pub fn header(from: &str, to: &str) -> String {
    let from = if from.is_empty() { String::new() } else { format!(" from='{from}'") };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='{NS_DIALBACK}' \
         xmlns:stream='{NS_STREAM}'{from} to='{to}' version='1.0'>"
    )
}

pub fn result(from: &str, to: &str, key: &str) -> String {
    format!("<db:result from='{from}' to='{to}'>{key}</db:result>")
}

pub fn verify(from: &str, to: &str, id: &str, key: &str) -> String {
    format!("<db:verify from='{from}' to='{to}' id='{id}'>{key}</db:verify>")
}

/// The condition of the error in an element of dialback.
pub fn fault(node: &Node) -> Option<&str> {
    assert_eq!(node.attr("type"), Some("error"), "{}", node.pretty(0));
    let error = node.child("error", "jabber:server")?;
    let condition = error.children().find(|child| child.ns == NS_STANZAS)?;
    Some(&condition.name)
}

async fn raw(end: End) -> Raw {
    let nobody = Address::parse("nobody@localhost/none").unwrap();
    Raw::over(Link::plain(end), &nobody).await.unwrap()
}

fn chain(domain: &str) -> Vec<Vec<u8>> {
    if domain.is_empty() { Vec::new() } else { vec![domain.as_bytes().to_vec()] }
}

/// The ways of one server to the others.
struct Ways {
    network: Arc<Network>,
}

impl Reach for Ways {
    fn dial<'a>(&'a self, pair: &'a Pair) -> BoxFuture<'a, Result<Dialled, Unreachable>> {
        Box::pin(async move {
            let domain = pair.remote.domain();
            self.network.calls.lock().unwrap().push(domain.to_owned());
            let (near, far) = pipes();
            self.network.lines.lock().unwrap().push(near.shared.clone());
            let door = self.network.doors.lock().unwrap().get(domain).cloned();
            let steps = vec![format!("no records for {domain}")];
            let door = door.ok_or(Unreachable { unknown: true, steps })?;
            match door {
                Door::Server(server, established) => {
                    tokio::spawn(async move {
                        if let Some(stream) = accept(server, Box::new(far)).await {
                            let _ = established.send(stream);
                        }
                    });
                }
                Door::Hand(ends) => {
                    far.shared.lock().unwrap().called = chain(domain);
                    let _ = ends.send(far);
                }
            }
            let host = format!("xmpp.{domain}");
            let address = (Ipv4Addr::LOCALHOST, 5269).into();
            let target = Target { host, address, direct_tls: false, signed: false };
            Ok(Dialled { wire: Box::new(near), target, steps: Vec::new() })
        })
    }

    fn judge<'a>(
        &'a self,
        chain: &'a [Vec<u8>],
        domain: &'a str,
        _: Option<&'a Target>,
    ) -> BoxFuture<'a, Result<Proof, Distrust>> {
        Box::pin(async move {
            // One certificate is good for a domain and what is below it.
            let names = |name: &[u8]| {
                let name = std::str::from_utf8(name).unwrap();
                domain == name || domain.ends_with(&format!(".{name}"))
            };
            let good = |name: &[u8]| {
                let name = std::str::from_utf8(name).unwrap();
                self.network.trusted.lock().unwrap().contains(name)
            };
            match chain.first() {
                Some(first) if names(first) && good(first) => Ok(Proof {
                    by: ProvenBy::Pkix,
                    until: SystemTime::now() + Duration::from_secs(3_600),
                }),
                Some(first) if names(first) => Err(Distrust("it is self-signed".to_owned())),
                Some(_) => Err(Distrust("it is for another domain".to_owned())),
                None => Err(Distrust("there is none".to_owned())),
            }
        })
    }
}

/// One end of a connection in memory.
pub struct End {
    pipe: DuplexStream,
    shared: Arc<Mutex<Shown>>,
    side: Side,
    secure: bool,
}

/// The certificates that the two sides have shown, and how often they took turns.
#[derive(Default)]
struct Shown {
    calling: Vec<Vec<u8>>,
    called: Vec<Vec<u8>>,
    round_trips: usize,
    last: Option<Side>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Side {
    Calling,
    Called,
}

fn pipes() -> (End, End) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let shared = Arc::<Mutex<Shown>>::default();
    let end = |pipe, side| End { pipe, shared: shared.clone(), side, secure: false };
    (end(near, Side::Calling), end(far, Side::Called))
}

impl Wire for End {
    fn peer(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn is_secure(&self) -> bool {
        self.secure
    }

    fn can_start_tls(&self) -> bool {
        !self.secure && self.side == Side::Called
    }

    fn start_tls(
        mut self: Box<Self>,
        domain: &str,
    ) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        self.shared.lock().unwrap().called = chain(domain);
        self.secure = true;
        Box::pin(async { Ok(self as Box<dyn Wire>) })
    }

    fn connect_tls(
        mut self: Box<Self>,
        local: &str,
        _: &str,
    ) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        self.shared.lock().unwrap().calling = chain(local);
        self.secure = true;
        Box::pin(async { Ok(self as Box<dyn Wire>) })
    }

    fn peer_chain(&self) -> Vec<Vec<u8>> {
        let shown = self.shared.lock().unwrap();
        match (self.secure, self.side) {
            (false, _) => Vec::new(),
            (true, Side::Calling) => shown.called.clone(),
            (true, Side::Called) => shown.calling.clone(),
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut shown = self.shared.lock().unwrap();
        if shown.last.replace(self.side) != Some(self.side) && self.side == Side::Calling {
            shown.round_trips += 1;
        }
        drop(shown);
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
