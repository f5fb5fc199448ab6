//! XEP-0388: the login that tells the server at once what the stream is to become. The stream goes on
//! behind it without a restart.

use std::sync::Arc;

use verona_xml::{Element, Tree, Writer};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::error::SaslError;
use verona_xmpp::sasl::server::{self as machine, Step};
use verona_xmpp::sasl::token::TokenMechanism;
use zeroize::Zeroizing;

use crate::server::{Host, Login, Server};
use crate::stream::bind::{self, Entered, Resumed};
use crate::stream::bind2::{self, Bound, Client};
use crate::stream::fast;
use crate::stream::features::{self, Offers};
use crate::stream::login::{self, Profile, Proven};
use crate::stream::open::{End, Open};
use crate::stream::upgrade;
use crate::stream::user_agent::UserAgent;

/// What a login has led to.
pub enum Reached {
    /// An account without a resource, and what its client told of itself.
    Account(Jid, Option<UserAgent>),
    /// A session: a new one (XEP-0386), or one that goes on (XEP-0198 §9.2).
    Session(Entered),
}

/// Carries out one login that began with `authenticate`; None after a failure that the client was
/// told, so that it may try again.
pub async fn authenticate(
    open: &mut Open,
    request: &Tree,
    offers: &Offers,
    host: &Arc<Host>,
) -> Result<Option<Reached>, End> {
    let root = request.root();
    let mechanism = root.attr("mechanism").unwrap_or_default();
    let initial = initial_response(root);
    let found = match (&initial, fast::is_meant(mechanism)) {
        (Ok(initial), true) => {
            let initial = initial.as_ref().map(|initial| initial.as_slice());
            fast::authenticate(open, root, (&offers.sasl2, initial)).await?
        }
        (Ok(initial), false) => {
            let initial = initial.as_ref().map(|initial| initial.as_slice());
            let step = machine::start(&offers.sasl2, mechanism, initial);
            prove(open, step).await?
        }
        (Err(error), _) => prove(open, login::failure(*error)).await?,
    };
    let Some((mut proven, due)) = found else { return Ok(None) };
    let by_token = fast::is_meant(mechanism);
    // XEP-0480 §2.2: before the success. Who has a token alone has not proven to know the password, and
    // must not be able to set one.
    if !by_token && !upgrade::carry_out(open, host, root, &mut proven).await? {
        return Ok(None);
    }
    let agent = UserAgent::read(root);
    greet(&open.server.clone(), host, &proven, agent.as_ref().map(|agent| (agent, by_token))).await;
    // XEP-0484 §3.5: also without being asked.
    let token = fast::requested(root, &offers.sasl2).or(due);
    go_on(open, host, root, (&proven, token)).await.map(Some)
}

/// Tells the modules who has logged in.
async fn greet(
    server: &Arc<Server>,
    host: &Arc<Host>,
    proven: &Proven,
    client: Option<(&UserAgent, bool)>,
) {
    let Some((agent, by_token)) = client else { return };
    // It was there just now; when it is not any more, or not to be had, there is nobody to be told of.
    if let Ok(Some(account)) = server.account(&proven.account).await {
        let login = Login { server, account: &account, agent, by_token };
        host.registry().logged_in(&login);
    }
}

async fn prove(
    open: &mut Open,
    step: Step,
) -> Result<Option<(Proven, Option<TokenMechanism>)>, End> {
    let proven = login::handshake(open, step, Profile::Sasl2).await?;
    Ok(proven.map(|proven| (proven, None)))
}

/// Carries out what was asked for along with the login; resuming before binding (XEP-0386 §3.2).
async fn go_on(
    open: &mut Open,
    host: &Arc<Host>,
    request: Element<'_>,
    (proven, token): (&Proven, Option<TokenMechanism>),
) -> Result<Reached, End> {
    let server = open.server.clone();
    let account = &proven.account;
    let mut results = Vec::new();
    if let Some(mechanism) = token {
        let agent = UserAgent::read(request);
        results.extend(fast::give((&server, &open.id), proven, agent, mechanism).await);
    }
    if let Some(resume) = request.child("resume", ns::SM) {
        match bind::resume(&server, account, resume, &open.id).await? {
            Ok(Resumed { mut entered, answer }) => {
                // XEP-0198 §9.2: the session goes on at once, without features.
                results.push(answer);
                let text = success(proven, &entered.seat.link.jid, &results);
                entered.first.splice(..0, text.into_bytes());
                return Ok(Reached::Session(entered));
            }
            Err(failed) => results.push(failed),
        }
    }
    // §2.6.1: the features follow at once.
    let Some(wish) = request.child("bind", ns::BIND2) else {
        let mut text = success(proven, account, &results);
        text.push_str(&features::before_bind(open, host));
        open.send(&text).await?;
        return Ok(Reached::Account(account.clone(), UserAgent::read(request)));
    };
    let Some(account) = &open.account else { return Err(End::Closed) };
    let client = Client { host, account, agent: UserAgent::read(request) };
    let Bound { seat, managed, answer } = bind2::bind(&server, client, wish).await?;
    results.push(answer);
    let mut text = success(proven, &seat.link.jid, &results);
    text.push_str(&features::after_bind(open, host, managed.is_some()));
    let managed = managed.map(Box::new);
    Ok(Reached::Session(Entered { seat, managed, first: text.into_bytes() }))
}

/// §2.2: an element without text is empty data, and no element is none.
fn initial_response(request: Element<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, SaslError> {
    let element = request.child("initial-response", ns::SASL2);
    element.map(|element| login::decode(&element.text())).transpose()
}

/// §2.6.1: who is logged in, with the resource if there is one, and what became of what was asked for along with it.
fn success(proven: &Proven, who: &Jid, results: &[String]) -> String {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("success", ns::SASL2);
    if let Some(data) = &proven.data {
        writer.start("additional-data", ns::SASL2).text(&encoding::encode(data)).end();
    }
    writer.start("authorization-identifier", ns::SASL2).text(who.as_str()).end();
    for result in results {
        writer.raw_element(result, ns::CLIENT);
    }
    writer.end();
    writer.finish()
}
