//! RFC 6120 §6: SASL on a stream. The mechanisms are machines without I/O; here is what is around
//! them: the elements, the store, the pool for hashing, and the patience with failures.

use verona_xml::{Element, Tree};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::error::SaslError;
use verona_xmpp::sasl::record::Found;
use verona_xmpp::sasl::server::{self as machine, Awaiting, Failure, Identity, Step};

use crate::login::guard::Patience;
use crate::server::Server;
use crate::stream::features::Offers;
use crate::stream::open::{End, Open};

/// Carries out one handshake that began with `auth`. The inner error is a failure that the client
/// was told; it may try again.
pub async fn sasl(open: &mut Open, auth: &Tree, offers: &Offers) -> Result<Result<Jid, ()>, End> {
    let root = auth.root();
    let mechanism = root.attr("mechanism").unwrap_or_default();
    let mut step = match encoding::decode_initial(&root.text()) {
        Ok(initial) => machine::start(
            &offers.sasl,
            mechanism,
            initial.as_ref().map(|initial| initial.as_slice()),
        ),
        Err(error) => failure(error),
    };
    loop {
        step = match step {
            Step::Challenge(data, awaiting) => {
                let text =
                    encoding::encode_initial(Some(data.as_slice()).filter(|d| !d.is_empty()));
                open.send_with(|w| {
                    w.start("challenge", ns::SASL).text(&text).end();
                })
                .await?;
                let answer = open.element().await?;
                respond(answer.root(), awaiting)?
            }
            Step::Lookup(lookup) => {
                let found = look_up(&open.server, lookup.account()).await;
                lookup.found(found)
            }
            Step::Check(check) => on_pool(&open.server, check).await,
            Step::Success(success) => {
                let Identity::Account(account) = &success.identity else {
                    return Err(End::Closed);
                };
                let Ok(account) = Jid::parse(account) else { return Err(End::Closed) };
                tracing::info!(
                    %account, mechanism = success.mechanism.name(), peer = %open.wire.peer(),
                    "logged in"
                );
                let data = success.data.as_deref().map(encoding::encode).unwrap_or_default();
                open.send_with(|w| {
                    w.start("success", ns::SASL).text(&data).end();
                })
                .await?;
                return Ok(Ok(account));
            }
            Step::Failure(failure) => {
                refuse(open, &failure).await?;
                return Ok(Err(()));
            }
        };
    }
}

/// The client's next element within a handshake (RFC 6120 §6.4.3, §6.4.4).
fn respond(answer: Element<'_>, awaiting: Awaiting) -> Result<Step, End> {
    if answer.is("abort", ns::SASL) {
        return Ok(Step::Failure(awaiting.abort()));
    }
    if !answer.is("response", ns::SASL) {
        return Err(verona_xmpp::error::StreamCondition::NotAuthorized.into());
    }
    Ok(match encoding::decode_initial(&answer.text()) {
        Ok(data) => {
            let data = data.as_ref().map(|data| data.as_slice()).unwrap_or_default();
            awaiting.respond(data)
        }
        Err(error) => failure(error),
    })
}

fn failure(error: SaslError) -> Step {
    Step::Failure(Failure { error, cause: "base64 cannot be read", account: None })
}

async fn look_up(server: &Server, account: &str) -> Found {
    let Ok(jid) = Jid::parse(account) else { return Found::Unknown };
    match server.account_record(&jid).await {
        Ok(Some(record)) if record.disabled => Found::Disabled(record.credentials),
        Ok(Some(record)) => Found::Active(record.credentials),
        Ok(None) => Found::Unknown,
        Err(error) => {
            tracing::error!(account, %error, "cannot read credentials");
            Found::Unavailable
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
async fn refuse(open: &mut Open, failure: &Failure) -> Result<(), End> {
    let peer = open.wire.peer();
    tracing::warn!(
        %peer, account = failure.account.as_deref().unwrap_or("?"), error = %failure.error,
        cause = failure.cause, "login failed"
    );
    note_failure(&open.server, peer).await;
    let name = failure.error.name();
    open.send_with(|w| {
        w.start("failure", ns::SASL).empty(name, ns::SASL).end();
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
