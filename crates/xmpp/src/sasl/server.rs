//! The receiving side of a handshake.
//!
//! [`start`] takes what `<auth/>` or `<authenticate/>` brought and gives back a [`Step`]. Each step
//! that is not an end carries the state with which to go on, so that nothing can be called that
//! does not fit; to drop it is to forget the handshake (RFC 6120 §6.4.2).

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::anonymous;
use super::context::{Context, Peer};
use super::credentials::{Credentials, Keys};
use super::encoding::encode;
use super::error::{Refusal, SaslError};
use super::external;
use super::hash::{Hash, Octets};
use super::mechanism::Mechanism;
use super::plain;
use super::record::{Found, Record, UNAVAILABLE};
use super::scram::{
    BindingFlag, ClientFinal, ClientFirst, ServerFirst, binding_value, write_server_final,
};

/// Random bytes in our part of a nonce; 144 bits, and a whole number of base64 letters.
const NONCE_BYTES: usize = 18;

/// What the caller has to do next.
pub enum Step {
    /// Send these bytes as a challenge and wait for the response.
    Challenge(Vec<u8>, Awaiting),
    /// Look the account up and say what was found.
    Lookup(Lookup),
    /// Compare a password, which takes a while: on a pool with a bound.
    Check(Check),
    /// Somebody is logged in.
    Success(Success),
    /// Nobody is.
    Failure(Failure),
}

/// The end of a handshake that went well.
pub struct Success {
    /// Who is logged in.
    pub identity: Identity,
    /// How they proved it.
    pub mechanism: Mechanism,
    /// Additional data with success (RFC 6120 §6.4.6).
    pub data: Option<Vec<u8>>,
    /// Better credentials than the stored ones, made from the password that was sent: those of an
    /// account from elsewhere, or with too few rounds. The caller may store them.
    pub renewed: Option<Credentials>,
}

/// Who is logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// An account, by its bare JID in normal form.
    Account(String),
    /// A server, by its domain in normal form.
    Domain(String),
    /// Nobody in particular; the caller makes up an address (XEP-0175 §3). The trace is for the
    /// log and for nothing else.
    Anonymous(Option<String>),
}

/// The end of a handshake that did not go well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// What the peer is told.
    pub error: SaslError,
    /// The plain cause, for the log alone.
    pub cause: &'static str,
    /// The account that was asked for, if it came so far; for the log and for counting attempts.
    pub account: Option<String>,
}

/// Begins a handshake, with the initial response if there is one.
pub fn start(context: &Arc<Context>, mechanism: &str, initial: Option<&[u8]>) -> Step {
    let mechanism = match context.accept(mechanism) {
        Ok(mechanism) => mechanism,
        Err(refusal) => return failure(refusal, None),
    };
    match initial {
        Some(data) => first(context, mechanism, data),
        // XEP-0175 §4: without a trace there is nothing to ask for.
        None if mechanism == Mechanism::Anonymous => first(context, mechanism, b""),
        // RFC 4422 §5: the client speaks first, so it is asked to by an empty challenge.
        None => {
            let context = Arc::clone(context);
            Step::Challenge(Vec::new(), Awaiting { stage: Stage::First(context, mechanism) })
        }
    }
}

/// Takes the first message of the client.
fn first(context: &Arc<Context>, mechanism: Mechanism, data: &[u8]) -> Step {
    let begun = match (mechanism, mechanism.hash()) {
        (_, Some(hash)) => first_of_scram(context, mechanism, hash, data),
        (Mechanism::Plain, _) => first_of_plain(context, data),
        (Mechanism::Anonymous, _) => anonymous::trace(data).map(|trace| {
            let identity = Identity::Anonymous(trace);
            success(identity, mechanism, None, None)
        }),
        _ => first_of_external(context, data),
    };
    begun.unwrap_or_else(|refusal| failure(refusal, None))
}

fn first_of_plain(context: &Arc<Context>, data: &[u8]) -> Result<Step, Refusal> {
    let message = plain::Message::parse(data)?;
    let account = context.account(message.username, message.authzid)?;
    let password = Zeroizing::new(message.password.to_owned());
    Ok(Step::Lookup(Lookup {
        attempt: Attempt::new(context, Mechanism::Plain, account),
        pending: Pending::Plain(password),
    }))
}

fn first_of_external(context: &Arc<Context>, data: &[u8]) -> Result<Step, Refusal> {
    let identity = external::identity(context, data)?;
    Ok(match context.peer {
        Peer::Client => Step::Lookup(Lookup {
            attempt: Attempt::new(context, Mechanism::External, identity),
            pending: Pending::External,
        }),
        Peer::Server => {
            let identity = Identity::Domain(identity);
            success(identity, Mechanism::External, None, None)
        }
    })
}

fn first_of_scram(
    context: &Arc<Context>,
    mechanism: Mechanism,
    hash: Hash,
    data: &[u8],
) -> Result<Step, Refusal> {
    let message = ClientFirst::parse(data)?;
    let binding = binding_data(context, mechanism, message.flag)?;
    let account = context.account(&message.username, message.authzid.as_deref())?;
    Ok(Step::Lookup(Lookup {
        attempt: Attempt::new(context, mechanism, account),
        pending: Pending::Scram(Opening {
            hash,
            bare: message.bare.to_owned(),
            nonce: message.nonce.to_owned(),
            binding: binding_value(message.header, binding),
        }),
    }))
}

/// The data that the client has to prove along with its password (RFC 5802 §6).
fn binding_data<'a>(
    context: &'a Context,
    mechanism: Mechanism,
    flag: BindingFlag<'_>,
) -> Result<&'a [u8], Refusal> {
    match (flag, mechanism.needs_binding()) {
        (BindingFlag::Unable, false) => Ok(&[]),
        // RFC 5802 §6: it would have bound if it had seen what we offer, so somebody changed that.
        (BindingFlag::NotOffered, false) if context.offer.has_plus() => {
            Err(Refusal::unauthorized("the client did not see that channel binding is offered"))
        }
        (BindingFlag::NotOffered, false) => Ok(&[]),
        (BindingFlag::Bound(name), true) => match context.offer.binding(name) {
            Some(binding) => Ok(binding.data()),
            None => Err(Refusal::unauthorized("unknown type of channel binding")),
        },
        // RFC 5802 §6: the name of the mechanism and the flag say the same.
        _ => Err(Refusal::malformed("channel binding does not suit the mechanism")),
    }
}

/// Who tries to log in, and how.
struct Attempt {
    context: Arc<Context>,
    mechanism: Mechanism,
    account: String,
}

impl Attempt {
    fn new(context: &Arc<Context>, mechanism: Mechanism, account: String) -> Self {
        Self { context: Arc::clone(context), mechanism, account }
    }

    /// The keys of the account, or those of a decoy, which is made in any case: both ways take
    /// the same time.
    fn record(
        &self,
        found: Found,
        hash: Hash,
        pick: impl Fn(&Credentials) -> Option<&Keys>,
    ) -> Result<Record, Refusal> {
        let decoy = &self.context.decoy;
        let unusable = decoy.keys(hash, &self.account);
        Record::new(found, unusable, decoy.iterations(), pick)
    }

    fn fail(self, refusal: Refusal) -> Step {
        failure(refusal, Some(self.account))
    }

    fn succeed(self, data: Option<Vec<u8>>, renewed: Option<Credentials>) -> Step {
        success(Identity::Account(self.account), self.mechanism, data, renewed)
    }
}

/// A handshake that waits for what the store knows of an account.
pub struct Lookup {
    attempt: Attempt,
    pending: Pending,
}

/// What happens once the account was looked up.
enum Pending {
    External,
    Plain(Zeroizing<String>),
    Scram(Opening),
}

/// The first message of SCRAM, as far as it is needed later.
struct Opening {
    hash: Hash,
    bare: String,
    nonce: String,
    binding: String,
}

impl Lookup {
    /// The bare JID of the account, in normal form.
    pub fn account(&self) -> &str {
        &self.attempt.account
    }

    /// Goes on with what was found. It costs the same whether there is such an account or not.
    pub fn found(self, found: Found) -> Step {
        let mut random = [0; NONCE_BYTES];
        match getrandom::fill(&mut random) {
            Ok(()) => self.found_with_nonce(found, &encode(&random)),
            Err(_) => self.attempt.fail(UNAVAILABLE),
        }
    }

    fn found_with_nonce(self, found: Found, nonce: &str) -> Step {
        let Self { attempt, pending } = self;
        match pending {
            Pending::External => certified(attempt, &found),
            // A decoy stands in for a new account, whose password is compared by SHA-256.
            Pending::Plain(password) => {
                match attempt.record(found, Hash::Sha256, Credentials::keys_for_plain) {
                    Ok(record) => Step::Check(Check { attempt, record, password }),
                    Err(refusal) => attempt.fail(refusal),
                }
            }
            Pending::Scram(opening) => {
                let hash = opening.hash;
                match attempt.record(found, hash, |credentials| credentials.keys(hash)) {
                    Ok(record) => challenge(attempt, record, opening, nonce),
                    Err(refusal) => attempt.fail(refusal),
                }
            }
        }
    }
}

/// The certificate has proven who it is; only the account must be there.
fn certified(attempt: Attempt, found: &Found) -> Step {
    match found.admits() {
        Ok(()) => attempt.succeed(None, None),
        Err(refusal) => attempt.fail(refusal),
    }
}

/// A password that waits to be compared.
pub struct Check {
    attempt: Attempt,
    record: Record,
    password: Zeroizing<String>,
}

impl Check {
    /// The bare JID of the account, in normal form; for a queue that is fair to all.
    pub fn account(&self) -> &str {
        &self.attempt.account
    }

    /// Compares the password. Expensive (1.3 ms of a core at 10,000 rounds, and 8 ms more where
    /// stored credentials are renewed), the same for accounts that do not exist.
    pub fn run(self) -> Step {
        let fits = self.record.keys.check_plain(&self.password);
        if let Err(refusal) = self.record.verdict(fits) {
            return self.attempt.fail(refusal);
        }
        // RFC 4616 §2 allows to make credentials of other kinds of what was sent.
        let iterations = self.attempt.context.decoy.iterations();
        let renewed = (!self.record.current)
            .then(|| Credentials::new(&self.password, iterations).ok())
            .flatten();
        self.attempt.succeed(None, renewed)
    }
}

/// Answers with salt and iterations (RFC 5802 §5).
fn challenge(attempt: Attempt, record: Record, opening: Opening, nonce: &str) -> Step {
    let nonce = format!("{}{nonce}", opening.nonce);
    let hash = attempt.context.offer.downgrade_hash(opening.hash);
    let keys = &record.keys;
    let message = ServerFirst::write(&nonce, keys.salt(), keys.iterations(), &hash);
    let stage = Stage::Proof(Box::new(Proof {
        attempt,
        record,
        nonce,
        binding: opening.binding,
        messages: format!("{},{message},", opening.bare),
    }));
    Step::Challenge(message.into_bytes(), Awaiting { stage })
}

/// A handshake that waits for the response to a challenge.
pub struct Awaiting {
    stage: Stage,
}

enum Stage {
    First(Arc<Context>, Mechanism),
    Proof(Box<Proof>),
}

impl Awaiting {
    /// Goes on with the response.
    pub fn respond(self, response: &[u8]) -> Step {
        match self.stage {
            Stage::First(context, mechanism) => first(&context, mechanism, response),
            Stage::Proof(proof) => proof.respond(response),
        }
    }

    /// Ends the handshake at the wish of the peer (RFC 6120 §6.4.4).
    pub fn abort(self) -> Failure {
        Failure {
            error: SaslError::Aborted,
            cause: "the peer aborted",
            account: match self.stage {
                Stage::First(..) => None,
                Stage::Proof(proof) => Some(proof.attempt.account),
            },
        }
    }
}

/// SCRAM before its last message.
struct Proof {
    attempt: Attempt,
    record: Record,
    nonce: String,
    /// The value that `c` must have.
    binding: String,
    /// AuthMessage as far as it is known: both first messages, with the comma after each.
    messages: String,
}

impl Proof {
    fn respond(self, response: &[u8]) -> Step {
        match self.verify(response) {
            Ok(signature) => {
                let data = write_server_final(signature.as_ref()).into_bytes();
                self.attempt.succeed(Some(data), None)
            }
            Err(refusal) => self.attempt.fail(refusal),
        }
    }

    /// Verifies nonce, channel binding and proof (RFC 5802 §5.1, §6, §3), and signs in turn.
    fn verify(&self, response: &[u8]) -> Result<Octets, Refusal> {
        let message = ClientFinal::parse(response)?;
        if !bool::from(message.nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(Refusal::unauthorized("the nonce is not ours"));
        }
        if !bool::from(message.binding.as_bytes().ct_eq(self.binding.as_bytes())) {
            return Err(Refusal::unauthorized("the channel binding does not match"));
        }
        let keys = &self.record.keys;
        let proof = Octets::of(keys.hash(), &message.proof)
            .ok_or(Refusal::unauthorized("the proof has a wrong size"))?;
        let auth_message = [self.messages.as_bytes(), message.without_proof.as_bytes()];
        let fits = keys.verify(&auth_message, &proof).into();
        self.record.verdict(fits)?;
        Ok(keys.sign(&auth_message))
    }
}

fn success(
    identity: Identity,
    mechanism: Mechanism,
    data: Option<Vec<u8>>,
    renewed: Option<Credentials>,
) -> Step {
    Step::Success(Success { identity, mechanism, data, renewed })
}

fn failure(refusal: Refusal, account: Option<String>) -> Step {
    Step::Failure(Failure { error: refusal.error, cause: refusal.cause, account })
}

impl fmt::Debug for Step {
    /// Says which step it is and nothing of what is secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(..) => f.write_str("Challenge"),
            Self::Lookup(lookup) => f.debug_tuple("Lookup").field(&lookup.account()).finish(),
            Self::Check(check) => f.debug_tuple("Check").field(&check.account()).finish(),
            Self::Success(success) => f.debug_tuple("Success").field(&success.identity).finish(),
            Self::Failure(failure) => f.debug_tuple("Failure").field(failure).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
