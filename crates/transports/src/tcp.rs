//! TCP listeners: connections are taken fast and cheaply, bounded per address before a login.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use verona_core::component;
use verona_core::federation;
use verona_core::server::Server;
use verona_core::stream::client;
use verona_core::stream::wire::Wire;
use verona_xmpp::jid::Jid;

use crate::admission::Admission;
use crate::socket::Plain;
use crate::tls::certificates::Certificates;
use crate::tls::door::Door;

/// Connections that the kernel holds until they are taken.
const BACKLOG: i32 = 4_096;

/// Silence after which the kernel begins to ask whether the peer's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// How long the listener rests when the process is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// What a listener does with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// Clients, in plaintext until STARTTLS (RFC 6120 §5).
    Client,
    /// Clients, with TLS from the first byte (XEP-0368).
    ClientTls,
    /// Other servers, in plaintext until STARTTLS (RFC 6120 §5).
    Server,
    /// Other servers, with TLS from the first byte (XEP-0368).
    ServerTls,
    /// External components (XEP-0114).
    Component,
}

impl Service {
    /// Who may come to it and how, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Client => "clients, with STARTTLS",
            Self::ClientTls => "clients, with TLS from the first byte",
            Self::Server => "other servers, with STARTTLS",
            Self::ServerTls => "other servers, with TLS from the first byte",
            Self::Component => "components",
        }
    }

    /// The settings of TLS: from the first byte on, or for later.
    fn tls(self) -> Begin {
        match self {
            Self::Client | Self::Component => Begin::Later(Door::StartTls),
            Self::ClientTls => Begin::Now(Door::Client),
            Self::Server => Begin::Later(Door::ServerStartTls),
            Self::ServerTls => Begin::Now(Door::Server),
        }
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begin {
    Now(Door),
    Later(Door),
}

/// What connections need.
#[derive(Clone)]
pub struct Shared {
    /// The server.
    pub server: Arc<Server>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    /// Who may come in.
    pub admission: Arc<Admission>,
}

/// Opens a listening socket; IPv6 ones also take IPv4 when they are for all addresses. On a machine
/// without IPv6, `[::]` means all addresses of IPv4.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_to(address).or_else(|error| match without_ipv6(address, &error) {
        Some(address) => bind_to(address),
        None => Err(error),
    })
}

fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let unknown_family =
        error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    let all = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    (unknown_family && all).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes connections until the future is dropped.
pub async fn listen(listener: TcpListener, service: Service, shared: Shared) {
    let mut reserve = reserve();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome(stream, peer, service, &shared),
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                turn_away(&listener, &mut reserve);
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// A file descriptor for the moment when there is no other.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Closes the connections that wait, with the descriptor that was kept for this: who cannot be served
/// learns of it at once and may come again.
fn turn_away(listener: &TcpListener, reserve: &mut Option<File>) {
    drop(reserve.take());
    while let Some(Ok(_)) = listener.accept().now_or_never() {}
    *reserve = self::reserve();
}

fn welcome(stream: TcpStream, peer: SocketAddr, service: Service, shared: &Shared) {
    let limits = shared.server.policy().limits.clone();
    if shared.server.pressure.is_high() {
        tracing::debug!(%peer, "too little memory for a new connection");
        return;
    }
    let Some((guest, unknown)) = shared.admission.admit(peer.ip(), &limits) else {
        tracing::debug!(%peer, "too many connections from this address");
        return;
    };
    if let Err(error) = tune(&stream, limits.unanswered_secs) {
        tracing::debug!(%peer, %error, "connection is gone");
        return;
    }
    let begin = service.tls();
    let (Begin::Now(door) | Begin::Later(door)) = begin;
    let socket = Plain::new(stream, peer.ip(), shared.certificates.clone(), door);
    let server = shared.server.clone();
    tokio::spawn(async move {
        let limit = Duration::from_secs(limits.tls_secs);
        let wire = Box::pin(open(socket, begin, limit)).await;
        let Some(wire) = wire else { return };
        // Once logged in, the connection counts no more among the unknown ones.
        let known = Box::new(move || drop(unknown));
        let _until_it_ends = guest;
        match service {
            Service::Client | Service::ClientTls => client::serve(server, wire, known).await,
            // Boxed, so that the task of each client is no larger than a client needs.
            Service::Server | Service::ServerTls => {
                Box::pin(federation::serve(server, wire, known)).await;
            }
            Service::Component => {
                Box::pin(component::stream::serve(server, wire, known)).await;
            }
        }
    });
}

/// Connects to a component and serves it until the connection ends (XEP-0114 §3). True: the component
/// had proven to be there.
pub async fn call_component(address: SocketAddr, component: Jid, shared: &Shared) -> bool {
    let limit = Duration::from_secs(shared.server.policy().limits.first_byte_secs);
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%component, %address, %error, "component cannot be reached");
            return false;
        }
        Err(_) => {
            tracing::info!(%component, %address, "component does not answer");
            return false;
        }
    };
    let unanswered_secs = shared.server.policy().limits.unanswered_secs;
    if tune(&stream, unanswered_secs).is_err() {
        return false;
    }
    let certificates = shared.certificates.clone();
    let wire = Box::new(Plain::new(stream, address.ip(), certificates, Door::StartTls));
    component::stream::serve_called(shared.server.clone(), component, wire).await
}

/// Without delay, and with an end for peers that are gone (SECURITY: half-open connections).
pub(crate) fn tune(stream: &TcpStream, unanswered_secs: u32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(unanswered_secs.into())))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

async fn open(socket: Plain, begin: Begin, limit: Duration) -> Option<Box<dyn Wire>> {
    if let Begin::Later(_) = begin {
        return Some(Box::new(socket));
    }
    let peer = socket.peer();
    match tokio::time::timeout(limit, socket.accept(None)).await {
        Ok(Ok(wire)) => Some(wire),
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "TLS failed");
            None
        }
        Err(_) => {
            tracing::info!(%peer, "TLS took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_those_of_ipv4_where_there_is_no_other() {
        let all: SocketAddr = "[::]:5222".parse().expect("an address");
        let lacking = io::Error::from(rustix::io::Errno::AFNOSUPPORT);
        assert_eq!(without_ipv6(all, &lacking), "0.0.0.0:5222".parse().ok());
        // Who names an address means it; who meets another obstacle is told.
        let named: SocketAddr = "[::1]:5222".parse().expect("an address");
        assert_eq!(without_ipv6(named, &lacking), None);
        let taken = io::Error::from(rustix::io::Errno::ADDRINUSE);
        assert_eq!(without_ipv6(all, &taken), None);
    }
}
