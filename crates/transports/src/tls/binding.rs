//! What binds a login to its TLS connection: the exporter of RFC 9266, and which certificate was
//! shown.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::tls13::OkmBlock;
use rustls::{KeyLog, SupportedCipherSuite};
use zeroize::Zeroizing;

use crate::tls::certificate::Certificate;

/// What the negotiation of a stream learns from the handshake. Needed until the login only.
#[derive(Clone, Debug)]
pub struct Secured {
    /// The version and the cipher suite, for the log and for the user.
    pub protocol: String,
    /// The name that the peer asked for.
    pub name: Option<String>,
    /// The application protocol that was agreed on (ALPN).
    pub application: Option<Vec<u8>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The certificate that was shown, now or when the resumed session began; its `end_point` is
    /// the channel binding `tls-server-end-point`.
    pub certificate: Arc<Certificate>,
    /// RFC 9266 §2: the channel binding `tls-exporter`. None with TLS 1.2, where implementations
    /// disagree on what an empty context means.
    pub exporter: Option<[u8; 32]>,
}

/// RFC 9266 §2: 32 bytes under this label, with an empty context.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The name under which rustls hands out the secret that all exported keys are made from.
const SECRET: &str = "EXPORTER_SECRET";

thread_local! {
    static CAUGHT: RefCell<Option<Zeroizing<Vec<u8>>>> = const { RefCell::new(None) };
}

/// Catches the exporter secret of the handshake that runs on this thread.
///
/// A connection of rustls that keeps no buffers of its own (see `stream`) has no call that exports
/// keys. It does offer the secret to its key log, synchronously, while it processes records; no other
/// secret is taken, nothing is written anywhere.
#[derive(Debug)]
pub(crate) struct ExporterSecret;

impl KeyLog for ExporterSecret {
    fn will_log(&self, label: &str) -> bool {
        label == SECRET
    }

    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == SECRET {
            let secret = Zeroizing::new(secret.to_vec());
            CAUGHT.with_borrow_mut(|caught| *caught = Some(secret));
        }
    }
}

/// Takes the secret that the step just made has offered on this thread, if it did.
pub(crate) fn caught() -> Option<Zeroizing<Vec<u8>>> {
    CAUGHT.with_borrow_mut(Option::take)
}

/// RFC 8446 §7.5: the exported key for channel binding.
pub(crate) fn exporter(suite: SupportedCipherSuite, secret: &[u8]) -> Option<[u8; 32]> {
    let suite = suite.tls13()?;
    let hash = suite.common.hash_provider;
    let empty = hash.hash(b"");
    let mut derived = Zeroizing::new(vec![0; hash.output_len()]);
    let secret = OkmBlock::new(secret);
    expand_label(suite, &secret, LABEL, empty.as_ref(), &mut derived)?;
    let mut key = [0; 32];
    // The context is empty, so its hash is the same as that of no messages.
    expand_label(suite, &OkmBlock::new(&derived), b"exporter", empty.as_ref(), &mut key)?;
    Some(key)
}

/// RFC 8446 §7.1: HKDF-Expand-Label.
fn expand_label(
    suite: &rustls::Tls13CipherSuite,
    secret: &OkmBlock,
    label: &[u8],
    context: &[u8],
    output: &mut [u8],
) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(output.len()).ok()?.to_be_bytes();
    let label_length = u8::try_from(PREFIX.len().checked_add(label.len())?).ok()?;
    let context_length = u8::try_from(context.len()).ok()?;
    let info = [&length, &[label_length][..], PREFIX, label, &[context_length], context];
    suite.hkdf_provider.expander_for_okm(secret).expand_slice(&info, output).ok()
}
