//! The settings of TLS for calling another server.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

use crate::tls::any_peer::AnyPeer;

/// How TLS begins with another server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// With the first byte (XEP-0368).
    Direct,
    /// When the stream has agreed on it (RFC 6120 §5).
    StartTls,
}

impl Call {
    /// All ways.
    pub const ALL: [Self; 2] = [Self::Direct, Self::StartTls];

    /// The settings with which we offer a certificate.
    pub(crate) fn config(
        self,
        key: &Arc<CertifiedKey>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(AnyPeer::new(provider))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
        // XEP-0368 §3: with direct TLS the protocol is named; with STARTTLS there is none to name.
        if self == Self::Direct {
            config.alpn_protocols = vec![b"xmpp-server".to_vec()];
        }
        // Streams to servers are few and long. Sessions kept for thousands of domains, each with
        // its chain, would cost more than they spare.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}
