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
