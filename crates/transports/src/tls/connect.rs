//! The calling side of a handshake: offers the certificate of a domain served here, and takes any.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tls::call::Call;
use crate::tls::certificates::{Certificates, ascii};
use crate::tls::handshake::{HandshakeError, finish};
use crate::tls::stream::TlsStream;

impl Certificates {
    /// Makes the handshake with a server of the domain `remote`, on behalf of the domain `local`. The
    /// caller sets the deadline, and boxes the future: it is large and ends soon.
    pub async fn connect<IO>(
        &self,
        mut io: IO,
        call: Call,
        (local, remote): (&str, &str),
    ) -> Result<TlsStream<IO, UnbufferedClientConnection>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self
            .offering(call, local)
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        // RFC 6120 §13.7.2, XEP-0368 §3: the domain itself is named, not the host of its records.
        let name = ascii(remote);
        // RFC 7622 §3.2: an address of IPv6 stands in brackets.
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut tls = UnbufferedClientConnection::new(config, name)?;
        let mut incoming = Vec::new();
        let finished = finish(&mut io, &mut tls, &mut incoming).await?;
        Ok(TlsStream::new(io, tls, incoming, finished.plain))
    }

    fn offering(&self, call: Call, local: &str) -> Option<Arc<ClientConfig>> {
        let own = self.find(Some(&ascii(local)), None);
        own.or_else(|| self.find(None, None))?.calling(call).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ProtocolVersion;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::version::{TLS12, TLS13};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::tls::accept::Accepted;
    use crate::tls::any_peer::AnyPeer;
    use crate::tls::certificates::Site;
    use crate::tls::door::Door;
    use crate::tls::self_signed::tests::Scratch;

    fn server(domain: &str) -> (Scratch, Certificates) {
        let scratch = Scratch::new();
        let sites = vec![Site { domain: domain.to_owned(), services: Vec::new() }];
        let certificates = Certificates::open(scratch.path(), sites).expect("certificates");
        (scratch, certificates)
    }

    fn chain(certificates: &Certificates) -> Vec<Vec<u8>> {
        let all = certificates.all();
        all[0].1.key().cert.iter().map(|certificate| certificate.to_vec()).collect()
    }

    type Called = Result<TlsStream<DuplexStream, UnbufferedClientConnection>, HandshakeError>;

    async fn meet(
        (call, door): (Call, Door),
        caller: &Certificates,
        called: &Certificates,
    ) -> (Called, Result<Accepted<DuplexStream>, HandshakeError>) {
        let (near, far) = duplex(1 << 16);
        let calls = caller.connect(near, call, ("montague.lit", "capulet.lit"));
        tokio::join!(calls, called.accept(far, door, None))
    }

    fn shown(common: &rustls::CommonState) -> Vec<Vec<u8>> {
        let chain = common.peer_certificates().unwrap_or_default();
        chain.iter().map(|certificate| certificate.to_vec()).collect()
    }

    #[tokio::test]
    async fn servers_show_each_other_who_they_are() {
        let (_one, montague) = server("montague.lit");
        let (_two, capulet) = server("capulet.lit");
        for way in [(Call::Direct, Door::Server), (Call::StartTls, Door::ServerStartTls)] {
            let (calls, accepted) = meet(way, &montague, &capulet).await;
            let (mut calls, (mut accepted, secured)) =
                (calls.expect("a handshake"), accepted.expect("a handshake"));
            assert_eq!(secured.name.as_deref(), Some("capulet.lit"));
            assert_eq!(secured.application.is_some(), way.0 == Call::Direct);
            assert_eq!(calls.common().protocol_version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(shown(calls.common()), chain(&capulet));
            assert_eq!(shown(accepted.common()), chain(&montague));

            let mut heard = vec![0; 100_000];
            let sent = vec![7; heard.len()];
            let (written, read) =
                tokio::join!(calls.write_all(&sent), accepted.read_exact(&mut heard));
            written.and(read.map(|_| ())).expect("all of it");
            assert!(heard == sent);
            heard.fill(0);
            let (written, read) =
                tokio::join!(accepted.write_all(&sent), calls.read_exact(&mut heard));
            written.and(read.map(|_| ())).expect("all of it");
            assert!(heard == sent && calls.buffered_bytes() == 0);
            calls.shutdown().await.expect("closed");
            assert_eq!(accepted.read(&mut [0; 9]).await.expect("a clean end"), 0);
        }
    }

    #[tokio::test]
    async fn clients_are_not_asked_for_a_certificate() {
        let (_one, montague) = server("montague.lit");
        let (_two, capulet) = server("capulet.lit");
        let (_, accepted) = meet((Call::StartTls, Door::StartTls), &montague, &capulet).await;
        assert!(shown(accepted.expect("a handshake").0.common()).is_empty());
    }

    #[tokio::test]
    async fn a_door_of_clients_is_no_door_of_servers() {
        let (_one, montague) = server("montague.lit");
        let (_two, capulet) = server("capulet.lit");
        let (calls, accepted) = meet((Call::Direct, Door::Client), &montague, &capulet).await;
        assert!(accepted.is_err());
        assert!(calls.is_err_and(|error| error.to_string().contains("NoApplicationProtocol")));
    }

    #[tokio::test]
    async fn who_is_called_by_another_name_refuses() {
        let (_one, montague) = server("montague.lit");
        let (calls, accepted) =
            meet((Call::StartTls, Door::ServerStartTls), &montague, &montague).await;
        assert!(
            matches!(accepted, Err(HandshakeError::UnknownName(name)) if name == "capulet.lit")
        );
        assert!(calls.is_err_and(|error| error.to_string().contains("UnrecognisedName")));
    }

    #[tokio::test]
    async fn a_key_that_is_not_that_of_the_certificate_ends_the_handshake() {
        let (_one, montague) = server("montague.lit");
        let (_two, tybalt) = server("montague.lit");
        let (_three, capulet) = server("capulet.lit");
        // Tybalt shows Montague's certificate, and signs with his own key.
        let own = montague.all()[0].1.key().clone();
        let key = tybalt.all()[0].1.key().key.clone();
        let stolen = CertifiedKey::new(own.cert.clone(), key);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        for version in [&TLS12, &TLS13] {
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[version])
                .expect("a version")
                .dangerous()
                .with_custom_certificate_verifier(AnyPeer::new(&provider))
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(stolen.clone())));
            let name = ServerName::try_from("capulet.lit").expect("a name");
            let mut tls =
                UnbufferedClientConnection::new(Arc::new(config), name).expect("a client");
            let (mut near, far) = duplex(1 << 16);
            let mut incoming = Vec::new();
            let (_, accepted) = tokio::join!(
                finish(&mut near, &mut tls, &mut incoming),
                capulet.accept(far, Door::ServerStartTls, None)
            );
            let refused = accepted.expect_err("the signature is wrong").to_string();
            assert!(refused.contains("BadSignature"), "{refused}");
        }
    }
}
