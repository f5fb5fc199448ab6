//! RFC 6121 §2: the roster as clients read and change it. The state behind it belongs to the
//! account; pushes are sent where it changes.

use std::sync::Arc;

use verona_core::account::roster::{Item, Subscription};
use verona_core::account::subscription;
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
    only_child,
};
use verona_core::limits::{ROSTER_GROUPS_MAX, ROSTER_NAME_BYTES_MAX};
use verona_xml::Element;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;

const NS: &str = ns::ROSTER;

/// The module.
pub struct Roster;

impl Module for Roster {
    const MANIFEST: Manifest = Manifest {
        name: "roster",
        specs: &[Spec("RFC 6121", "2011")],
        features: &[ns::ROSTER],
        account_features: &[ns::ROSTER],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Own, NS, "query", Self::read);
        on.iq_set(Target::Own, NS, "query", Self::change);
        on.iq_get(Target::Account, NS, "query", Self::refuse);
        on.iq_set(Target::Account, NS, "query", Self::refuse);
    }
}

impl Roster {
    /// RFC 6121 §2.1.3, §2.1.4: the whole roster, or nothing to who has this version (§2.6.2).
    async fn read(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let mut state = account.turn();
        if let Some(link) = &request.link
            && let Some(resource) = state.resource_of_mut(link)
        {
            // §2.2: from now on it gets pushes.
            resource.interested = true;
        }
        let version = state.roster.version().to_string();
        let known = tree.root().attr("ver");
        if known == Some(version.as_str()) {
            return Ok(Reply::empty());
        }
        Ok(Reply::with(|writer| {
            writer.start("query", NS);
            if known.is_some() {
                writer.attr("ver", &version);
            }
            for (contact, item) in state.roster.listed() {
                Item::write(Some(item), contact, writer);
            }
            writer.end();
        }))
    }

    /// RFC 6121 §2.1.5: one item is added, changed or removed.
    async fn change(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let element = only_child(tree.root())?;
        if !element.is("item", NS) {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        let contact = element.attr("jid").ok_or(StanzaError::new(Condition::BadRequest))?;
        let contact = Jid::parse(contact)?.bare();
        if element.attr("subscription") == Some("remove") {
            let sends = subscription::remove_item(&request.server, account, &contact).await?;
            request.server.send(sends).await;
            return Ok(Reply::empty());
        }
        if contact == account.jid {
            // §2.3.3: the server decides; an account is always subscribed to itself.
            return Err(
                StanzaError::new(Condition::NotAllowed).text("an account is no contact of itself")
            );
        }
        // compat(slidge, for as long as it does): a gateway that may change rosters sets the
        // subscriptions to its own addresses, which it answers for itself anyway.
        let subscription = element.attr("subscription").and_then(Subscription::named);
        let own = request.stands_in && contact.domain() == request.from.domain();
        let decides = own && subscription.is_some();
        let subscription = subscription.unwrap_or_default();
        let (name, groups) = (name(element)?, groups(element)?);
        let item = Item { name, groups, subscription, ..Item::default() };
        let wanted = (item, decides);
        let sends = subscription::set_item(&request.server, account, &contact, wanted).await?;
        request.server.send(sends).await;
        Ok(Reply::empty())
    }

    /// RFC 6121 §2.1.5, §2.3.3: another's roster is neither read nor changed.
    async fn refuse(self: Arc<Self>, request: Request) -> IqResult {
        let condition =
            if request.is_set() { Condition::Forbidden } else { Condition::ServiceUnavailable };
        Err(StanzaError::new(condition))
    }
}

/// RFC 6121 §2.3.3: `not-acceptable` for a name that is too long.
fn name(element: Element<'_>) -> Result<Option<Box<str>>, StanzaError> {
    let Some(name) = element.attr("name").filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.len() > ROSTER_NAME_BYTES_MAX {
        return Err(StanzaError::new(Condition::NotAcceptable).text("name is too long"));
    }
    Ok(Some(name.into()))
}

/// RFC 6121 §2.3.3: `bad-request` for a group named twice, `not-acceptable` for an empty or long
/// one.
fn groups(element: Element<'_>) -> Result<Vec<Box<str>>, StanzaError> {
    let mut groups: Vec<Box<str>> = Vec::new();
    for child in element.children().filter(|child| child.is("group", NS)) {
        let group = child.text();
        if group.is_empty() || group.len() > ROSTER_NAME_BYTES_MAX {
            return Err(StanzaError::new(Condition::NotAcceptable).text("group has no fit name"));
        }
        if groups.iter().any(|known| **known == *group) {
            return Err(StanzaError::new(Condition::BadRequest).text("group is named twice"));
        }
        if groups.len() >= ROSTER_GROUPS_MAX {
            return Err(StanzaError::new(Condition::NotAcceptable).text("too many groups"));
        }
        groups.push(group.into());
    }
    Ok(groups)
}
