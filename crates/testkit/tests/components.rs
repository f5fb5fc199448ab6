//! What is for a component arrives once and in order, however its connections break (XEP-0114, and the
//! rules in `core/src/component/mod.rs`).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use verona_core::component::settings::ComponentSettings;
use verona_core::component::stream::serve;
use verona_core::hooks::Registry;
use verona_core::limits::Limits;
use verona_core::server::{Host, Identity, Policy, Server};
use verona_core::store::Store;
use verona_core::store::ticket::Ticket;
use verona_core::stream::wire::Wire;
use verona_core::trail::{Step, Trail};
use verona_stores::memory::Memory;
use verona_testkit::memory::settings;
use verona_testkit::node::Node;
use verona_testkit::reader::{Item, Reader};
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::ITERATIONS_MIN;
use verona_xmpp::sasl::decoy::Decoy;
use verona_xmpp::stanza::Stanza;

const DOMAIN: &str = "irc.capulet.lit";
const SECRET: &str = "deny thy father and refuse thy name";
const WITHIN: Duration = Duration::from_secs(20);

fn server(store: Arc<dyn Store>) -> Arc<Server> {
    let secret = [7; 32];
    let decoy = Arc::new(Decoy::new(&secret, ITERATIONS_MIN).unwrap());
    let policy = Policy {
        limits: Limits { unlimited: true, ..Limits::default() },
        require_tls: false,
        legacy_auth: false,
    };
    let hosts = vec![Host::new(settings("capulet.lit"), Registry::default())];
    Server::new(store, hosts, policy, Identity { epoch: 1, secret, decoy })
}

async fn with_component(store: Arc<dyn Store>, change: fn(&mut ComponentSettings)) -> Arc<Server> {
    let server = server(store);
    let mut settings = ComponentSettings::new(Jid::parse(DOMAIN).unwrap(), SECRET);
    change(&mut settings);
    server.set_components(vec![settings]).await.unwrap();
    server
}

/// A connection that breaks after so many bytes from the server.
struct Cut {
    pipe: DuplexStream,
    left: usize,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(self.left);
        if most == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.pipe).poll_write(context, &bytes[..most]);
        if let Poll::Ready(Ok(count)) = &written {
            self.left -= count;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Cut {
    fn peer(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// A component at its end of a connection.
struct Component {
    pipe: DuplexStream,
    reader: Reader,
}

impl Component {
    /// Connects and proves the secret. The connection breaks `bytes` after that.
    async fn connect(server: &Arc<Server>, bytes: usize) -> Self {
        let (near, far) = tokio::io::duplex(1024);
        let wire = Cut { pipe: far, left: usize::MAX };
        let mut component = Self { pipe: near, reader: Reader::new() };
        let header = format!(
            "<stream:stream to='{DOMAIN}' xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        component.pipe.write_all(header.as_bytes()).await.unwrap();
        let wire = Counted::new(wire, bytes);
        tokio::spawn(serve(server.clone(), Box::new(wire), Box::new(|| {})));
        let Some(Item::Open(header)) = component.item().await else { panic!("no header") };
        let id = header.attr("id").unwrap().to_owned();
        let digest = Sha1::digest([id.as_str(), SECRET].concat());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let handshake = format!("<handshake>{hex}</handshake>");
        component.pipe.write_all(handshake.as_bytes()).await.unwrap();
        let answer = component.element().await.expect("an answer to the handshake");
        assert_eq!(answer.name, "handshake", "{answer:?}");
        component
    }

    async fn item(&mut self) -> Option<Item> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(item) = self.reader.pop() {
                return Some(item);
            }
            let read = tokio::time::timeout(WITHIN, self.pipe.read(&mut buffer)).await;
            match read.expect("something comes, or the end").unwrap_or(0) {
                0 => return None,
                count => self.reader.push(&buffer[..count]).unwrap(),
            }
        }
    }

    async fn element(&mut self) -> Option<Node> {
        match self.item().await {
            Some(Item::Element(node)) => Some(node),
            _ => None,
        }
    }

    /// The ids of all messages up to the end of the connection, or up to one.
    async fn ids(&mut self, last: Option<&str>) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(node) = self.element().await {
            let id = node.attr("id").unwrap_or_default().to_owned();
            let is_last = last == Some(&id);
            ids.push(id);
            if is_last {
                break;
            }
        }
        ids
    }
}

/// A wire that breaks so many bytes after the handshake was answered.
struct Counted {
    wire: Cut,
    after: usize,
    shaken: bool,
}

impl Counted {
    fn new(wire: Cut, after: usize) -> Self {
        Self { wire, after, shaken: false }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let handshake = bytes == b"<handshake/>";
        let written = Pin::new(&mut self.wire).poll_write(context, bytes);
        if handshake && written.is_ready() && !self.shaken {
            self.shaken = true;
            self.wire.left = self.after;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

impl Wire for Counted {
    fn peer(&self) -> IpAddr {
        self.wire.peer()
    }
}

/// Sends a message from somebody; what its acknowledgement waits for.
async fn send(server: &Arc<Server>, who: &str, id: &str) -> Ticket {
    let text = format!(
        "<message to='romeo@{DOMAIN}' from='{who}@capulet.lit/x' id='{id}' type='chat'>\
         <body>{}</body></message>",
        "Romeo ".repeat(20)
    );
    let trail = Trail::of(Stanza::parse(&text).unwrap(), None);
    let kept = match server.carry_out(trail) {
        Step::Done(kept) => kept,
        Step::Later(later) => tokio::time::timeout(WITHIN, later).await.expect("room"),
    };
    kept.into_iter().next().expect("it is kept, or will be told of").ticket
}

async fn settled(ticket: Ticket) {
    tokio::time::timeout(WITHIN, ticket).await.expect("an outcome").expect("durable");
}

#[tokio::test]
async fn messages_survive_connections_that_break_in_mid_flow() {
    const COUNT: usize = 600;
    let server = with_component(Arc::new(Memory::new()), |_| {}).await;
    let sender = tokio::spawn({
        let server = server.clone();
        async move {
            let mut tickets = Vec::new();
            for n in 0..COUNT {
                tickets.push(send(&server, "juliet", &format!("m{n}")).await);
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            for ticket in tickets {
                settled(ticket).await;
            }
        }
    });
    let mut arrived = Vec::new();
    let mut cuts = 0_usize;
    let last = format!("m{}", COUNT - 1);
    while arrived.last() != Some(&last) {
        assert!(cuts < 2_000, "it does not go on behind {:?}", arrived.last());
        // Somewhere within one of the next few messages.
        let bytes = 100 + cuts * 7_919 % 2_000;
        cuts += 1;
        let mut component = Component::connect(&server, bytes).await;
        arrived.extend(component.ids(Some(&last)).await);
        drop(component);
        while !server.components.find(DOMAIN).unwrap().is_away() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let expected: Vec<String> = (0..COUNT).map(|n| format!("m{n}")).collect();
    assert_eq!(arrived, expected, "after {cuts} cuts");
    assert!(cuts > 50, "only {cuts} cuts");
    sender.await.unwrap();
    // The queue is empty again.
    settle_down(&server).await;
}

async fn settle_down(server: &Arc<Server>) {
    let component = server.components.find(DOMAIN).unwrap();
    for _ in 0..2_000 {
        if component.count().1 == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} stanzas are left in the queue", component.count().1);
}

#[tokio::test]
async fn acknowledgement_waits_until_a_message_is_written_or_durable() {
    let server = with_component(Arc::new(Memory::new()), |_| {}).await;
    let mut component = Component::connect(&server, usize::MAX).await;
    // The pipe holds less than that, and the component does not read.
    let mut tickets = Vec::new();
    for n in 0..40 {
        tickets.push(send(&server, "juliet", &format!("m{n}")).await);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tickets[39].clone().now_or_never().is_none(), "nobody has it");
    assert_eq!(server.components.find(DOMAIN).unwrap().count(), (1, 0), "nor is it on disk");
    assert_eq!(component.ids(Some("m39")).await.len(), 40);
    for ticket in tickets {
        settled(ticket).await;
    }
    // Without a connection it follows the commit.
    drop(component);
    while !server.components.find(DOMAIN).unwrap().is_away() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    settled(send(&server, "juliet", "late").await).await;
    assert_eq!(server.components.find(DOMAIN).unwrap().count(), (0, 1));
}

#[tokio::test]
async fn what_waits_lives_through_a_restart() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let server = with_component(store.clone(), |_| {}).await;
    for id in ["a", "b", "c"] {
        settled(send(&server, "juliet", id).await).await;
    }
    let again = with_component(store, |_| {}).await;
    assert_eq!(again.components.find(DOMAIN).unwrap().count(), (0, 3));
    let mut component = Component::connect(&again, usize::MAX).await;
    assert_eq!(component.ids(Some("c")).await, ["a", "b", "c"]);
    settle_down(&again).await;
}

#[tokio::test]
async fn several_connections_lose_and_double_nothing_while_they_come_and_go() {
    const COUNT: usize = 300;
    let server =
        with_component(Arc::new(Memory::new()), |settings| settings.connections_max = 3).await;
    let senders = ["juliet", "nurse", "tybalt", "paris"].map(|who| {
        let server = server.clone();
        tokio::spawn(async move {
            for n in 0..COUNT {
                send(&server, who, &format!("{who} {n}")).await;
                if n % 5 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        })
    });
    let arrived = Arc::new(std::sync::Mutex::new(Vec::new()));
    let readers = (0..3).map(|nth| {
        let (server, arrived) = (server.clone(), arrived.clone());
        tokio::spawn(async move {
            for round in 0..400_usize {
                if arrived.lock().unwrap().len() >= 4 * COUNT {
                    return;
                }
                let bytes = 300 + (round * 3 + nth) * 6_007 % 9_000;
                let mut component = Component::connect(&server, bytes).await;
                loop {
                    let next =
                        tokio::time::timeout(Duration::from_millis(300), component.element());
                    match next.await {
                        Ok(Some(node)) => {
                            let id = node.attr("id").unwrap_or_default().to_owned();
                            arrived.lock().unwrap().push(id);
                        }
                        Ok(None) => break,
                        // Nothing comes: because that was all?
                        Err(_) if arrived.lock().unwrap().len() >= 4 * COUNT => return,
                        Err(_) => {}
                    }
                }
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let arrived = arrived.lock().unwrap();
    assert_eq!(arrived.len(), 4 * COUNT);
    let mut sorted = arrived.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 4 * COUNT, "none came twice");
}

#[tokio::test]
async fn one_too_many_connections_are_refused() {
    let server = with_component(Arc::new(Memory::new()), |_| {}).await;
    let _first = Component::connect(&server, usize::MAX).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let wire = Cut { pipe: far, left: usize::MAX };
    tokio::spawn(serve(server.clone(), Box::new(wire), Box::new(|| {})));
    let mut second = Component { pipe: near, reader: Reader::new() };
    let header = format!(
        "<stream:stream to='{DOMAIN}' xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    );
    second.pipe.write_all(header.as_bytes()).await.unwrap();
    let Some(Item::Open(header)) = second.item().await else { panic!("no header") };
    let digest = Sha1::digest([header.attr("id").unwrap(), SECRET].concat());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("<handshake>{hex}</handshake>");
    second.pipe.write_all(text.as_bytes()).await.unwrap();
    let error = second.element().await.expect("an error");
    assert!(error.child("conflict", "urn:ietf:params:xml:ns:xmpp-streams").is_some(), "{error:?}");
}

#[tokio::test]
async fn messages_that_waited_too_long_go_back() {
    let server = with_component(Arc::new(Memory::new()), |settings| settings.wait_secs = 1).await;
    settled(send(&server, "juliet", "old").await).await;
    server.expire_component_queues().await;
    assert_eq!(server.components.find(DOMAIN).unwrap().count(), (0, 1), "not yet");
    server.clock.turn(1_200_000);
    server.expire_component_queues().await;
    assert_eq!(server.components.find(DOMAIN).unwrap().count(), (0, 0));
    // And with the component itself goes all that waits for it.
    settled(send(&server, "juliet", "new").await).await;
    let gone = server.set_components(Vec::new()).await.unwrap();
    assert_eq!(gone, [DOMAIN]);
    let settings = ComponentSettings::new(Jid::parse(DOMAIN).unwrap(), SECRET);
    server.set_components(vec![settings]).await.unwrap();
    assert_eq!(server.components.find(DOMAIN).unwrap().count(), (0, 0));
}
