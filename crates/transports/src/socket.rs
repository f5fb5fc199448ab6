//! Connections as streams see them: in plaintext, and with TLS at either end.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use verona_core::stream::wire::{Bindings, Wire};

use crate::tls::binding::Secured;
use crate::tls::call::Call;
use crate::tls::certificates::Certificates;
use crate::tls::door::Door;
use crate::tls::handshake::HandshakeError;
use crate::tls::side::Side;
use crate::tls::stream::TlsStream;

/// A connection in plaintext.
pub struct Plain {
    stream: TcpStream,
    peer: IpAddr,
    certificates: Arc<Certificates>,
    /// The settings of TLS for when this side is the server.
    door: Door,
}

impl Plain {
    /// A connection that came in by a door, or is of its kind.
    pub fn new(
        stream: TcpStream,
        peer: IpAddr,
        certificates: Arc<Certificates>,
        door: Door,
    ) -> Self {
        Self { stream, peer, certificates, door }
    }

    /// Makes the handshake as the server; the domain decides when the peer names none.
    pub async fn accept(self, domain: Option<&str>) -> Result<Box<dyn Wire>, HandshakeError> {
        let Self { stream, peer, certificates, door } = self;
        let (stream, secured) = certificates.accept(stream, door, domain).await?;
        tracing::debug!(%peer, protocol = %secured.protocol, "TLS");
        Ok(Box::new(Tls { stream, peer, secured: Some(Box::new(secured)) }))
    }

    /// Makes the handshake as the one who calls, from a domain here to one elsewhere.
    pub async fn connect(
        self,
        call: Call,
        domains: (&str, &str),
    ) -> Result<Box<dyn Wire>, HandshakeError> {
        let Self { stream, peer, certificates, .. } = self;
        let stream = certificates.connect(stream, call, domains).await?;
        Ok(Box::new(Tls { stream, peer, secured: None }))
    }
}

impl Wire for Plain {
    fn peer(&self) -> IpAddr {
        self.peer
    }

    fn is_secure(&self) -> bool {
        false
    }

    fn can_start_tls(&self) -> bool {
        true
    }

    fn start_tls(self: Box<Self>, domain: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let domain = domain.to_owned();
        Box::pin(async move {
            let peer = self.peer;
            self.accept(Some(&domain)).await.map_err(|error| {
                tracing::info!(%peer, %error, "TLS failed");
                io::Error::other(error)
            })
        })
    }

    fn connect_tls(
        self: Box<Self>,
        local: &str,
        remote: &str,
    ) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let (local, remote) = (local.to_owned(), remote.to_owned());
        Box::pin(async move {
            self.connect(Call::StartTls, (&local, &remote)).await.map_err(io::Error::other)
        })
    }

    fn bindings(&self) -> Bindings {
        Bindings::default()
    }

    fn settle(&mut self) {}
}

/// A connection with TLS.
struct Tls<S> {
    stream: TlsStream<TcpStream, S>,
    peer: IpAddr,
    /// What the handshake told the side that was called; of use only until the login.
    secured: Option<Box<Secured>>,
}

impl<S: Side + Send + Unpin> Wire for Tls<S> {
    fn peer(&self) -> IpAddr {
        self.peer
    }

    fn is_secure(&self) -> bool {
        true
    }

    fn can_start_tls(&self) -> bool {
        false
    }

    fn start_tls(self: Box<Self>, _: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn peer_chain(&self) -> Vec<Vec<u8>> {
        let chain = self.stream.common().peer_certificates().unwrap_or_default();
        chain.iter().map(|certificate: &CertificateDer<'_>| certificate.to_vec()).collect()
    }

    fn bindings(&self) -> Bindings {
        let Some(secured) = &self.secured else { return Bindings::default() };
        Bindings {
            exporter: secured.exporter.map(|exporter| exporter.to_vec()),
            end_point: secured.certificate.end_point.as_deref().map(<[u8]>::to_vec),
        }
    }

    fn settle(&mut self) {
        self.secured = None;
    }
}

/// Passes the calls of a byte stream on to the field `stream`.
macro_rules! pass_on {
    ([$($generics:tt)*] $name:ty) => {
        impl $($generics)* AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.stream).poll_read(context, buffer)
            }
        }

        impl $($generics)* AsyncWrite for $name {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.stream).poll_write(context, bytes)
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.stream).poll_flush(context)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.stream).poll_shutdown(context)
            }
        }
    };
}

pass_on!([] Plain);
pass_on!([<S: Side + Unpin>] Tls<S>);
