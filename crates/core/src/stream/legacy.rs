//! XEP-0078: jabber:iq:auth, for clients older than XMPP 1.0, when the operator has allowed it.
//!
//! Only passwords: the digest of XEP-0078 §3.1 would need them stored in clear.

use std::sync::Arc;

use verona_xml::{Element, Tree, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::server::{Host, Seat, Server};
use crate::stream::bind::bind;
use crate::stream::login::{made_at, note_failure};
use crate::stream::open::{End, Open};

const NS: &str = "jabber:iq:auth";

/// What became of an element.
pub enum Outcome {
    /// Somebody is logged in and bound; the session tells them.
    Bound(Seat, String),
    /// The login failed, and the client was told.
    Refused,
    /// The request was answered.
    Answered,
    /// It is not for here.
    NotAsked,
}

/// Answers a request of jabber:iq:auth.
pub async fn answer(open: &mut Open, host: &Arc<Host>, tree: &Tree) -> Result<Outcome, End> {
    let root = tree.root();
    let query = root.child("query", NS).filter(|_| root.is("iq", ns::CLIENT));
    let (Some(query), Ok(iq)) = (query, Stanza::parse(&root.to_text(ns::CLIENT))) else {
        return Ok(Outcome::NotAsked);
    };
    if iq.iq_type() == Some(IqType::Get) {
        open.send(iq.result(&fields()).text()).await?;
        return Ok(Outcome::Answered);
    }
    match log_in(&open.server, host, query).await {
        Ok(seat) => {
            let peer = open.wire.peer();
            tracing::info!(
                stream = %open.id, account = %seat.account.jid, mechanism = NS, %peer, "logged in"
            );
            Ok(Outcome::Bound(seat, iq.result("").text().into()))
        }
        Err(error) => {
            let refused = error.condition == Condition::NotAuthorized;
            if refused {
                let name = query.child("username", NS).map(|name| name.text()).unwrap_or_default();
                tracing::warn!(
                    stream = %open.id, peer = %open.wire.peer(), account = name.as_ref(),
                    error = error.condition.name(), mechanism = NS, "login failed"
                );
                note_failure(&open.server, open.wire.peer()).await;
            }
            if let Some(answer) = iq.error_answer(&error) {
                open.send(answer.text()).await?;
            }
            Ok(if refused { Outcome::Refused } else { Outcome::Answered })
        }
    }
}

fn fields() -> String {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("query", NS);
    writer.empty("username", NS).empty("password", NS).empty("resource", NS);
    writer.end();
    writer.finish()
}

/// XEP-0078 §3.1: `not-acceptable` when something is missing, `not-authorized` when it is wrong.
async fn log_in(
    server: &Arc<Server>,
    host: &Arc<Host>,
    query: Element<'_>,
) -> Result<Seat, StanzaError> {
    let field = |name| {
        let text = query.child(name, NS).map(|field| field.text().into_owned());
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| StanzaError::new(Condition::NotAcceptable))
    };
    let (name, password, resource) = (field("username")?, field("password")?, field("resource")?);
    let refused = || StanzaError::new(Condition::NotAuthorized);
    let account = Jid::from_parts(Some(&name), host.jid.domain(), None).map_err(|_| refused())?;
    let record = server.account_record(&account).await?;
    let made_micros = record.as_ref().map_or(0, |record| record.created_micros);
    let (decoy, text) = (server.decoy.clone(), account.to_string());
    let proven = server.hashing.run(move || match record {
        Some(record) => record.credentials.check_plain(&password) && !record.disabled,
        None => decoy.check_plain(&text, &password),
    });
    match proven.await {
        Some(true) => match made_at(server, &account, made_micros).await? {
            Some(account) => bind(server, host, &account, Some(&resource)).await,
            None => Err(refused()),
        },
        Some(false) => Err(refused()),
        None => Err(StanzaError::new(Condition::ResourceConstraint)),
    }
}
