//! TLS for test clients, which believe any certificate.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::place::Pipe;

/// XEP-0368 §3: the name of client streams in ALPN.
const ALPN_CLIENT: &[u8] = b"xmpp-client";

/// How a client shakes hands.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The name that it asks for.
    pub name: String,
    /// The application protocols that it names, if any.
    pub protocols: Vec<Vec<u8>>,
    /// The versions of TLS that it speaks.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl Wish {
    /// As a client of streams does; `direct` tells it is not STARTTLS.
    pub fn usual(domain: &str, direct: bool) -> Self {
        let protocols = if direct { vec![ALPN_CLIENT.to_vec()] } else { Vec::new() };
        Self { name: domain.to_owned(), protocols, versions: ALL_VERSIONS.to_vec() }
    }
}

/// Shakes hands as a client that asks for `domain`; `direct` tells it is not STARTTLS.
pub async fn wrap(pipe: Box<dyn Pipe>, domain: &str, direct: bool) -> io::Result<Box<dyn Pipe>> {
    Ok(Box::new(wrap_as(pipe, Wish::usual(domain, direct)).await?))
}

/// Shakes hands as somebody wishes.
pub async fn wrap_as<P: Pipe>(pipe: P, wish: Wish) -> io::Result<TlsStream<P>> {
    let name = ServerName::try_from(wish.name)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&wish.versions)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer(provider)))
        .with_no_client_auth();
    config.alpn_protocols = wish.protocols;
    TlsConnector::from(Arc::new(config)).connect(name, pipe).await
}

/// Checks that the peer holds the key of its certificate, and nothing else.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::place::{Link, Security};
    use crate::wire::{Trouble, Wire};

    const HEADER: &str = "<stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams'>";
    const PATIENCE: Duration = Duration::from_millis(500);

    /// A server with a certificate that nobody vouches for.
    fn acceptor() -> TlsAcceptor {
        let own = rcgen::generate_simple_self_signed(vec!["elsewhere.lit".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    async fn read_until(pipe: &mut (impl Pipe + ?Sized), end: &str) -> String {
        let mut text = String::new();
        while !text.contains(end) {
            text.push(char::from(pipe.read_u8().await.unwrap()));
        }
        text
    }

    async fn greet(pipe: &mut (impl Pipe + ?Sized), features: &str) {
        read_until(pipe, "'http://etherx.jabber.org/streams'>").await;
        let text = format!("{HEADER}<stream:features>{features}</stream:features>");
        pipe.write_all(text.as_bytes()).await.unwrap();
    }

    async fn connect(security: Security) -> (Result<Wire, Trouble>, DuplexStream) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let link = Link { pipe: Box::new(near), security };
        // The handshake needs both sides; a link without it is there at once.
        (Wire::new(link, "capulet.lit", PATIENCE).await, far)
    }

    #[tokio::test]
    async fn direct_tls_comes_before_the_stream() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let mut tls = acceptor().accept(far).await.unwrap();
            greet(&mut tls, "<a/>").await;
            tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
        });
        let link = Link { pipe: Box::new(near), security: Security::Tls };
        let mut wire = Wire::new(link, "capulet.lit", PATIENCE).await.unwrap();
        let features = wire.open("capulet.lit", Security::Tls).await.unwrap();
        assert_eq!(features.children().next().unwrap().name, "a");
        assert_eq!(server.await.unwrap().as_deref(), Some(ALPN_CLIENT));
    }

    #[tokio::test]
    async fn starttls_begins_a_new_stream() {
        let (wire, mut far) = connect(Security::StartTls).await;
        let mut wire = wire.unwrap();
        let server = tokio::spawn(async move {
            greet(&mut far, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            read_until(&mut far, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            let proceed = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
            far.write_all(proceed).await.unwrap();
            let mut tls = acceptor().accept(far).await.unwrap();
            greet(&mut tls, "<b/>").await;
            tls
        });
        let features = wire.open("capulet.lit", Security::StartTls).await.unwrap();
        assert_eq!(features.children().next().unwrap().name, "b");
        drop(server.await.unwrap());
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_given_up() {
        let (wire, far) = connect(Security::Tls).await;
        assert!(matches!(wire, Err(Trouble::Late(_))));
        drop(far);
    }
}
