//! XEP-0049: Private XML Storage. Clients keep XML with their account, by namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};
use verona_core::limits::{PRIVATE_BYTES_MAX, PRIVATE_NAMESPACE_BYTES_MAX};
use verona_core::store::batch::Batch;
use verona_core::store::shape::Table;
use verona_xml::Element;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;

const NS: &str = "jabber:iq:private";

/// All that was stored under a namespace, as XML, one element behind the other.
const STORED: Table = Table::map("private");

/// The module. §2.3: nobody but the account's own resources is answered; that others hear
/// `service-unavailable` does not tell whether the account exists.
pub struct Private;

impl Module for Private {
    const MANIFEST: Manifest = Manifest {
        name: "private",
        specs: &[Spec("XEP-0049", "1.2")],
        features: &[NS],
        tables: &[STORED],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Own, NS, "query", Self::read);
        on.iq_set(Target::Own, NS, "query", Self::store);
    }
}

impl Private {
    /// §2.3: what is stored under the namespace of the one child. The text does not say what
    /// follows when that is nothing; clients rely on getting their empty element back.
    async fn read(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let wanted = fragments(tree.root())?;
        let [wanted] = wanted.as_slice() else {
            return Err(StanzaError::new(Condition::BadRequest).text("one namespace at a time"));
        };
        let stored = request.server.store.entry(STORED, &account.owner, wanted.ns()).await?;
        let stored = stored.as_deref().map(std::str::from_utf8).transpose();
        let stored = stored.map_err(|_| StanzaError::new(Condition::InternalServerError))?;
        Ok(Reply::with(|writer| {
            writer.start("query", NS);
            match stored {
                // Each element declares its own namespace.
                Some(stored) => writer.raw(stored),
                None => writer.empty(wanted.name(), wanted.ns()),
            };
            writer.end();
        }))
    }

    /// §2.3: the elements take the place of all that was stored under their namespaces.
    async fn store(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let mut fresh: BTreeMap<&str, String> = BTreeMap::new();
        for fragment in fragments(tree.root())? {
            fresh.entry(fragment.ns()).or_default().push_str(&fragment.to_text(ns::CLIENT));
        }
        let edit = account.edit(&request.server).await;
        let stored = request.server.store.entries(&account.owner, &[STORED]).await?;
        let kept = stored.iter().filter(|entry| !fresh.contains_key(&*entry.key));
        let kept = kept.map(|entry| entry.key.len().saturating_add(entry.value.len()));
        let new = fresh.iter().map(|(key, value)| key.len().saturating_add(value.len()));
        if kept.chain(new).sum::<usize>() > PRIVATE_BYTES_MAX {
            let error = StanzaError::new(Condition::NotAcceptable);
            return Err(error.text("there is no room for so much"));
        }
        let mut batch = Batch::new();
        for (namespace, elements) in fresh {
            batch.put(STORED, &account.owner, namespace, elements);
        }
        edit.commit(batch).await?;
        Ok(Reply::empty())
    }
}

/// §2.3: `not-acceptable` unless there is something, each element in a namespace of its own.
fn fragments(query: Element<'_>) -> Result<Vec<Element<'_>>, StanzaError> {
    let fragments: Vec<_> = query.children().collect();
    let fits = |of: &Element<'_>| {
        !["", NS, ns::CLIENT].contains(&of.ns()) && of.ns().len() <= PRIVATE_NAMESPACE_BYTES_MAX
    };
    if fragments.is_empty() || !fragments.iter().all(fits) {
        return Err(StanzaError::new(Condition::NotAcceptable));
    }
    Ok(fragments)
}
