//! An invitation turned into an account: all that belongs to it becomes durable in one step.

use std::sync::Arc;

use verona_core::account::admin::{self, Refusal};
use verona_core::account::roster::{Item, Roster};
use verona_core::account::subscription::NewContact;
use verona_core::account::transition;
use verona_core::server::Server;
use verona_core::store::batch::Batch;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use zeroize::Zeroizing;

use crate::registration::invitation::{Invitations, Known, alone};
use crate::registration::preauth::not_good;

/// Makes the account and uses up the invitation, so that of several who try exactly one succeeds.
/// Who has invited and who comes are in each other's roster from then on (XEP-0401 §5.5).
pub async fn redeem(
    server: &Arc<Server>,
    known: &Known,
    account: &Jid,
    password: Zeroizing<String>,
) -> Result<(), StanzaError> {
    if known.invitation.name.as_deref().is_some_and(|name| account.local() != Some(name)) {
        let error = StanzaError::new(Condition::NotAcceptable);
        return Err(error.text("the invitation is for another name"));
    }
    let founding = admin::prepare(server, account, password).await?;
    let mut batch = Batch::new();
    let inviter = match &known.invitation.contact {
        Some(jid) => server.account(jid).await?,
        None => None,
    };
    // First the seat of the account, then the invitations, then the name: nobody waits the other way
    // round.
    let contact = match &inviter {
        Some(inviter) => NewContact::plan(server, inviter, account, &mut batch).await,
        None => None,
    };
    if let Some(inviter) = inviter.as_ref().filter(|_| contact.is_some()) {
        let item = transition::befriended(&Item::default());
        let owner = account.bare_str().into();
        Roster::default().plan(&owner, &inviter.jid, Some(&item), &mut batch);
    }
    let _alone = alone().await;
    let now_micros = server.clock.now_micros();
    let invitations = Invitations::of(server.store.clone(), account.domain(), now_micros);
    let known = invitations.again(known).await?.ok_or_else(not_good)?;
    invitations.use_up(&known, &mut batch);
    founding.found(server, batch).await.map_err(|refusal: Refusal| StanzaError::from(refusal))?;
    if let Some(contact) = contact {
        let sends = contact.apply();
        server.send(sends).await;
    }
    tracing::info!(%account, invitation = known.id(), "an invitation is used");
    Ok(())
}

#[cfg(test)]
mod tests {
    use verona_core::account::credentials;

    use super::*;
    use crate::registration::invitation::{Invitation, Made};
    use crate::testing::memory;

    const LIFE: u64 = 60_000_000;

    async fn invite(server: &Arc<Server>, contact: Option<&str>) -> Made {
        let now_micros = server.clock.now_micros();
        let invitations = Invitations::of(server.store.clone(), "capulet.lit", now_micros);
        let invitation = Invitation {
            made_micros: now_micros,
            expires_micros: now_micros + LIFE,
            account: true,
            name: None,
            contact: contact.map(|jid| Jid::parse(jid).unwrap()),
        };
        invitations.make(invitation).await.unwrap()
    }

    fn password() -> Zeroizing<String> {
        Zeroizing::new("Wherefore".to_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_use_one_invitation_exactly_one_succeeds() {
        let server = memory("registration invite").server;
        let made = invite(&server, None).await;
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (server, known) = (server.clone(), made.known.clone());
                tokio::spawn(async move {
                    let account = Jid::parse(&format!("page{number}@capulet.lit")).unwrap();
                    let outcome = redeem(&server, &known, &account, password()).await;
                    let there = credentials::read(&*server.store, &account).await.unwrap();
                    assert_eq!(outcome.is_ok(), there.is_some());
                    outcome
                })
            })
            .collect();
        let mut used = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => used += 1,
                Err(error) => assert_eq!(error.condition, Condition::ItemNotFound),
            }
        }
        assert_eq!(used, 1);
    }

    #[tokio::test]
    async fn an_invitation_that_was_shown_in_time_may_be_used_late() {
        let server = memory("registration invite").server;
        let made = invite(&server, None).await;
        server.clock.turn(i64::try_from(2 * LIFE).unwrap());
        let account = Jid::parse("page@capulet.lit").unwrap();
        redeem(&server, &made.known, &account, password()).await.unwrap();
    }
}
