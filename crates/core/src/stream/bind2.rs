//! XEP-0386: a resource bound along with the login, with all that its session needs turned on before
//! anything can reach it.

use std::sync::Arc;

use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::hash::Hash;

use crate::account::Account;
use crate::account::backlog::READS_ARCHIVE;
use crate::account::state::State;
use crate::server::{Host, Inline, Seat, Server};
use crate::stream::bind::{Wish, bind_with};
use crate::stream::management::Managed;
use crate::stream::open::End;
use crate::stream::resume;
use crate::stream::user_agent::UserAgent;
use crate::token;
use crate::trail::{Step, Trail};

/// Bytes of a resourcepart that stands for a client: too many to be guessed.
const CLIENT_BYTES: usize = 12;

/// A resource that is bound.
pub struct Bound {
    /// The session.
    pub seat: Seat,
    /// Its counters, when it was asked for them.
    pub managed: Option<Managed>,
    /// What the client is told.
    pub answer: String,
}

/// Who binds.
pub struct Client<'a> {
    /// The account's host.
    pub host: &'a Arc<Host>,
    /// The account.
    pub account: &'a Arc<Account>,
    /// What the client told of itself.
    pub agent: Option<UserAgent>,
}

/// Binds a resource as a request wants it (§3.2).
pub async fn bind(
    server: &Arc<Server>,
    client: Client<'_>,
    request: Element<'_>,
) -> Result<Bound, End> {
    let Client { host, account, agent } = client;
    let id = agent.as_ref().and_then(|agent| agent.id.as_deref());
    let known = id.map(|id| stable(&server.secret, &account.jid, id));
    let generated = known.clone().unwrap_or_else(token::random);
    let resource = resourcepart(&account.jid, request, &generated);
    let registry = Arc::clone(&host.registry());
    let managing = managing(request);
    let mut answers = Writer::new(ns::BIND2);
    let mut earlier = Vec::new();
    let prepare = |state: &mut State, seat: &Seat| {
        if let Some(known) = known {
            earlier = earlier_sessions(state, seat, &known);
        }
        if let Some(resource) = state.resource_of_mut(&seat.link) {
            resource.agent = agent.map(Box::new);
            // §3.2: what waits is not sent, since it is in the archive. What is not in there is.
            resource.mark(READS_ARCHIVE, true);
        }
        if managing.is_some() {
            // Nothing waits before the count begins: the resource is there since this turn.
            seat.link.mailbox.count_stanzas();
        }
        for child in request.children() {
            registry.inline(&mut Inline { seat, state, request: child, answer: &mut answers });
        }
    };
    let wish = Wish { host, account, resource: Some(&resource) };
    let seat = bind_with(server, wish, prepare).await.map_err(refused)?;
    end_all(server, &earlier).await;
    let managed = managing.map(|wish| server.begin_managing(&seat, wish));
    let enabled = managed.as_ref().map(|(_, enabled)| enabled.as_str());
    let answers = [answers.finish().as_str(), enabled.unwrap_or_default()].concat();
    let answer = answer(server, &seat, &answers).await;
    Ok(Bound { seat, managed: managed.map(|(managed, _)| managed), answer })
}

/// §3.2.1: what modules tell of the account, and the answers to what was asked for.
async fn answer(server: &Arc<Server>, seat: &Seat, answers: &str) -> String {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("bound", ns::BIND2);
    let registry = Arc::clone(&seat.host.registry());
    // Asked when the resource is bound: a message that comes in between is told of twice, else it
    // could be told of by nobody.
    for told in registry.bound(server, seat) {
        match told.await {
            Ok(reply) => _ = writer.raw_element(reply.payload(), ns::CLIENT),
            Err(error) => tracing::warn!(
                stream = %seat.link.stream(), account = %seat.link.account(), ?error,
                "left out of <bound/>"
            ),
        }
    }
    writer.raw(answers).end();
    writer.finish()
}

/// XEP-0198 §9.1: what is wanted of the stream, when it is to be managed.
fn managing(request: Element<'_>) -> Option<resume::Wish> {
    let enable = request.child("enable", ns::SM)?;
    Some(resume::Wish::read(|name| enable.attr(name)))
}

/// §3.2.1: the client's tag, a slash, and what the server makes up; without the tag when there is
/// none, or none that a resourcepart can have.
fn resourcepart(account: &Jid, request: Element<'_>, generated: &str) -> String {
    let tag = request.child("tag", ns::BIND2).map(Element::text).unwrap_or_default();
    let whole = [&*tag, "/", generated].concat();
    match !tag.is_empty() && account.with_resource(&whole).is_ok() {
        true => whole,
        false => generated.to_owned(),
    }
}

/// §3.2.1: the same for the same client each time, and no way back to its id.
fn stable(secret: &[u8], account: &Jid, id: &str) -> String {
    let parts: [&[u8]; 4] =
        [b"resource of a client\0", account.as_str().as_bytes(), b"\0", id.as_bytes()];
    let hash = Hash::Sha256.hmac(secret, &parts);
    token::text(hash.as_ref().get(..CLIENT_BYTES).unwrap_or_default())
}

/// §3.2: sessions of the same client, whatever tag they had.
fn earlier_sessions(state: &State, new: &Seat, known: &str) -> Vec<Seat> {
    let others = state.resources.iter().filter(|other| !Arc::ptr_eq(&other.link, &new.link));
    let same = others.filter(|other| {
        let tag = other.name().strip_suffix(known);
        tag.is_some_and(|tag| tag.is_empty() || tag.ends_with('/'))
    });
    same.map(|other| Seat { link: other.link.clone(), ..new.clone() }).collect()
}

async fn end_all(server: &Arc<Server>, earlier: &[Seat]) {
    let mut trail = Trail::default();
    for old in earlier {
        server.supersede(old, &mut trail);
    }
    if let Step::Later(later) = server.carry_out(trail) {
        later.await;
    }
}

/// Who is logged in and gets no resource cannot go on: the success would promise one.
fn refused(error: StanzaError) -> End {
    let condition = match error.condition {
        Condition::ResourceConstraint => StreamCondition::ResourceConstraint,
        Condition::NotAuthorized => StreamCondition::NotAuthorized,
        _ => StreamCondition::InternalServerError,
    };
    condition.into()
}

#[cfg(test)]
mod tests {
    use verona_xml::{Limits, Tree};

    use super::*;

    const ID: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";

    fn named(tag: &str) -> String {
        let text = format!("<bind><tag>{tag}</tag></bind>");
        let tree = Tree::parse(&text, ns::BIND2, Limits::NONE).unwrap();
        resourcepart(&Jid::parse("juliet@capulet.lit").unwrap(), tree.root(), "x1")
    }

    #[test]
    fn the_tag_comes_first_unless_no_resourcepart_can_have_it() {
        assert_eq!(named("AwesomeXMPP"), "AwesomeXMPP/x1");
        assert_eq!(named(""), "x1");
        assert_eq!(named("bell&#x7f;"), "x1");
        assert_eq!(named(&"x".repeat(1_024)), "x1");
    }

    #[test]
    fn a_client_has_the_same_name_each_time_and_another_in_each_account() {
        let [juliet, nurse] =
            ["juliet@capulet.lit", "nurse@capulet.lit"].map(|jid| Jid::parse(jid).unwrap());
        let name = stable(&[1; 32], &juliet, ID);
        assert_eq!(name, stable(&[1; 32], &juliet, ID));
        assert_eq!(name.len(), 2 * CLIENT_BYTES);
        assert_ne!(name, stable(&[1; 32], &nurse, ID));
        assert_ne!(name, stable(&[2; 32], &juliet, ID));
        assert_ne!(name, stable(&[1; 32], &juliet, "d4565fa7-4d72-4749-b3d3-740edbf87771"));
    }
}
