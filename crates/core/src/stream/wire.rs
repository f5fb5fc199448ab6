//! What a stream needs of its connection: bytes in and out, and TLS under it.

use std::io;
use std::net::IpAddr;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection with a peer. Transports implement it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// The peer's address.
    fn peer(&self) -> IpAddr;

    /// Whether the bytes are encrypted.
    fn is_secure(&self) -> bool;

    /// Whether [`Wire::start_tls`] is possible.
    fn can_start_tls(&self) -> bool;

    /// Does the handshake of RFC 6120 §5.4.3 as the server of this domain.
    fn start_tls(self: Box<Self>, domain: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;

    /// What SASL can be bound to (RFC 9266, RFC 5929); nothing without TLS.
    fn bindings(&self) -> Bindings;
}

/// The channel bindings of a connection.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// The value of tls-exporter (RFC 9266 §2), where the TLS version allows it.
    pub exporter: Option<Vec<u8>>,
    /// The value of tls-server-end-point (RFC 5929 §4.1).
    pub end_point: Option<Vec<u8>>,
}
