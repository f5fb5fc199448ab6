//! RFC 6120 §6: SASL on a stream. The mechanisms are machines without I/O; here is what is around
//! them: the elements, the store, the pool for hashing, and the patience with failures.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::{Element, Tree};
use verona_xmpp::error::StreamCondition;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::credentials::Credentials;
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::error::SaslError;
use verona_xmpp::sasl::record::Found;
use verona_xmpp::sasl::server::{self as machine, Awaiting, Failure, Identity, Step};
use zeroize::Zeroizing;

use crate::account::Account;
use crate::account::credentials::{self, Record};
use crate::login::guard::Patience;
use crate::server::Server;
use crate::store::error::StoreError;
use crate::stream::features::Offers;
use crate::stream::keys;
use crate::stream::open::{End, Open};

/// How long what is known of an account takes at least: longer than a look at the disk.
pub const LOOKUP: Duration = Duration::from_millis(2);

/// In which elements the messages of a mechanism travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// RFC 6120 §6.
    Sasl,
    /// XEP-0388.
    Sasl2,
}

/// The end of a handshake that went well.
pub struct Proven {
    /// Who is logged in.
    pub account: Jid,
    /// What the mechanism wants the client to be told with the success.
    pub data: Option<Vec<u8>>,
    /// The fingerprint of the password's keys when they were looked at: what was proven holds for these.
    pub fingerprint: Vec<u8>,
}

impl Profile {
    fn ns(self) -> &'static str {
        match self {
            Self::Sasl => ns::SASL,
            Self::Sasl2 => ns::SASL2,
        }
    }

    /// The next element of the peer. XEP-0388 §2.4: nothing else comes in between, not even whitespace.
    pub async fn next(self, open: &mut Open) -> Result<Tree, End> {
        match self {
            Self::Sasl => open.element().await,
            Self::Sasl2 => open.element_alone().await,
        }
    }
}

/// Carries out one handshake that began with `auth`; None after a failure that the client was told,
/// so that it may try again.
pub async fn sasl(open: &mut Open, auth: &Tree, offers: &Offers) -> Result<Option<Jid>, End> {
    let root = auth.root();
    let mechanism = root.attr("mechanism").unwrap_or_default();
    let step = match encoding::decode_initial(&root.text()) {
        Ok(initial) => machine::start(
            &offers.sasl,
            mechanism,
            initial.as_ref().map(|initial| initial.as_slice()),
        ),
        Err(error) => failure(error),
    };
    let Some(proven) = handshake(open, step, Profile::Sasl).await? else { return Ok(None) };
    let data = proven.data.as_deref().map(encoding::encode).unwrap_or_default();
    open.send_with(|w| {
        w.start("success", ns::SASL).text(&data).end();
    })
    .await?;
    Ok(Some(proven.account))
}

/// Carries out a handshake from its first step to the point where somebody is logged in, which is
/// for the caller to say; None after a failure that the client was told.
pub async fn handshake(
    open: &mut Open,
    mut step: Step,
    profile: Profile,
) -> Result<Option<Proven>, End> {
    let (mut keys, mut made_micros) = (Vec::new(), 0);
    loop {
        step = match step {
            Step::Challenge(data, awaiting) => {
                let text = encoding::encode(&data);
                open.send_with(|w| {
                    w.start("challenge", profile.ns()).text(&text).end();
                })
                .await?;
                let answer = profile.next(open).await?;
                respond(answer.root(), awaiting, profile)?
            }
            Step::Lookup(lookup) => {
                let (found, made) = look_up_slowly(&open.server, lookup.account(), &open.id).await;
                made_micros = made;
                keys = match &found {
                    Found::Active(credentials) => credentials::fingerprint(credentials),
                    _ => credentials::no_fingerprint(),
                };
                lookup.found(found)
            }
            Step::Check(check) => on_pool(&open.server, check).await,
            Step::Success(success) => {
                let Identity::Account(account) = &success.identity else {
                    return Err(End::Closed);
                };
                let Ok(account) = Jid::parse(account) else { return Err(End::Closed) };
                tracing::info!(
                    stream = %open.id, %account, mechanism = success.mechanism.name(),
                    peer = %open.wire.peer(),
                    "logged in"
                );
                if let Some(renewed) = success.renewed {
                    keys = renew(&open.server, &account, keys, renewed).await;
                }
                if let Err(failure) = enter(open, &account, made_micros).await {
                    refuse(open, &failure, profile).await?;
                    return Ok(None);
                }
                return Ok(Some(Proven { account, data: success.data, fingerprint: keys }));
            }
            Step::Failure(failure) => {
                refuse(open, &failure, profile).await?;
                return Ok(None);
            }
        };
    }
}

/// Holds the account that somebody has proven to be, so that no session begins on another of the same
/// name that was made, at another time, while this one was proven.
pub async fn enter(open: &mut Open, account: &Jid, made_micros: u64) -> Result<(), Failure> {
    let failure = |error, cause| Failure { error, cause, account: Some(account.to_string()) };
    match made_at(&open.server, account, made_micros).await {
        Ok(Some(found)) => {
            open.account = Some(found);
            Ok(())
        }
        Ok(None) => {
            Err(failure(SaslError::NotAuthorized, "the account was removed during the login"))
        }
        Err(error) => {
            tracing::error!(stream = %open.id, %account, %error, "cannot read the account");
            Err(failure(SaslError::TemporaryAuthFailure, "the store failed"))
        }
    }
}

/// The account of this name, if it is the one that was made at a time, in microseconds since the epoch.
pub async fn made_at(
    server: &Server,
    account: &Jid,
    made_micros: u64,
) -> Result<Option<Arc<Account>>, StoreError> {
    // One that is made anew behind this leaves the one that is found here gone.
    let found = server.account(account).await?;
    Ok(found.filter(|found| found.turn().created_micros == made_micros))
}

/// Keeps better keys of a password that was sent (RFC 4616 §2), if that goes; gives the fingerprint of
/// those that count.
async fn renew(server: &Server, account: &Jid, keys: Vec<u8>, renewed: Credentials) -> Vec<u8> {
    match keys::renew(server, account, &keys, |_| renewed).await {
        Ok(fresh) => fresh.unwrap_or(keys),
        Err(error) => {
            tracing::error!(%account, %error, "cannot keep keys");
            keys
        }
    }
}

/// The client's next element within a handshake (RFC 6120 §6.4.3, §6.4.4; XEP-0388 §2.4, §2.5).
fn respond(answer: Element<'_>, awaiting: Awaiting, profile: Profile) -> Result<Step, End> {
    if answer.is("abort", profile.ns()) {
        return Ok(Step::Failure(awaiting.abort()));
    }
    if !answer.is("response", profile.ns()) {
        return Err(StreamCondition::NotAuthorized.into());
    }
    let data = match profile {
        Profile::Sasl => encoding::decode_initial(&answer.text()).map(Option::unwrap_or_default),
        Profile::Sasl2 => decode(&answer.text()),
    };
    Ok(match data {
        Ok(data) => awaiting.respond(&data),
        Err(error) => failure(error),
    })
}

/// XEP-0388 §2.2: clients should not wrap the base64 into whitespace; the examples do.
pub fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    encoding::decode(text.trim_ascii())
}

/// A handshake that failed before its mechanism was asked.
pub fn failure(error: SaslError) -> Step {
    Step::Failure(Failure { error, cause: "base64 cannot be read", account: None })
}

/// What is known of an account, and when it was made. Told no sooner than this, and by the same way for
/// all, it comes to the same whether there is such an account (RFC 6120 §13.11).
async fn look_up_slowly(server: &Server, account: &str, stream: &str) -> (Found, u64) {
    let looking = look_up(server, account, stream);
    let (found, ()) = tokio::join!(looking, tokio::time::sleep(LOOKUP));
    found
}

async fn look_up(server: &Server, account: &str, stream: &str) -> (Found, u64) {
    let Ok(jid) = Jid::parse(account) else { return (Found::Unknown, 0) };
    match server.account_record(&jid).await {
        Ok(Some(record)) => {
            let Record { disabled, created_micros, credentials } = record;
            let found = if disabled { Found::Disabled } else { Found::Active };
            (found(credentials), created_micros)
        }
        Ok(None) => (Found::Unknown, 0),
        Err(error) => {
            tracing::error!(%stream, account, %error, "cannot read credentials");
            (Found::Unavailable, 0)
        }
    }
}

/// Compares a password on the pool for hashing; `temporary-auth-failure` when too many wait.
async fn on_pool(server: &Server, check: machine::Check) -> Step {
    match server.hashing.run(move || check.run()).await {
        Some(step) => step,
        None => Step::Failure(Failure {
            error: SaslError::TemporaryAuthFailure,
            cause: "too many passwords wait to be compared",
            account: None,
        }),
    }
}

/// Tells a failure: later, when the address had many.
pub async fn refuse(open: &mut Open, failure: &Failure, profile: Profile) -> Result<(), End> {
    let peer = open.wire.peer();
    tracing::warn!(
        stream = %open.id, %peer, account = failure.account.as_deref().unwrap_or("?"),
        error = %failure.error,
        cause = failure.cause, "login failed"
    );
    note_failure(&open.server, peer).await;
    let name = failure.error.name();
    open.send_with(|w| {
        w.start("failure", profile.ns()).empty(name, ns::SASL).end();
    })
    .await
}

/// Counts a failed login, and waits when the address had too many.
pub async fn note_failure(server: &Server, peer: std::net::IpAddr) {
    let (patience, unlimited) = {
        let limits = &server.policy().limits;
        let patience = Patience {
            failures_max: limits.failed_logins_per_address,
            window_secs: limits.failed_logins_window_secs,
            delay_secs_max: limits.failed_login_delay_secs_max,
        };
        (patience, limits.unlimited)
    };
    if unlimited {
        return;
    }
    let now = server.clock.uptime_secs();
    server.logins.failed(peer, now, patience);
    if let Some(delay) = server.logins.delay(peer, now, patience) {
        tokio::time::sleep(delay).await;
    }
}
