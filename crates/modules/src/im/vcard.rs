//! XEP-0054: vcard-temp. A card that an account shows to everybody.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};
use verona_core::limits::VCARD_BYTES_MAX;
use verona_core::store::batch::Batch;
use verona_core::store::shape::Table;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;

const NS: &str = "vcard-temp";

/// The card as XML.
const CARD: Table = Table::value("vcard");

/// The module.
pub struct VCard;

impl Module for VCard {
    const MANIFEST: Manifest = Manifest {
        name: "vcard",
        specs: &[Spec("XEP-0054", "1.3.0")],
        features: &[NS],
        account_features: &[NS],
        tables: &[CARD],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Own, NS, "vCard", Self::own);
        on.iq_set(Target::Own, NS, "vCard", Self::update);
        on.iq_get(Target::Account, NS, "vCard", Self::view);
        // §3.2 prefers `forbidden` for who sets another's card. Unanswered it is
        // `service-unavailable`, as for an account that does not exist.
    }
}

impl VCard {
    /// §3.1: the account's own card.
    async fn own(self: Arc<Self>, request: Request) -> IqResult {
        let card = read(&request, request.own()?).await?;
        card.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))
    }

    /// §3.2: a card as a whole takes the place of the one before; an empty one is none.
    async fn update(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let card = tree.root().to_text(ns::CLIENT);
        if card.len() > VCARD_BYTES_MAX {
            let error = StanzaError::new(Condition::NotAcceptable);
            return Err(error.text("the card is too large"));
        }
        let mut batch = Batch::new();
        match tree.root().children().next() {
            Some(_) => batch.put(CARD, &account.owner, "", card),
            None => batch.delete(CARD, &account.owner, ""),
        }
        account.edit(&request.server).await.commit(batch).await?;
        Ok(Reply::empty())
    }

    /// §3.3: another's card. One who has none and one who does not exist sound the same.
    async fn view(self: Arc<Self>, request: Request) -> IqResult {
        let nothing = || StanzaError::new(Condition::ServiceUnavailable);
        let account = request.account.as_ref().ok_or_else(nothing)?;
        read(&request, account).await?.ok_or_else(nothing)
    }
}

async fn read(request: &Request, account: &Account) -> Result<Option<Reply>, StanzaError> {
    let card = request.server.store.entry(CARD, &account.owner, "").await?;
    let card = card.as_deref().map(std::str::from_utf8).transpose();
    let card = card.map_err(|_| StanzaError::new(Condition::InternalServerError))?;
    Ok(card.map(Reply::raw))
}
