//! The settings of TLS, for each kind of listener.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

use crate::tls::any_peer::AnyPeer;
use crate::tls::binding::ExporterSecret;

/// A kind of listener, as far as TLS differs between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// Clients with TLS from the first byte (XEP-0368).
    Client,
    /// HTTP with TLS.
    Https,
    /// Other servers with TLS from the first byte (XEP-0368).
    Server,
    /// A stream of another server that began in plaintext (RFC 6120 §5).
    ServerStartTls,
    /// A stream of a client that began in plaintext (RFC 6120 §5).
    StartTls,
}

impl Door {
    /// All doors.
    pub const ALL: [Self; 5] =
        [Self::Client, Self::Https, Self::Server, Self::ServerStartTls, Self::StartTls];

    /// Whether other servers come to it.
    fn is_for_servers(self) -> bool {
        matches!(self, Self::Server | Self::ServerStartTls)
    }

    /// The protocols that a peer may name in its ClientHello; who names others is refused.
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            // XEP-0368 §3: these, when the peer uses ALPN at all.
            Self::Client => &[b"xmpp-client"],
            Self::Server => &[b"xmpp-server"],
            Self::Https => &[b"http/1.1"],
            Self::ServerStartTls | Self::StartTls => &[],
        }
    }

    /// The settings for a certificate at this door.
    pub(crate) fn config(
        self,
        key: &Arc<CertifiedKey>,
        provider: &Arc<CryptoProvider>,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfig, rustls::Error> {
        // RFC 9325 §3.1.1: TLS 1.3 preferred, TLS 1.2 still spoken. The suites of the provider are
        // all AEAD with forward secrecy (§4.2); there is no compression and no renegotiation.
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        // XEP-0178 §3 step 6: other servers are asked for their certificate, clients are not.
        let verifier: Arc<dyn ClientCertVerifier> = match self.is_for_servers() {
            true => AnyPeer::new(provider),
            false => Arc::new(NoClientAuth),
        };
        let builder = builder.with_client_cert_verifier(verifier);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
        config.alpn_protocols = self.protocols().iter().map(|protocol| protocol.to_vec()).collect();
        // RFC 9325 §3.5: without the extended master secret a TLS 1.2 session can be confused with
        // another, and channel binding binds nothing.
        config.require_ems = true;
        // RFC 9325 §4.2 leaves the order to us: AES-128 with SHA-256 costs a third less than AES-256
        // with SHA-384 where both have instructions of their own.
        config.ignore_client_order = true;
        // RFC 9325 §3.4: sessions live in tickets, whose keys rotate by hours; the server keeps none.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // One ticket a handshake: a client resumes with the newest, and each costs time and bytes.
        // Servers get none: theirs would carry their whole chain, and they seldom call anew.
        config.send_tls13_tickets = usize::from(!self.is_for_servers());
        if !self.is_for_servers() {
            config.ticketer = ticketer.clone();
        }
        config.key_log = Arc::new(ExporterSecret);
        // RFC 9325 §3.10: early data can be replayed, so none is taken.
        config.max_early_data_size = 0;
        Ok(config)
    }
}
