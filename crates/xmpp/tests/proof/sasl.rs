//! What must hold for any bytes that are taken for a handshake. Shared by the tests here and the fuzz
//! target.

use std::sync::{Arc, OnceLock};

use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::binding::{ChannelBinding, Offer};
use verona_xmpp::sasl::context::{Context, Peer};
use verona_xmpp::sasl::credentials::{Credentials, ITERATIONS_MIN};
use verona_xmpp::sasl::decoy::Decoy;
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::mechanism::Mechanism;
use verona_xmpp::sasl::record::Found;
use verona_xmpp::sasl::server::{Identity, Step, start};
use verona_xmpp::sasl::token::{Claim, hashed};

/// What stands between the messages of one input.
pub const BREAK: u8 = 0xff;

/// Steps after which every handshake is over, whatever was sent.
const STEPS_MAX: usize = 8;

/// Plays one input: a letter that chooses mechanism, stream and account, then the messages.
pub fn everything(input: &[u8]) {
    let Some((choice, messages)) = input.split_first() else { return };
    let mut messages = messages.split(|byte| *byte == BREAK);
    let first = messages.next().unwrap_or_default();
    encoded(first);
    let context = Arc::new(context(choice & 0x40 != 0, choice & 0x80 != 0));
    claimed(&context, first);
    let all = Mechanism::ALL;
    let name = all.get(usize::from(choice & 0x0f)).map_or("", |mechanism| mechanism.name());
    let mut step = start(&context, name, (choice & 0x20 == 0).then_some(first));
    for _ in 0..STEPS_MAX {
        step = match step {
            Step::Challenge(data, awaiting) => {
                // It goes into XML as base64 text, and ours are all text before that.
                assert!(std::str::from_utf8(&data).is_ok_and(|text| text.is_ascii()), "{data:?}");
                match messages.next() {
                    Some(message) => awaiting.respond(message),
                    None => Step::Failure(awaiting.abort()),
                }
            }
            Step::Lookup(lookup) => {
                let account = Jid::parse(lookup.account()).expect("an account in normal form");
                assert_eq!(account.as_str(), lookup.account());
                assert!(account.is_bare() && account.domain() == "capulet.lit", "{account:?}");
                lookup.found(found(*choice))
            }
            // Comparing a password takes a while, and what was sent does not change how it is done.
            Step::Check(check) => {
                assert!(Jid::parse(check.account()).is_ok());
                return;
            }
            Step::Success(success) => {
                // Nobody knows a password here, so only who proves nothing gets in.
                assert!(matches!(success.identity, Identity::Anonymous(_)));
                return;
            }
            Step::Failure(failure) => {
                assert!(!failure.error.name().is_empty() && !failure.cause.is_empty());
                return;
            }
        };
    }
    panic!("a handshake that does not end");
}

/// Base64 has one form.
fn encoded(bytes: &[u8]) {
    let written = encoding::encode(bytes);
    assert_eq!(encoding::decode(&written).map(|read| read.to_vec()).ok(), Some(bytes.to_vec()));
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(read) = encoding::decode(text)
    {
        assert_eq!(encoding::encode(&read), text);
    }
}

/// A token is claimed for an account here, and fits nothing that the claimer does not know.
fn claimed(context: &Context, message: &[u8]) {
    for mechanism in ["HT-SHA-256-NONE", "HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-UNIQ"] {
        if let Ok(claim) = Claim::read(context, mechanism, message) {
            assert!(Jid::parse(&claim.account).is_ok_and(|jid| jid.domain() == "capulet.lit"));
            assert!(!claim.fits(&hashed("a token that nobody knows")));
        }
    }
}

fn context(bound: bool, from: bool) -> Context {
    static DECOY: OnceLock<Arc<Decoy>> = OnceLock::new();
    let decoy = DECOY.get_or_init(|| Arc::new(Decoy::new(&[7; 32], ITERATIONS_MIN).expect("made")));
    let bindings = match bound {
        true => vec![
            ChannelBinding::TlsExporter(vec![1; 32]),
            ChannelBinding::TlsServerEndPoint(vec![2; 32]),
        ],
        false => Vec::new(),
    };
    Context {
        offer: Offer::new(Mechanism::ALL, bindings),
        domain: "capulet.lit".to_owned(),
        peer: Peer::Client,
        secure: true,
        from: from.then(|| "juliet@capulet.lit".to_owned()),
        certificate: Vec::new(),
        normalize: |text| Jid::parse(text).ok().filter(Jid::is_bare).map(|jid| jid.to_string()),
        decoy: decoy.clone(),
    }
}

fn found(choice: u8) -> Found {
    static KNOWN: OnceLock<Credentials> = OnceLock::new();
    let known = KNOWN.get_or_init(|| Credentials::new("Wherefore", ITERATIONS_MIN).expect("made"));
    match choice % 4 {
        0 => Found::Unknown,
        1 => Found::Disabled(known.clone()),
        2 => Found::Unavailable,
        _ => Found::Active(known.clone()),
    }
}
