//! The server's side of a handshake: reads the name that the peer asks for, chooses the certificate,
//! and learns what binds a login to the connection.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::tls::binding::{self, Secured};
use crate::tls::certificates::{Certificates, Identity};
use crate::tls::door::Door;
use crate::tls::handshake::{HandshakeError, fill, finish};
use crate::tls::stream::TlsStream;

/// What a handshake yields to the side that was called.
pub type Accepted<IO> = (TlsStream<IO, UnbufferedServerConnection>, Secured);

/// RFC 6066 §3: a fatal alert `unrecognized_name`, before there are any keys.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

impl Certificates {
    /// Makes the handshake on a socket. `domain` is the one that the stream header spoke to before
    /// STARTTLS; it decides when the ClientHello names none. The caller sets the deadline, and boxes
    /// the future: it is large and ends soon.
    pub async fn accept<IO>(
        &self,
        mut io: IO,
        door: Door,
        domain: Option<&str>,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut incoming = Vec::new();
        let name = read_hello(&mut io, &mut incoming).await?;
        let Some(identity) = self.find(name.as_deref(), domain) else {
            // RFC 9325 §3.7: a name that is not ours ends the handshake, no certificate is shown.
            let _ = io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = io.flush().await;
            return Err(HandshakeError::UnknownName(name.unwrap_or_default()));
        };
        let config = identity.config(door).cloned();
        let config = config.ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
        let mut tls = UnbufferedServerConnection::new(config)?;
        let finished = finish(&mut io, &mut tls, &mut incoming).await?;
        let secret = finished.secret.as_ref().map(|secret| secret.as_slice());
        let secured = secured(&tls, name, &identity, secret);
        Ok((TlsStream::new(io, tls, incoming, finished.plain), secured))
    }
}

/// Reads until the ClientHello is whole; the bytes stay, for the handshake itself.
async fn read_hello<IO>(
    io: &mut IO,
    incoming: &mut Vec<u8>,
) -> Result<Option<String>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut hello = None;
    loop {
        let start = incoming.len();
        fill(io, incoming).await?;
        let acceptor = hello.get_or_insert_with(Acceptor::default);
        let mut new = incoming.get(start..).unwrap_or_default();
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(accepted.client_hello().server_name().map(str::to_owned));
                }
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    alert.write_all(&mut bytes)?;
                    let _ = io.write_all(&bytes).await;
                    let _ = io.flush().await;
                    return Err(error.into());
                }
            }
        }
    }
}

fn secured(
    tls: &UnbufferedServerConnection,
    name: Option<String>,
    identity: &Arc<Identity>,
    secret: Option<&[u8]>,
) -> Secured {
    let suite = tls.negotiated_cipher_suite();
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    Secured {
        protocol: format!("{version} {cipher}"),
        name,
        application: tls.alpn_protocol().map(<[u8]>::to_vec),
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: identity.certificate.clone(),
        exporter: suite.zip(secret).and_then(|(suite, secret)| binding::exporter(suite, secret)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::version::{TLS12, TLS13};
    use rustls::{AlertDescription, ClientConfig, ClientConnection, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;
    use crate::tls::any_peer::AnyPeer;
    use crate::tls::certificates::Site;
    use crate::tls::self_signed::tests::Scratch;

    struct World {
        _scratch: Scratch,
        certificates: Certificates,
    }

    fn world() -> World {
        let scratch = Scratch::new();
        let site = |domain: &str| Site { domain: domain.to_owned(), services: Vec::new() };
        let sites = vec![site("montague.lit"), site("capulet.lit")];
        let certificates = Certificates::open(scratch.path(), sites).expect("certificates");
        World { _scratch: scratch, certificates }
    }

    fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
        let provider = Arc::new(default_provider());
        ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(AnyPeer::new(&provider))
            .with_no_client_auth()
    }

    fn client(config: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
        ClientConnection::new(config.clone(), name.try_into().expect("a name")).expect("a client")
    }

    /// Moves bytes between a client without a socket and the other end of a pipe.
    struct Wire {
        client: ClientConnection,
        pipe: DuplexStream,
        /// How many bytes go at once.
        piece: usize,
        heard: Vec<u8>,
        /// Whether the server has said that it sends no more.
        closed: bool,
    }

    impl Wire {
        async fn send(&mut self) {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).expect("memory");
            }
            for piece in bytes.chunks(self.piece) {
                self.pipe.write_all(piece).await.expect("the pipe is open");
            }
        }

        async fn receive(&mut self) -> Result<usize, rustls::Error> {
            let mut bytes = vec![0; 1 << 16];
            let count = self.pipe.read(&mut bytes).await.expect("the pipe is open");
            let mut new = &bytes[..count];
            while !new.is_empty() {
                self.client.read_tls(&mut new).expect("memory");
                self.client.process_new_packets()?;
                let mut plain = [0; 1 << 14];
                while let Ok(count) = self.client.reader().read(&mut plain) {
                    self.heard.extend_from_slice(&plain[..count]);
                    self.closed |= count == 0;
                    if self.closed {
                        break;
                    }
                }
            }
            Ok(count)
        }

        async fn handshake(&mut self) -> Result<(), rustls::Error> {
            self.send().await;
            while self.client.is_handshaking() {
                self.receive().await?;
                self.send().await;
            }
            Ok(())
        }

        async fn say(&mut self, text: &[u8]) {
            self.client.writer().write_all(text).expect("memory");
            self.send().await;
        }

        async fn hear(&mut self, text: &mut [u8]) {
            while self.heard.len() < text.len() {
                assert_ne!(self.receive().await.expect("TLS"), 0);
            }
            text.copy_from_slice(&self.heard[..text.len()]);
            self.heard.drain(..text.len());
        }
    }

    type Outcome = Result<Accepted<DuplexStream>, HandshakeError>;

    async fn meet(
        world: &World,
        client: ClientConnection,
        door: Door,
        piece: usize,
    ) -> (Wire, Result<(), rustls::Error>, Outcome) {
        let (near, far) = duplex(1 << 20);
        let mut wire = Wire { client, pipe: far, piece, heard: Vec::new(), closed: false };
        let accept = world.certificates.accept(near, door, None);
        let (shaken, accepted) = tokio::join!(wire.handshake(), accept);
        (wire, shaken, accepted)
    }

    #[tokio::test]
    async fn both_sides_export_the_same_key() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (_, secured) = accepted.expect("a handshake");
        // RFC 9266 §2, asked of an implementation that is not ours.
        let label = b"EXPORTER-Channel-Binding";
        let exported = wire.client.export_keying_material([0; 32], label, Some(b""));
        assert_eq!(secured.exporter, Some(exported.expect("a key")));
        assert_eq!(secured.name.as_deref(), Some("montague.lit"));
        assert!(secured.protocol.starts_with("TLSv1.3 TLS13_AES"), "{}", secured.protocol);
        assert!(secured.certificate.covers("montague.lit"));
    }

    #[tokio::test]
    async fn with_tls_12_the_certificate_alone_binds() {
        let world = world();
        let config = Arc::new(client_config(&TLS12));
        let (_, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (_, secured) = accepted.expect("a handshake");
        assert!(secured.protocol.starts_with("TLSv1.2 TLS_ECDHE"), "{}", secured.protocol);
        assert_eq!(secured.exporter, None);
        assert!(secured.certificate.end_point.is_some());
    }

    #[tokio::test]
    async fn bytes_flow_however_they_are_cut() {
        let world = world();
        for version in [&TLS12, &TLS13] {
            for piece in [1, 7, 1000, 1 << 17] {
                let config = Arc::new(client_config(version));
                let (mut wire, _, accepted) =
                    meet(&world, client(&config, "capulet.lit"), Door::StartTls, piece).await;
                let (mut stream, _) = accepted.expect("a handshake");
                let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
                let mut heard = vec![0; sent.len()];

                let reading = stream.read_exact(&mut heard);
                // The client's own buffer takes 64 KiB at once.
                let saying = async {
                    for part in sent.chunks(50_000) {
                        wire.say(part).await;
                    }
                };
                let (_, read) = tokio::join!(saying, reading);
                read.expect("all of it");
                assert!(heard == sent);

                heard.fill(0);
                let (_, written) = tokio::join!(wire.hear(&mut heard), async {
                    stream.write_all(&sent).await?;
                    stream.flush().await
                });
                written.expect("all of it");
                assert!(heard == sent);
                assert_eq!(stream.buffered_bytes(), 0);
            }
        }
    }

    #[tokio::test]
    async fn what_comes_with_the_end_of_the_handshake_is_not_lost() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let mut client = client(&config, "montague.lit");
        client.writer().write_all(b"<?xml version='1.0'?>").expect("memory");
        let (_, _, accepted) = meet(&world, client, Door::StartTls, 1 << 14).await;
        let (mut stream, _) = accepted.expect("a handshake");
        let mut heard = [0; 21];
        stream.read_exact(&mut heard).await.expect("all of it");
        assert_eq!(&heard, b"<?xml version='1.0'?>");
    }

    #[tokio::test]
    async fn a_small_buffer_fetches_a_large_record_by_and_by() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (mut wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (mut stream, _) = accepted.expect("a handshake");
        wire.say(&[7; 10_000]).await;
        let mut heard = 0;
        while heard < 10_000 {
            let mut few = [0; 300];
            let count = stream.read(&mut few).await.expect("more");
            assert!(few[..count].iter().all(|byte| *byte == 7));
            heard += count;
        }
        assert_eq!(stream.buffered_bytes(), 0);
    }

    #[tokio::test]
    async fn new_keys_in_the_middle_go_unnoticed() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (mut wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 3).await;
        let (mut stream, _) = accepted.expect("a handshake");
        for _ in 0..3 {
            wire.client.refresh_traffic_keys().expect("TLS 1.3 can");
            wire.say(b"ping").await;
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).await.expect("all of it");
            stream.write_all(&heard).await.expect("written");
            wire.hear(&mut heard).await;
            assert_eq!(&heard, b"ping");
        }
    }

    #[tokio::test]
    async fn closing_is_told_in_both_directions() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (mut wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (mut stream, _) = accepted.expect("a handshake");
        wire.client.send_close_notify();
        wire.send().await;
        assert_eq!(stream.read(&mut [0; 9]).await.expect("a clean end"), 0);
        // RFC 8446 §6.1: we may still send.
        stream.write_all(b"bye").await.expect("the other direction is open");
        stream.shutdown().await.expect("closed");
        let mut heard = [0; 3];
        wire.hear(&mut heard).await;
        assert_eq!(&heard, b"bye");
        while !wire.closed {
            assert_ne!(wire.receive().await.expect("a clean end"), 0);
        }
        assert!(stream.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn a_cut_connection_is_not_a_clean_end() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (mut stream, _) = accepted.expect("a handshake");
        drop(wire);
        let error = stream.read(&mut [0; 9]).await.expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn rubbish_inside_tls_ends_it_with_an_alert() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (mut wire, _, accepted) =
            meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
        let (mut stream, _) = accepted.expect("a handshake");
        let record = [&[23, 3, 3, 0, 40][..], &[9; 40]].concat();
        wire.pipe.write_all(&record).await.expect("the pipe is open");
        let error = stream.read(&mut [0; 9]).await.expect_err("it cannot be decrypted");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let told = loop {
            match wire.receive().await {
                Ok(0) => panic!("no alert"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
        assert!(stream.read(&mut [0; 9]).await.is_err());
        assert!(stream.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn a_foreign_name_is_told_to_be_unknown() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        let (_, shaken, accepted) =
            meet(&world, client(&config, "verona.lit"), Door::StartTls, 1 << 14).await;
        assert!(matches!(accepted, Err(HandshakeError::UnknownName(name)) if name == "verona.lit"));
        let told = rustls::Error::AlertReceived(AlertDescription::UnrecognisedName);
        assert_eq!(shaken, Err(told));
    }

    #[tokio::test]
    async fn who_names_nothing_is_served() {
        let world = world();
        let mut config = client_config(&TLS13);
        config.enable_sni = false;
        let config = Arc::new(config);
        let (_, _, accepted) =
            meet(&world, client(&config, "verona.lit"), Door::StartTls, 1 << 14).await;
        let (_, secured) = accepted.expect("a handshake");
        assert_eq!(secured.name, None);
        assert!(secured.certificate.covers("montague.lit"));
    }

    #[tokio::test]
    async fn direct_tls_speaks_its_own_protocol_only() {
        let world = world();
        let offered = |protocol: &[u8]| {
            let mut config = client_config(&TLS13);
            config.alpn_protocols = vec![protocol.to_vec()];
            client(&Arc::new(config), "montague.lit")
        };
        let (_, _, accepted) = meet(&world, offered(b"xmpp-client"), Door::Client, 1 << 14).await;
        let (_, secured) = accepted.expect("a handshake");
        assert_eq!(secured.application.as_deref(), Some(&b"xmpp-client"[..]));
        let (_, shaken, accepted) = meet(&world, offered(b"h2"), Door::Client, 1 << 14).await;
        assert!(accepted.is_err());
        let told = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(shaken, Err(told));
    }

    #[tokio::test]
    async fn a_session_is_resumed_until_the_certificate_changes() {
        let world = world();
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(client_config(version));
            let mut resumed = Vec::new();
            for _ in 0..2 {
                let (mut wire, _, accepted) =
                    meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
                let (mut stream, secured) = accepted.expect("a handshake");
                resumed.push(secured.resumed);
                // The ticket of TLS 1.3 comes with the first data.
                stream.write_all(b"x").await.expect("written");
                wire.hear(&mut [0]).await;
            }
            assert_eq!(resumed, [false, true]);
            // A self-signed certificate of another domain is enough to have new ticket keys.
            let folder = world._scratch.path().join("capulet.lit");
            std::fs::remove_dir_all(folder).expect("there");
            let site = |domain: &str| Site { domain: domain.to_owned(), services: Vec::new() };
            let sites = vec![site("montague.lit"), site("capulet.lit")];
            assert_eq!(world.certificates.reload(sites).changed, ["capulet.lit"]);
            let (_, _, accepted) =
                meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
            assert!(!accepted.expect("a handshake").1.resumed);
        }
    }

    #[tokio::test]
    async fn what_is_not_tls_gets_an_alert() {
        let world = world();
        let (near, mut far) = duplex(1 << 14);
        far.write_all(b"<?xml version='1.0'?><stream:stream>").await.expect("open");
        let accepted = world.certificates.accept(near, Door::Client, None).await;
        assert!(matches!(accepted, Err(HandshakeError::Tls(_))));
        let mut alert = [0; 3];
        far.read_exact(&mut alert).await.expect("an alert");
        assert_eq!(alert[0], 21);
    }

    #[tokio::test]
    async fn a_flipped_byte_ends_in_an_error_and_never_in_a_panic() {
        let world = world();
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(client_config(version));
            let mut hello = Vec::new();
            client(&config, "montague.lit").write_tls(&mut hello).expect("memory");
            for position in 0..hello.len() {
                let mut torn = hello.clone();
                torn[position] ^= 0x41;
                let (near, mut far) = duplex(1 << 16);
                far.write_all(&torn).await.expect("open");
                far.shutdown().await.expect("closed");
                // Without the rest of the handshake there is always an error: which one differs.
                assert!(world.certificates.accept(near, Door::StartTls, None).await.is_err());
            }
        }
    }

    #[tokio::test]
    async fn a_torn_record_ends_in_an_error_and_never_in_a_panic() {
        let world = world();
        let config = Arc::new(client_config(&TLS13));
        // The record of the key update; RFC 8446 §5.1: the end of its version means nothing.
        for position in (0..27).filter(|position| *position != 2) {
            let (mut wire, _, accepted) =
                meet(&world, client(&config, "montague.lit"), Door::StartTls, 1 << 14).await;
            let (mut stream, _) = accepted.expect("a handshake");
            wire.client.refresh_traffic_keys().expect("TLS 1.3 can");
            wire.client.writer().write_all(b"Wherefore").expect("memory");
            let mut bytes = Vec::new();
            while wire.client.wants_write() {
                wire.client.write_tls(&mut bytes).expect("memory");
            }
            bytes[position] ^= 0x41;
            wire.pipe.write_all(&bytes).await.expect("open");
            wire.pipe.shutdown().await.expect("closed");
            assert!(stream.read_exact(&mut [0; 9]).await.is_err(), "{position}");
            assert!(stream.read(&mut [0; 9]).await.is_err(), "{position}");
        }
    }
}
