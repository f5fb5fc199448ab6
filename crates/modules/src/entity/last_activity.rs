//! XEP-0012: Last Activity. How long a server has been running, and how long ago somebody left.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::account::credentials;
use verona_core::account::state::Part;
use verona_core::hooks::{
    Change, ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec,
    Target,
};
use verona_core::limits::LAST_STATUS_BYTES_MAX;
use verona_core::server::Server;
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Entry, Table};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

const NS: &str = "jabber:iq:last";

/// The status with which the account's last available resource left, if it had one.
const STATUS: Table = Table::value("last_activity.status");

/// The module.
pub struct LastActivity;

/// The same in memory.
#[derive(Default)]
struct LastStatus(Box<str>);

impl Part for LastStatus {
    fn load(entries: &[Entry]) -> Self {
        let entry = entries.iter().find(|entry| entry.table == STATUS);
        let text = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok());
        Self(text.unwrap_or_default().into())
    }
}

impl Module for LastActivity {
    const MANIFEST: Manifest = Manifest {
        name: "last_activity",
        specs: &[Spec("XEP-0012", "2.0")],
        features: &[NS],
        account_features: &[NS],
        loaded: &[STATUS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.part::<LastStatus>();
        on.iq_get(Target::Host, NS, "query", Self::uptime);
        on.iq_get(Target::Own, NS, "query", Self::of_account);
        on.iq_get(Target::Account, NS, "query", Self::of_account);
        on.change(Self::note_status);
    }
}

impl LastActivity {
    /// §5: of a server it is the time since its start.
    async fn uptime(self: Arc<Self>, request: Request) -> IqResult {
        Ok(answer(request.server.clock.uptime_secs().into(), ""))
    }

    /// §3: 0 while somebody is there, else the time since the last one left, and with what words.
    /// Only who is subscribed to the account's presence is told (§8).
    ///
    /// §3 names `forbidden` for all others. That would tell them that the account exists: of one
    /// that does not RFC 6121 §8.5.1 demands `service-unavailable`, so that is what they hear.
    async fn of_account(self: Arc<Self>, request: Request) -> IqResult {
        let refused = || StanzaError::new(Condition::ServiceUnavailable);
        let account = request.account.as_ref().ok_or_else(refused)?;
        let (left_micros, status) = {
            let state = account.turn();
            if !request.from.same_bare(&account.jid) && !state.roster.may_see(&request.from) {
                return Err(refused());
            }
            if !state.resources.is_empty() {
                return Ok(answer(0, ""));
            }
            let status = state.part::<LastStatus>().map(|status| status.0.clone());
            (state.last_seen_micros, status.unwrap_or_default())
        };
        let since = match left_micros {
            0 => made_micros(&request.server, account).await?,
            left => left,
        };
        let micros = request.server.clock.now_micros().saturating_sub(since);
        Ok(answer(micros / 1_000_000, &status))
    }

    /// §3: keeps the status of the unavailable presence with which the last resource leaves. Nobody
    /// waits for it: after a crash it is the one before.
    fn note_status(&self, change: &mut Change<'_>) {
        let leaves = change.was_available && change.state.available().next().is_none();
        if !leaves || change.state.gone {
            return;
        }
        let status = status(change.presence);
        let known = change.state.part::<LastStatus>().map(|known| &*known.0).unwrap_or_default();
        if known == status {
            return;
        }
        let mut batch = Batch::new();
        match status.is_empty() {
            true => batch.delete(STATUS, &change.account.owner, ""),
            false => batch.put(STATUS, &change.account.owner, "", status.clone()),
        }
        change.state.part_mut::<LastStatus>().0 = status.into();
        drop(change.server.store.submit(batch));
    }
}

/// Who was never there has been away since the account was made.
async fn made_micros(server: &Server, account: &Account) -> Result<u64, StanzaError> {
    let record = credentials::read(&*server.store, &account.jid).await?;
    Ok(record.map_or(0, |record| record.created_micros))
}

/// The first status of a presence, cut to what is kept.
fn status(presence: &Stanza) -> String {
    let tree = presence.child("status", ns::CLIENT).and_then(|child| child.tree());
    let mut text = tree.map(|tree| tree.root().text().into_owned()).unwrap_or_default();
    while text.len() > LAST_STATUS_BYTES_MAX {
        // A status of many bytes is rare, and no longer than a stanza.
        text.pop();
    }
    text
}

/// §2
fn answer(seconds: u64, status: &str) -> Reply {
    Reply::with(|writer| {
        writer.start("query", NS).attr("seconds", &seconds.to_string()).text(status).end();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let long = "é".repeat(LAST_STATUS_BYTES_MAX);
        let text = format!("<presence type='unavailable'><status>{long}</status></presence>");
        let kept = status(&Stanza::parse(&text).expect("a presence"));
        assert_eq!(kept.len(), LAST_STATUS_BYTES_MAX - 1);
        let none = Stanza::parse("<presence type='unavailable'/>").expect("a presence");
        assert_eq!(status(&none), "");
    }
}
