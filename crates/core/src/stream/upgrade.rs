//! XEP-0480: a client that has proven its password hands over what another mechanism of SCRAM needs of
//! it, so that an account from elsewhere can be logged in to with that as well.

use verona_xml::{Element, Tree};
use verona_xmpp::error::StreamCondition;
use verona_xmpp::ns;
use verona_xmpp::sasl::credentials::{ITERATIONS_MIN, Keys};
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::error::{Refusal, SaslError};
use verona_xmpp::sasl::hash::Hash;
use verona_xmpp::sasl::server::Failure;

use crate::server::Host;
use crate::stream::features::{NS_UPGRADE as NS, UPGRADES};
use crate::stream::keys::renew;
use crate::stream::login::{self, Profile, Proven};
use crate::stream::open::{End, Open};

const NS_SCRAM: &str = "urn:xmpp:scram-upgrade:0";

const SALT_BYTES: usize = 16;

/// §2.2: carries out the tasks that the client asks for along with its login and that its account
/// needs, one after the other. False after a failure that the client was told: it is not logged in.
pub async fn carry_out(
    open: &mut Open,
    host: &Host,
    request: Element<'_>,
    proven: &mut Proven,
) -> Result<bool, End> {
    let wanted = |task: &str| {
        request.children().any(|child| child.is("upgrade", NS) && child.text().trim() == task)
    };
    let iterations = host.settings().password_iterations.max(ITERATIONS_MIN);
    for (task, hash) in UPGRADES.into_iter().filter(|(task, _)| wanted(task)) {
        let record = match open.server.account_record(&proven.account).await {
            Ok(Some(record)) => record,
            Ok(None) | Err(_) => return failed(open, proven, UNAVAILABLE).await,
        };
        let keys = record.credentials.keys(hash);
        if keys.is_some_and(|keys| keys.iterations() >= iterations) {
            continue;
        }
        if let Err(refusal) = one(open, (task, hash), iterations, proven).await? {
            return failed(open, proven, refusal).await;
        }
    }
    Ok(true)
}

const UNAVAILABLE: Refusal = Refusal::new(SaslError::TemporaryAuthFailure, "the store failed");

async fn failed(open: &mut Open, proven: &Proven, refusal: Refusal) -> Result<bool, End> {
    let Refusal { error, cause } = refusal;
    let account = Some(proven.account.to_string());
    login::refuse(open, &Failure { error, cause, account }, Profile::Sasl2).await?;
    Ok(false)
}

/// §2.3, §3: one task.
async fn one(
    open: &mut Open,
    (task, hash): (&str, Hash),
    iterations: u32,
    proven: &mut Proven,
) -> Result<Result<(), Refusal>, End> {
    // XEP-0388 §2.6.3: what ends the mechanism comes with the first of these, and so not with success.
    let data = proven.data.take().map(|data| encoding::encode(&data));
    open.send_with(|w| {
        w.start("continue", ns::SASL2);
        if let Some(data) = &data {
            w.start("additional-data", ns::SASL2).text(data).end();
        }
        w.start("tasks", ns::SASL2).start("task", ns::SASL2).text(task).end().end();
        w.end();
    })
    .await?;
    let next = Profile::Sasl2.next(open).await?;
    if next.root().is("abort", ns::SASL2) {
        return Ok(Err(ABORTED));
    }
    if !next.root().is("next", ns::SASL2) {
        return Err(StreamCondition::NotAuthorized.into());
    }
    if next.root().attr("task") != Some(task) {
        return Ok(Err(Refusal::malformed("another task than the one that was offered")));
    }
    let mut salt = [0; SALT_BYTES];
    if getrandom::fill(&mut salt).is_err() {
        return Ok(Err(UNAVAILABLE));
    }
    open.send_with(|w| {
        w.start("task-data", ns::SASL2).start("salt", NS_SCRAM);
        w.attr("iterations", &iterations.to_string()).text(&encoding::encode(&salt));
        w.end().end();
    })
    .await?;
    let answer = Profile::Sasl2.next(open).await?;
    let keys = match read(&answer, (hash, iterations), &salt)? {
        Ok(keys) => keys,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let server = open.server.clone();
    match renew(&server, &proven.account, &proven.fingerprint, |old| old.with(keys)).await {
        Ok(Some(fingerprint)) => proven.fingerprint = fingerprint,
        // The password was changed meanwhile: the login stands, what belongs to the old one does not.
        Ok(None) => {}
        Err(error) => {
            tracing::error!(account = %proven.account, %error, "cannot keep keys");
            return Ok(Err(UNAVAILABLE));
        }
    }
    Ok(Ok(()))
}

const ABORTED: Refusal = Refusal::new(SaslError::Aborted, "the peer aborted");

/// §3: SaltedPassword.
fn read(
    answer: &Tree,
    (hash, iterations): (Hash, u32),
    salt: &[u8],
) -> Result<Result<Keys, Refusal>, End> {
    let root = answer.root();
    if root.is("abort", ns::SASL2) {
        return Ok(Err(ABORTED));
    }
    if !root.is("task-data", ns::SASL2) {
        return Err(StreamCondition::NotAuthorized.into());
    }
    let Some(salted) = root.child("hash", NS_SCRAM) else {
        return Ok(Err(Refusal::malformed("a task without its hash")));
    };
    let Ok(salted) = login::decode(&salted.text()) else {
        return Ok(Err(Refusal::new(SaslError::IncorrectEncoding, "base64 cannot be read")));
    };
    let keys = Keys::from_salted_password(hash, (salt, iterations), &salted);
    Ok(keys.map_err(|_| Refusal::malformed("a hash of another size")))
}
