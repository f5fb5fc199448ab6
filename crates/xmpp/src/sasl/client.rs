//! The initiating side of a handshake, for our own client, the test tools and server streams.

use std::fmt;
use std::num::NonZeroU32;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::binding::{ChannelBinding, downgrade_hash};
use super::credentials::{ITERATIONS_MAX, client_key, server_key};
use super::encoding::encode;
use super::hash::{Hash, Octets};
use super::mechanism::Mechanism;
use super::plain::Message;
use super::prep::{PrepError, Unassigned, saslprep};
use super::scram::{BindingFlag, ClientFirst, ServerFirst, binding_value, parse_server_final};

/// Fewest rounds that a server may ask for (RFC 5802 §5.1): fewer would spoil the password.
const ITERATIONS_MIN: u32 = 4_096;

/// Random bytes in our part of a nonce.
const NONCE_BYTES: usize = 18;

/// Why the client gave up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientError {
    /// The user name or the password cannot be used.
    Prepare(PrepError),
    /// The message of the server breaks the syntax, or came at the wrong time.
    Malformed,
    /// The nonce of the server does not continue ours: a replay, or the answer to somebody else.
    Nonce,
    /// The server asks for too few or too many rounds.
    Iterations,
    /// What the server offered was changed on the way to us (XEP-0474 §6.2).
    Downgraded,
    /// The server does not know the password either (RFC 5802 §3).
    Impostor,
    /// The server named an error of SCRAM.
    Refused(String),
    /// The mechanism needs a channel binding that was not given, or has no use for one.
    Binding,
    /// The operating system gave no random bytes.
    Random,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare(error) => return write!(f, "user name or password: {error}"),
            Self::Refused(error) => {
                return write!(f, "the server refused: {}", error.escape_debug());
            }
            Self::Malformed => "the server sent a broken message",
            Self::Nonce => "the server answered with a foreign nonce",
            Self::Iterations => "the server asks for an unusable number of iterations",
            Self::Downgraded => "the offer of the server was changed on the way",
            Self::Impostor => "the server could not prove that it knows the password",
            Self::Binding => "channel binding and mechanism do not fit",
            Self::Random => "no random bytes",
        })
    }
}

impl std::error::Error for ClientError {}

/// What the client says and does about channel binding (RFC 5802 §6).
#[derive(Clone, Debug, Default)]
pub enum Binding {
    /// It has none.
    #[default]
    Unable,
    /// It has one, but the server offered no mechanism for it.
    NotOffered,
    /// Both have one, but of different types: goes on only if the server proves that this is how
    /// it is (XEP-0474 §7, new rule 6).
    Unshared,
    /// It binds to this one, with a -PLUS mechanism.
    Bound(ChannelBinding),
}

/// What the stream features listed, word for word, unknown names included.
#[derive(Clone, Debug, Default)]
pub struct Offered {
    /// The names of the mechanisms.
    pub mechanisms: Vec<String>,
    /// The types of channel binding (XEP-0440).
    pub bindings: Vec<String>,
}

impl Offered {
    /// The strongest mechanism for a password, given the bindings of our side, the best first.
    ///
    /// PLAIN is the last resort, and never one where the server binds and we could too.
    pub fn choose(&self, ours: &[ChannelBinding]) -> Option<(Mechanism, Binding)> {
        let known = |name: &String| Mechanism::named(name);
        let passwords = || {
            let all = self.mechanisms.iter().filter_map(known);
            all.filter(|mechanism| mechanism.is_password())
        };
        let announced = |one: &&ChannelBinding| match self.bindings.as_slice() {
            // Before XEP-0440 a server offered -PLUS alone; all know this type then.
            [] => matches!(one, ChannelBinding::TlsServerEndPoint(_)),
            types => types.iter().any(|name| name == one.name()),
        };
        if let Some(binding) = ours.iter().find(announced)
            && let Some(mechanism) = passwords().filter(|one| one.needs_binding()).max()
        {
            return Some((mechanism, Binding::Bound(binding.clone())));
        }
        let theirs = !self.bindings.is_empty() || passwords().any(Mechanism::needs_binding);
        let binding = match (ours, theirs) {
            ([], _) => Binding::Unable,
            (_, true) => Binding::Unshared,
            (_, false) => Binding::NotOffered,
        };
        let mechanism = passwords().filter(|one| !one.needs_binding()).max()?;
        let protected = mechanism.hash().is_some() || !matches!(binding, Binding::Unshared);
        protected.then_some((mechanism, binding))
    }
}

/// The keys of a password for one salt: with them the next login costs no CPU (RFC 5802 §5.1).
#[derive(Clone)]
pub struct ClientKeys {
    hash: Hash,
    salt: Vec<u8>,
    iterations: u32,
    client_key: Octets,
    server_key: Octets,
}

/// Who wants to log in, and what is known of the server.
#[derive(Clone, Default)]
pub struct Login {
    /// The localpart.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// Whom to act as; `None` is the same as the user name (RFC 6120 §6.3.8).
    pub authzid: Option<String>,
    /// What to do about channel binding.
    pub binding: Binding,
    /// What the server listed; if given, its hash is verified where the server sends one.
    pub offered: Option<Offered>,
    /// Keys of an earlier login, used where they fit.
    pub keys: Option<ClientKeys>,
}

/// A handshake as its initiator.
pub struct Client {
    mechanism: Mechanism,
    login: Login,
    nonce: String,
    stage: Stage,
}

enum Stage {
    /// Nothing was sent yet.
    Begin,
    /// The first message of SCRAM was sent.
    First(Hash),
    /// The proof was sent, and this signature has to come.
    Proven(Octets),
    /// Nothing more has to come.
    Done,
}

impl Client {
    /// A handshake by that mechanism. EXTERNAL and ANONYMOUS need neither name nor password.
    pub fn new(mechanism: Mechanism, login: Login) -> Result<Self, ClientError> {
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|_| ClientError::Random)?;
        Self::with_nonce(mechanism, login, encode(&random))
    }

    fn with_nonce(
        mechanism: Mechanism,
        mut login: Login,
        nonce: String,
    ) -> Result<Self, ClientError> {
        if matches!(login.binding, Binding::Bound(_)) != mechanism.needs_binding() {
            return Err(ClientError::Binding);
        }
        if mechanism.is_password() {
            // RFC 5802 §5.1: a query; §2.2: a stored string.
            let name = saslprep(&login.username, Unassigned::Allowed);
            login.username = name.map_err(ClientError::Prepare)?.to_string();
            let password = saslprep(&login.password, Unassigned::Prohibited);
            login.password = password.map_err(ClientError::Prepare)?;
        }
        Ok(Self { mechanism, login, nonce, stage: Stage::Begin })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The first message, to be sent with the request or in answer to an empty challenge.
    pub fn initial(&mut self) -> Zeroizing<Vec<u8>> {
        self.stage = Stage::Done;
        let authzid = self.login.authzid.as_deref();
        if let Some(hash) = self.mechanism.hash() {
            self.stage = Stage::First(hash);
            return Zeroizing::new((self.header() + &self.bare()).into_bytes());
        }
        match self.mechanism {
            Mechanism::Plain => {
                Message { authzid, username: &self.login.username, password: &self.login.password }
                    .write()
            }
            Mechanism::External => Zeroizing::new(authzid.unwrap_or_default().into()),
            _ => Zeroizing::default(),
        }
    }

    fn header(&self) -> String {
        let flag = match &self.login.binding {
            Binding::Unable | Binding::Unshared => BindingFlag::Unable,
            Binding::NotOffered => BindingFlag::NotOffered,
            Binding::Bound(binding) => BindingFlag::Bound(binding.name()),
        };
        flag.header(self.login.authzid.as_deref())
    }

    fn bare(&self) -> String {
        ClientFirst::write_bare(&self.login.username, &self.nonce)
    }

    /// The response to a challenge. Expensive with SCRAM, unless keys of an earlier login fit.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Begin if challenge.is_empty() => Ok(self.initial()),
            Stage::First(hash) => self.prove(hash, challenge),
            // A server may send its signature before success instead of along with it.
            Stage::Proven(signature) => {
                verify(&signature, challenge).map(|()| Zeroizing::default())
            }
            Stage::Begin | Stage::Done => Err(ClientError::Malformed),
        }
    }

    /// Verifies what came with success: only then is the server the right one (RFC 5802 §5).
    pub fn finish(&mut self, data: Option<&[u8]>) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Proven(signature) => verify(&signature, data.ok_or(ClientError::Impostor)?),
            Stage::Done => Ok(()),
            // Success without a proof asked for is none.
            Stage::Begin | Stage::First(_) => Err(ClientError::Impostor),
        }
    }

    /// The keys that this login used, for [`Login::keys`] of the next.
    pub fn keys(&self) -> Option<&ClientKeys> {
        self.login.keys.as_ref()
    }

    /// Answers the server-first-message with a proof (RFC 5802 §3).
    fn prove(&mut self, hash: Hash, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let message = ServerFirst::parse(challenge).map_err(|_| ClientError::Malformed)?;
        // RFC 5802 §5.1: it begins with ours, and the server has added to it.
        if !message.nonce.starts_with(&self.nonce) || message.nonce.len() == self.nonce.len() {
            return Err(ClientError::Nonce);
        }
        self.verify_offer(hash, message.downgrade_hash)?;
        let keys = self.keys_for(hash, &message)?;
        let data = match &self.login.binding {
            Binding::Bound(binding) => binding.data(),
            Binding::Unable | Binding::NotOffered | Binding::Unshared => &[],
        };
        let binding = binding_value(&self.header(), data);
        let without_proof = format!("c={binding},r={}", message.nonce);
        let bare = self.bare();
        let auth_message = [bare.as_bytes(), b",", challenge, b",", without_proof.as_bytes()];
        let stored_key = hash.digest(keys.client_key.as_ref());
        let signature = hash.hmac(stored_key.as_ref(), &auth_message);
        let proof = keys.client_key.clone().xor(&signature);
        self.stage = Stage::Proven(hash.hmac(keys.server_key.as_ref(), &auth_message));
        self.login.keys = Some(keys);
        let text = format!("{without_proof},p={}", encode(proof.as_ref()));
        Ok(Zeroizing::new(text.into_bytes()))
    }

    /// XEP-0474 §6.2: the server hashes what it offered, and we what we saw.
    fn verify_offer(&self, hash: Hash, theirs: Option<&str>) -> Result<(), ClientError> {
        let (Some(offered), Some(theirs)) = (&self.login.offered, theirs) else {
            return match self.login.binding {
                Binding::Unshared => Err(ClientError::Downgraded),
                _ => Ok(()),
            };
        };
        let mechanisms = offered.mechanisms.iter().map(String::as_str).collect();
        let bindings = offered.bindings.iter().map(String::as_str).collect();
        if downgrade_hash(hash, mechanisms, bindings) == theirs {
            Ok(())
        } else {
            Err(ClientError::Downgraded)
        }
    }

    fn keys_for(&self, hash: Hash, message: &ServerFirst<'_>) -> Result<ClientKeys, ClientError> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&message.iterations) {
            return Err(ClientError::Iterations);
        }
        let iterations = NonZeroU32::new(message.iterations).ok_or(ClientError::Iterations)?;
        if let Some(keys) = &self.login.keys
            && keys.hash == hash
            && keys.iterations == message.iterations
            && keys.salt == message.salt
        {
            return Ok(keys.clone());
        }
        let salted = hash.stretch(self.login.password.as_bytes(), &message.salt, iterations);
        Ok(ClientKeys {
            hash,
            salt: message.salt.clone(),
            iterations: message.iterations,
            client_key: client_key(hash, &salted),
            server_key: server_key(hash, &salted),
        })
    }
}

/// Whether the server signed the exchange (RFC 5802 §3).
fn verify(expected: &Octets, message: &[u8]) -> Result<(), ClientError> {
    match parse_server_final(message) {
        Ok(Ok(signature)) if signature.ct_eq(expected.as_ref()).into() => Ok(()),
        Ok(Ok(_)) => Err(ClientError::Impostor),
        Ok(Err(error)) => Err(ClientError::Refused(error.to_owned())),
        Err(_) => Err(ClientError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pencil() -> Login {
        Login {
            username: "user".to_owned(),
            password: Zeroizing::new("pencil".to_owned()),
            ..Login::default()
        }
    }

    /// The messages of the client in a published exchange, and what it makes of the last answer.
    fn play(
        mechanism: Mechanism,
        nonce: &str,
        challenge: &str,
        success: &str,
    ) -> ([String; 2], Result<(), ClientError>) {
        let mut client = Client::with_nonce(mechanism, pencil(), nonce.to_owned()).unwrap();
        let first = client.initial();
        let last = client.respond(challenge.as_bytes()).unwrap();
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        ([text(&first), text(&last)], client.finish(Some(success.as_bytes())))
    }

    #[test]
    fn exchange_is_that_of_rfc_5802() {
        let (said, verdict) = play(
            Mechanism::ScramSha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        assert_eq!(said[0], "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(
            said[1],
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
             p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn exchange_is_that_of_rfc_7677() {
        let (said, verdict) = play(
            Mechanism::ScramSha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        assert_eq!(said[0], "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            said[1],
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(verdict, Ok(()));
    }

    const FIRST: &str = "r=abcdef,s=QSXCR+Q6sek8bf92,i=4096";

    /// A client that has sent `r=abc`.
    fn waiting() -> Client {
        let mechanism = Mechanism::ScramSha1;
        let mut client = Client::with_nonce(mechanism, pencil(), "abc".to_owned()).unwrap();
        client.initial();
        client
    }

    #[test]
    fn server_that_does_not_know_the_password_is_an_impostor() {
        let wrong = format!("v={}", encode(&[0; 20]));
        for (data, expected) in [
            (Some(wrong.as_str()), ClientError::Impostor),
            (Some("v="), ClientError::Impostor),
            (None, ClientError::Impostor),
            (Some("v=?"), ClientError::Malformed),
            (Some(""), ClientError::Malformed),
            (Some("e=other-error"), ClientError::Refused("other-error".to_owned())),
        ] {
            let mut client = waiting();
            client.respond(FIRST.as_bytes()).unwrap();
            let came = client.finish(data.map(str::as_bytes));
            assert_eq!(came, Err(expected), "{data:?}");
        }
        assert_eq!(
            waiting().finish(Some(b"v=AAAA")),
            Err(ClientError::Impostor),
            "success without a challenge"
        );
    }

    #[test]
    fn challenge_must_continue_our_nonce_and_ask_for_a_fair_number_of_rounds() {
        for (challenge, expected) in [
            ("r=abc,s=AAAA,i=4096", ClientError::Nonce),
            ("r=abdef,s=AAAA,i=4096", ClientError::Nonce),
            ("r=ab,s=AAAA,i=4096", ClientError::Nonce),
            ("r=abcd,s=AAAA,i=4095", ClientError::Iterations),
            ("r=abcd,s=AAAA,i=4294967295", ClientError::Iterations),
            ("r=abcd,s=AAAA", ClientError::Malformed),
            ("m=x,r=abcd,s=AAAA,i=4096", ClientError::Malformed),
            ("", ClientError::Malformed),
        ] {
            let came = waiting().respond(challenge.as_bytes()).err();
            assert_eq!(came, Some(expected), "{challenge}");
        }
    }

    #[test]
    fn signature_may_come_as_a_challenge_and_nothing_after_it() {
        let mut client = waiting();
        client.respond(FIRST.as_bytes()).unwrap();
        let Stage::Proven(signature) = &client.stage else {
            panic!("no proof was made");
        };
        let message = format!("v={}", encode(signature.as_ref()));
        assert!(client.respond(message.as_bytes()).unwrap().is_empty());
        assert_eq!(client.respond(b"x").err(), Some(ClientError::Malformed));
        assert_eq!(client.finish(None), Ok(()));
    }

    #[test]
    fn keys_of_an_earlier_login_make_the_same_proof() {
        let mut client = waiting();
        let fresh = client.respond(FIRST.as_bytes()).unwrap();
        let keys = client.keys().cloned();
        let with = |challenge: &str| {
            let mut again = waiting();
            again.login.keys = keys.clone();
            // Not the password: what comes out shows whether the keys were used.
            again.login.password = Zeroizing::new("crayon".to_owned());
            again.respond(challenge.as_bytes()).unwrap()
        };
        assert_eq!(with(FIRST), fresh);
        for other in ["r=abcdef,s=QSXCR+Q6sek8bf93,i=4096", "r=abcdef,s=QSXCR+Q6sek8bf92,i=4097"] {
            let mut client = waiting();
            let fresh = client.respond(other.as_bytes()).unwrap();
            assert_ne!(with(other), fresh, "keys of another salt were used");
        }
    }

    fn offered(mechanisms: &[&str], bindings: &[&str]) -> Offered {
        Offered {
            mechanisms: mechanisms.iter().map(ToString::to_string).collect(),
            bindings: bindings.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn strongest_mechanism_is_chosen_with_the_binding_that_both_have() {
        let ours =
            [ChannelBinding::TlsExporter(vec![1]), ChannelBinding::TlsServerEndPoint(vec![2])];
        let choose = |offered: Offered, ours: &[ChannelBinding]| {
            offered.choose(ours).map(|(mechanism, binding)| {
                let binding = match binding {
                    Binding::Unable => "unable",
                    Binding::NotOffered => "not offered",
                    Binding::Unshared => "unshared",
                    Binding::Bound(binding) => binding.name(),
                };
                (mechanism.name(), binding)
            })
        };
        let plus = ["X-NEW", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "PLAIN"];
        let both = ["tls-server-end-point", "tls-exporter"];
        assert_eq!(
            choose(offered(&plus, &both), &ours),
            Some(("SCRAM-SHA-256-PLUS", "tls-exporter"))
        );
        assert_eq!(
            choose(offered(&plus, &both[..1]), &ours),
            Some(("SCRAM-SHA-256-PLUS", "tls-server-end-point"))
        );
        assert_eq!(
            choose(offered(&plus, &[]), &ours),
            Some(("SCRAM-SHA-256-PLUS", "tls-server-end-point")),
            "servers older than XEP-0440"
        );
        assert_eq!(
            choose(offered(&plus, &["tls-unique"]), &ours),
            Some(("SCRAM-SHA-512", "unshared"))
        );
        assert_eq!(choose(offered(&plus, &both), &[]), Some(("SCRAM-SHA-512", "unable")));
        assert_eq!(choose(offered(&plus[2..], &[]), &ours), Some(("SCRAM-SHA-512", "not offered")));
        assert_eq!(choose(offered(&["PLAIN"], &[]), &ours), Some(("PLAIN", "not offered")));
        // Types without mechanisms, and a password in the clear: XEP-0440 §3 rule 5.
        assert_eq!(choose(offered(&["PLAIN"], &both), &ours), None);
        assert_eq!(choose(offered(&["EXTERNAL", "X-NEW"], &[]), &ours), None);
    }

    #[test]
    fn unshared_types_need_the_proof_of_the_server() {
        let mut client = waiting();
        client.login.binding = Binding::Unshared;
        client.login.offered = Some(offered(&["SCRAM-SHA-1"], &["tls-unique"]));
        assert_eq!(client.respond(FIRST.as_bytes()).err(), Some(ClientError::Downgraded));
    }

    #[test]
    fn binding_and_mechanism_must_fit() {
        let bound = Binding::Bound(ChannelBinding::TlsExporter(vec![1]));
        for (mechanism, binding, fits) in [
            (Mechanism::ScramSha1Plus, bound.clone(), true),
            (Mechanism::ScramSha1Plus, Binding::Unable, false),
            (Mechanism::ScramSha1, bound.clone(), false),
            (Mechanism::Plain, bound, false),
            (Mechanism::Plain, Binding::NotOffered, true),
        ] {
            let login = Login { binding, ..pencil() };
            assert_eq!(Client::new(mechanism, login).is_ok(), fits, "{mechanism}");
        }
    }

    #[test]
    fn unusable_name_or_password_is_said_at_once() {
        for (username, password) in [("", "pencil"), ("user", ""), ("u\u{7}", "x"), ("u", "\u{7}")]
        {
            let login = Login {
                username: username.to_owned(),
                password: Zeroizing::new(password.to_owned()),
                ..Login::default()
            };
            assert!(matches!(
                Client::new(Mechanism::ScramSha1, login),
                Err(ClientError::Prepare(_))
            ));
        }
        let mut external = Client::new(Mechanism::External, Login::default()).unwrap();
        assert!(external.initial().is_empty());
        assert_eq!(external.finish(None), Ok(()));
    }
}
