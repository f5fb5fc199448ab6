//! XEP-0484: a token in exchange for a login, with which the client logs in in one round trip from
//! then on.

use verona_xml::{Element, Writer};
use verona_xmpp::date;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::context::Context;
use verona_xmpp::sasl::error::{Refusal, SaslError};
use verona_xmpp::sasl::server::Failure;
use verona_xmpp::sasl::token::{self, Claim, TokenMechanism};

use crate::account::Account;
use crate::account::credentials::{Record, fingerprint};
use crate::limits::TOKEN_CLIENTS_MAX;
use crate::server::Server;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::stream::features::NS_FAST as NS;
use crate::stream::login::{self, Profile, Proven};
use crate::stream::open::{End, Open};
use crate::stream::token_store::{self, TOKENS};
use crate::stream::tokens::{Attempt, Token};
use crate::stream::user_agent::UserAgent;

const MICROS: u64 = 1_000_000;

/// Whether somebody wants to log in with a token.
pub fn is_meant(mechanism: &str) -> bool {
    TokenMechanism::named(mechanism).is_some()
}

/// §3.2: the mechanism for which a token is asked for, when it is offered.
pub fn requested(request: Element<'_>, context: &Context) -> Option<TokenMechanism> {
    let mechanism = request.child("request-token", NS)?.attr("mechanism")?;
    TokenMechanism::offered(context).find(|offered| offered.name() == mechanism)
}

/// Logs somebody in with a token (§3.4), and says whether it is to be replaced (§3.5). None after a
/// failure that the client was told.
pub async fn authenticate(
    open: &mut Open,
    request: Element<'_>,
    (context, initial): (&Context, Option<&[u8]>),
) -> Result<Option<(Proven, Option<TokenMechanism>)>, End> {
    let refusal = match read(request, context, initial) {
        Ok((claim, agent)) => {
            match check_slowly((&open.server, &open.id), request, &claim, &agent).await {
                Ok((answer, due, record)) => {
                    let Ok(account) = Jid::parse(&claim.account) else { return Err(End::Closed) };
                    if let Err(failure) = login::enter(open, &account, record.created_micros).await
                    {
                        login::refuse(open, &failure, Profile::Sasl2).await?;
                        return Ok(None);
                    }
                    let mechanism = claim.mechanism.name();
                    let peer = open.wire.peer();
                    tracing::info!(stream = %open.id, %account, mechanism, %peer, "logged in");
                    let fingerprint = fingerprint(&record.credentials);
                    let proven = Proven { account, data: Some(answer), fingerprint };
                    return Ok(Some((proven, due.then_some(claim.mechanism))));
                }
                Err(refusal) => (refusal, Some(claim.account)),
            }
        }
        Err(refusal) => (refusal, None),
    };
    let (Refusal { error, cause }, account) = refusal;
    login::refuse(open, &Failure { error, cause, account }, Profile::Sasl2).await?;
    Ok(None)
}

/// §3.4, §4.1: a token is used with the elements that say so, and by a client that says who it is.
fn read(
    request: Element<'_>,
    context: &Context,
    initial: Option<&[u8]>,
) -> Result<(Claim, Box<str>), Refusal> {
    let mechanism = request.attr("mechanism").unwrap_or_default();
    let claim = Claim::read(context, mechanism, initial.unwrap_or_default())?;
    let agent = UserAgent::read(request).and_then(|agent| agent.id);
    match (request.child("fast", NS), agent) {
        (Some(_), Some(agent)) => Ok((claim, agent)),
        _ => Err(Refusal::malformed("a token without <fast/>, or of no user agent")),
    }
}

/// Whether there is such an account, and what of it is in memory, must not show in the time.
async fn check_slowly(
    asked: (&Server, &str),
    request: Element<'_>,
    claim: &Claim,
    agent: &str,
) -> Result<(Vec<u8>, bool, Record), Refusal> {
    let (checked, ()) =
        tokio::join!(check(asked, request, claim, agent), tokio::time::sleep(login::LOOKUP));
    checked
}

async fn check(
    (server, stream): (&Server, &str),
    request: Element<'_>,
    claim: &Claim,
    agent: &str,
) -> Result<(Vec<u8>, bool, Record), Refusal> {
    // The same for accounts that there are not: two looks at the disk, and one proof is compared.
    let unknown = Refusal::unauthorized("no such token");
    let decoy = token::hashed(agent);
    let account = Jid::parse(&claim.account).map_err(|_| unknown)?;
    let unavailable = |error| unavailable(stream, &claim.account, &error);
    let record = server.account_record(&account).await.map_err(unavailable)?;
    let account = server.account(&account).await.map_err(unavailable)?;
    let (Some(record), Some(account)) = (record, account) else {
        let _ = claim.fits(&decoy);
        return Err(unknown);
    };
    let edit = account.edit(server).await;
    let Some(mut tokens) =
        token_store::of_client(server, &account, agent).await.map_err(unavailable)?
    else {
        let _ = claim.fits(&decoy);
        return Err(unknown);
    };
    let fast = request.child("fast", NS);
    let attr = |name| fast.and_then(|fast| fast.attr(name));
    let before = tokens.clone();
    let used = tokens.log_in(&Attempt {
        claim,
        count: attr("count").and_then(|count| count.parse().ok()),
        credentials: &fingerprint(&record.credentials),
        now_secs: server.clock.now_micros() / MICROS,
    })?;
    if record.disabled {
        return Err(Refusal::new(SaslError::AccountDisabled, "the account is disabled"));
    }
    // §3.6: a client that logs out for good has no use for any of its tokens.
    let invalidate = matches!(attr("invalidate"), Some("1" | "true"));
    let mut batch = Batch::new();
    if invalidate {
        batch.delete(TOKENS, &account.owner, agent);
    } else if tokens != before {
        token_store::put(&mut batch, &account, agent, &tokens);
    }
    edit.commit(batch).await.map_err(unavailable)?;
    Ok((used.answer, used.due && !invalidate, record))
}

fn unavailable(stream: &str, account: &str, error: &StoreError) -> Refusal {
    tracing::error!(%stream, account, %error, "cannot look at tokens");
    Refusal::new(SaslError::TemporaryAuthFailure, "the store failed")
}

/// §3.3: gives a client that is logged in a token; none when it does not say who it is, when the password
/// is not any more what it has proven, or when the token cannot be kept.
pub async fn give(
    (server, stream): (&Server, &str),
    proven: &Proven,
    agent: Option<UserAgent>,
    mechanism: TokenMechanism,
) -> Option<String> {
    let agent = agent?.id?;
    match try_to_give(server, proven, &agent, mechanism).await {
        Ok(given) => given,
        Err(error) => {
            tracing::error!(%stream, account = %proven.account, %error, "cannot keep a token");
            None
        }
    }
}

async fn try_to_give(
    server: &Server,
    proven: &Proven,
    agent: &str,
    mechanism: TokenMechanism,
) -> Result<Option<String>, StoreError> {
    let (Some(account), Some(text)) = (server.account(&proven.account).await?, token::fresh())
    else {
        return Ok(None);
    };
    let edit = account.edit(server).await;
    // A login may take its time (XEP-0480 asks for keys in between), and the password be changed, or the
    // account be made anew, meanwhile: who has proven what was before gets no token for what is now.
    let record = server.account_record(&proven.account).await?;
    if record.is_none_or(|record| fingerprint(&record.credentials) != proven.fingerprint) {
        return Ok(None);
    }
    let now_secs = server.clock.now_micros() / MICROS;
    let token = Token::new(mechanism, &token::hashed(&text), (&proven.fingerprint, now_secs));
    let expires_micros = token.expires_secs().saturating_mul(MICROS);
    let mut batch = Batch::new();
    make_room(server, &account, agent, &mut batch).await?;
    let mut tokens = token_store::of_client(server, &account, agent).await?.unwrap_or_default();
    tokens.give(token);
    token_store::put(&mut batch, &account, agent, &tokens);
    edit.commit(batch).await?;
    let mut writer = Writer::new(ns::CLIENT);
    let expiry = date::write(i64::try_from(expires_micros).unwrap_or(i64::MAX));
    writer.start("token", NS).attr("token", &text).attr("expiry", &expiry).end();
    Ok(Some(writer.finish()))
}

/// The client whose tokens expire first goes when there are too many.
async fn make_room(
    server: &Server,
    account: &Account,
    agent: &str,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let clients = token_store::of_all(server, account).await?;
    if clients.len() < TOKEN_CLIENTS_MAX || clients.iter().any(|(of, _)| &**of == agent) {
        return Ok(());
    }
    if let Some((first, _)) = clients.iter().min_by_key(|(_, tokens)| tokens.expires_secs()) {
        batch.delete(TOKENS, &account.owner, first);
    }
    Ok(())
}
