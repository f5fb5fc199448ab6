//! What a stream needs of its connection: bytes in and out, and TLS under it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection with a peer. Transports implement it; what they leave out is that of one without TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// The peer's address.
    fn peer(&self) -> IpAddr;

    /// Whether the bytes are encrypted.
    fn is_secure(&self) -> bool {
        false
    }

    /// Whether [`Wire::start_tls`] is possible.
    fn can_start_tls(&self) -> bool {
        false
    }

    /// Does the handshake of RFC 6120 §5.4.3 as the server of this domain.
    fn start_tls(self: Box<Self>, _domain: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Does the handshake of RFC 6120 §5.4.3 as the one who calls: offers the certificate of the
    /// domain `local` and names `remote` (SNI). It succeeds whatever certificate the peer shows; who
    /// that proves is judged afterwards, from [`Wire::peer_chain`].
    fn connect_tls(
        self: Box<Self>,
        _local: &str,
        _remote: &str,
    ) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// The certificates that the peer has shown and whose key it has proven to hold, in DER, its own
    /// first; empty when it showed none.
    fn peer_chain(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// What SASL can be bound to (RFC 9266, RFC 5929); nothing without TLS.
    fn bindings(&self) -> Bindings {
        Bindings::default()
    }

    /// Gives back what is of use only until the login.
    fn settle(&mut self) {}
}

/// The place of a wire that has been taken away: nothing can be read from it or written to it.
pub struct Gone;

impl AsyncRead for Gone {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Gone {
    fn peer(&self) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    }
}

/// The channel bindings of a connection.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// The value of tls-exporter (RFC 9266 §2), where the TLS version allows it.
    pub exporter: Option<Vec<u8>>,
    /// The value of tls-server-end-point (RFC 5929 §4.1).
    pub end_point: Option<Vec<u8>>,
}
