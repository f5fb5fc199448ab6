//! Invitations as they lie in the store of a host: made, found by their token, used up, revoked.
//!
//! A token is 128 random bits. Only its hash is kept: who reads the store cannot come in with it.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use verona_core::account::credentials;
use verona_core::limits::{INVITATIONS_MAX, INVITATIONS_PER_ACCOUNT_MAX};
use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Owner, Table};
use verona_core::token;
use verona_xmpp::jid::Jid;

/// The invitations of a host, by the hash of their token.
const INVITATIONS: Table = Table::map("invitations");

/// The names that are kept free for who is invited, with the hash of the token.
const NAMES: Table = Table::map("invitations.names");

/// Microseconds after its end for which an invitation is kept: a stream on which it was shown in
/// time may go on (XEP-0445 §4), and none is without login for so long.
const GRACE_MICROS: u64 = 2 * 60 * 60 * 1_000_000;

/// Digits of the hash by which people name an invitation.
const ID_DIGITS: usize = 10;

/// Invitations are changed one at a time, also while a reload replaces the modules.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What a host was asked to let somebody do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invitation {
    /// When it was made, in microseconds since the epoch.
    pub made_micros: u64,
    /// When it ends.
    pub expires_micros: u64,
    /// Whether an account may be made with it.
    pub account: bool,
    /// The one name that this account may have.
    pub name: Option<Box<str>>,
    /// Whose contact becomes who comes.
    pub contact: Option<Jid>,
}

/// An invitation that is known, by the hash of its token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    key: Box<str>,
    /// What it is for.
    pub invitation: Invitation,
}

/// An invitation that has just been made; its token is known only now.
#[derive(Clone, Debug)]
pub struct Made {
    /// What opens the door.
    pub token: String,
    /// The invitation.
    pub known: Known,
}

/// Why no invitation was made.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// There are too many already.
    Full,
    /// The name is taken, or kept free for another.
    Taken,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The invitations of one host.
pub struct Invitations {
    store: Arc<dyn Store>,
    owner: Owner,
    now_micros: u64,
}

/// Waits until nobody else changes invitations, and keeps others from it.
pub async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

impl Invitations {
    /// The invitations of a domain, at this time.
    pub fn of(store: Arc<dyn Store>, domain: &str, now_micros: u64) -> Self {
        Self { store, owner: domain.into(), now_micros }
    }

    /// Makes an invitation. It is durable when this returns.
    pub async fn make(&self, invitation: Invitation) -> Result<Made, Refusal> {
        let _alone = alone().await;
        let all = self.list().await?;
        let of_contact = all.iter().filter(|other| {
            invitation.contact.is_some() && other.invitation.contact == invitation.contact
        });
        if all.len() >= INVITATIONS_MAX || of_contact.count() >= INVITATIONS_PER_ACCOUNT_MAX {
            return Err(Refusal::Full);
        }
        let token = token::random();
        let key = hash(&token);
        let mut batch = Batch::new();
        batch.put(INVITATIONS, &self.owner, &key, invitation.encode());
        if let Some(name) = &invitation.name {
            if self.is_account(name).await? || self.keeper(name).await?.is_some() {
                return Err(Refusal::Taken);
            }
            batch.put(NAMES, &self.owner, name, key.to_string());
        }
        self.store.room().await;
        self.store.submit(batch).await?;
        Ok(Made { token, known: Known { key, invitation } })
    }

    /// The invitation of a token. None when there is none, when it has ended, or when the account
    /// that it comes from is no longer there.
    pub async fn find(&self, token: &str) -> Result<Option<Known>, StoreError> {
        let known = self.known(&hash(token)).await?;
        let Some(known) = known.filter(|known| known.invitation.holds_at(self.now_micros)) else {
            return Ok(None);
        };
        Ok(self.stands(&known.invitation).await?.then_some(known))
    }

    /// An invitation that was found before, if it has not been used up or revoked since. That it has
    /// ended meanwhile does not count (XEP-0445 §4).
    pub async fn again(&self, before: &Known) -> Result<Option<Known>, StoreError> {
        let Some(known) = self.known(&before.key).await? else { return Ok(None) };
        Ok(self.stands(&known.invitation).await?.then_some(known))
    }

    /// Whether a name is kept free for somebody else than who has this invitation (XEP-0401 §6.2).
    pub async fn is_kept(&self, name: &str, from: Option<&Known>) -> Result<bool, StoreError> {
        let keeper = self.keeper(name).await?;
        Ok(keeper.is_some_and(|keeper| from.is_none_or(|known| known.key != keeper.key)))
    }

    /// Those that have not ended, the oldest first.
    pub async fn list(&self) -> Result<Vec<Known>, StoreError> {
        let mut all = self.all().await?;
        all.retain(|known| known.invitation.holds_at(self.now_micros));
        all.sort_by_key(|known| known.invitation.made_micros);
        Ok(all)
    }

    /// Takes back the invitation with this id or token; None when there is not exactly one.
    pub async fn revoke(&self, named: &str) -> Result<Option<Known>, StoreError> {
        let _alone = alone().await;
        let of_token = hash(named);
        let mut meant = self.list().await?;
        let is_id = named.len() >= ID_DIGITS;
        meant.retain(|known| known.key == of_token || (is_id && known.key.starts_with(named)));
        let (Some(known), None) = (meant.pop(), meant.pop()) else { return Ok(None) };
        let mut batch = Batch::new();
        self.use_up(&known, &mut batch);
        self.store.room().await;
        self.store.submit(batch).await?;
        Ok(Some(known))
    }

    /// Puts the end of an invitation into a batch; whoever commits it is [`alone`].
    pub fn use_up(&self, known: &Known, batch: &mut Batch) {
        batch.delete(INVITATIONS, &self.owner, &known.key);
        if let Some(name) = &known.invitation.name {
            batch.delete(NAMES, &self.owner, name);
        }
    }

    /// Forgets those that ended some time ago.
    pub async fn clear_away(&self) -> Result<(), StoreError> {
        let _alone = alone().await;
        let mut batch = Batch::new();
        for known in self.all().await? {
            if !known.invitation.holds_at(self.now_micros.saturating_sub(GRACE_MICROS)) {
                self.use_up(&known, &mut batch);
            }
        }
        if !batch.is_empty() {
            self.store.room().await;
            self.store.submit(batch).await?;
        }
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Known>, StoreError> {
        let entries = self.store.entries(&self.owner, &[INVITATIONS]).await?;
        let known = entries.into_iter().filter_map(|entry| {
            let invitation = Invitation::decode(&entry.value)?;
            Some(Known { key: entry.key, invitation })
        });
        Ok(known.collect())
    }

    async fn known(&self, key: &str) -> Result<Option<Known>, StoreError> {
        let value = self.store.entry(INVITATIONS, &self.owner, key).await?;
        let invitation = value.and_then(|value| Invitation::decode(&value));
        Ok(invitation.map(|invitation| Known { key: key.into(), invitation }))
    }

    /// The invitation that keeps a name free; one that has ended keeps none.
    async fn keeper(&self, name: &str) -> Result<Option<Known>, StoreError> {
        let Some(key) = self.store.entry(NAMES, &self.owner, name).await? else { return Ok(None) };
        let known = self.known(std::str::from_utf8(&key).unwrap_or_default()).await?;
        Ok(known.filter(|known| known.invitation.holds_at(self.now_micros)))
    }

    async fn is_account(&self, name: &str) -> Result<bool, StoreError> {
        let Ok(jid) = Jid::from_parts(Some(name), &self.owner, None) else { return Ok(false) };
        Ok(credentials::read(&*self.store, &jid).await?.is_some())
    }

    /// Whether who invites is still there: not removed, also not with another in its place, and not
    /// disabled.
    async fn stands(&self, invitation: &Invitation) -> Result<bool, StoreError> {
        let Some(contact) = &invitation.contact else { return Ok(true) };
        let record = credentials::read(&*self.store, contact).await?;
        Ok(record.is_some_and(|record| {
            !record.disabled && record.created_micros <= invitation.made_micros
        }))
    }
}

impl Known {
    /// By what people name it.
    pub fn id(&self) -> &str {
        self.key.get(..ID_DIGITS).unwrap_or(&self.key)
    }
}

impl Made {
    /// The link with which somebody makes an account (XEP-0445 §2.1, §2.2).
    pub fn register_uri(&self, domain: &str) -> String {
        let name = self.known.invitation.name.as_deref();
        let name = name.map(|name| format!("{}@", escaped(name))).unwrap_or_default();
        format!("xmpp:{name}{}?register;preauth={}", escaped(domain), self.token)
    }

    /// The link with which somebody becomes a contact (XEP-0401 §5.1), and may make an account
    /// before if that is allowed (XEP-0445 §2.3).
    pub fn roster_uri(&self, contact: &Jid) -> String {
        let (name, domain) = (contact.local().unwrap_or_default(), contact.domain());
        let account = if self.known.invitation.account { ";ibr=y" } else { "" };
        let address = format!("{}@{}", escaped(name), escaped(domain));
        format!("xmpp:{address}?roster;preauth={}{account}", self.token)
    }
}

impl Invitation {
    fn holds_at(&self, micros: u64) -> bool {
        micros < self.expires_micros
    }

    /// As it lies in the store: version, flags, two times, then texts with their length.
    fn encode(&self) -> Bytes {
        let flags = u8::from(self.account)
            | u8::from(self.name.is_some()) << 1
            | u8::from(self.contact.is_some()) << 2;
        let mut out = vec![1, flags];
        out.extend_from_slice(&self.made_micros.to_le_bytes());
        out.extend_from_slice(&self.expires_micros.to_le_bytes());
        for text in self.name.as_deref().into_iter().chain(self.contact.as_ref().map(Jid::as_str)) {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.into()
    }

    /// From the store; None when the bytes are not of this form.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[1, flags], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (made, rest) = rest.split_first_chunk::<8>()?;
        let (expires, mut rest) = rest.split_first_chunk::<8>()?;
        let mut texts = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, tail) = tail.split_at_checked(length)?;
            texts.push(std::str::from_utf8(text).ok()?);
            rest = tail;
        }
        let mut texts = texts.into_iter();
        let bit = |place: u8| flags & (1 << place) != 0;
        Some(Self {
            made_micros: u64::from_le_bytes(*made),
            expires_micros: u64::from_le_bytes(*expires),
            account: bit(0),
            name: if bit(1) { Some(texts.next()?.into()) } else { None },
            contact: if bit(2) { Some(Jid::parse(texts.next()?).ok()?) } else { None },
        })
    }
}

fn hash(token: &str) -> Box<str> {
    token::text(&Sha256::digest(token.as_bytes())).into()
}

/// RFC 5122 §2.2: what is not plain in a URI is percent-encoded.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&token::text(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use verona_core::account::credentials::{ACCOUNTS, Record};
    use verona_xmpp::sasl::credentials::Credentials;

    use super::*;
    use crate::testing::memory;

    const LIFE: u64 = 90;

    /// The invitations of a host at several times.
    struct Host(Arc<dyn Store>);

    impl Host {
        fn new() -> Self {
            Self(memory("registration invite").server.store.clone())
        }

        fn at(&self, now_micros: u64) -> Invitations {
            Invitations::of(self.0.clone(), "capulet.lit", now_micros)
        }

        async fn make(&self, name: Option<&str>, contact: Option<&str>) -> Result<Made, Refusal> {
            self.at(10).make(invitation(name, contact)).await
        }

        async fn add_account(&self, jid: &str, created_micros: u64, disabled: bool) {
            let credentials = Credentials::new("Wherefore", 10_000).unwrap();
            let mut batch = Batch::new();
            let record = Record { disabled, created_micros, credentials };
            batch.put(ACCOUNTS, &jid.into(), "", record.encode());
            self.0.submit(batch).await.unwrap();
        }
    }

    fn invitation(name: Option<&str>, contact: Option<&str>) -> Invitation {
        Invitation {
            made_micros: 10,
            expires_micros: 10 + LIFE,
            account: true,
            name: name.map(Into::into),
            contact: contact.map(|jid| Jid::parse(jid).unwrap()),
        }
    }

    #[test]
    fn an_invitation_comes_back_as_it_was_stored() {
        for contact in [None, Some("romeo@montague.lit")] {
            for name in [None, Some("juliet")] {
                let invitation = invitation(name, contact);
                assert_eq!(Invitation::decode(&invitation.encode()), Some(invitation));
            }
        }
        let whole = invitation(Some("juliet"), Some("romeo@montague.lit")).encode();
        for end in 0..whole.len() {
            assert_eq!(Invitation::decode(&whole[..end]), None, "{end}");
        }
    }

    #[tokio::test]
    async fn a_token_is_good_until_its_time_is_over() {
        let host = Host::new();
        let made = host.make(None, None).await.unwrap();
        assert_eq!(host.at(99).find(&made.token).await.unwrap(), Some(made.known.clone()));
        assert_eq!(host.at(100).find(&made.token).await.unwrap(), None);
        assert_eq!(host.at(99).find("another").await.unwrap(), None);
        assert_eq!(host.at(99).find(&made.known.key).await.unwrap(), None);
        // Who has shown it in time may go on.
        assert_eq!(host.at(100).again(&made.known).await.unwrap(), Some(made.known.clone()));
        host.at(100 + GRACE_MICROS - 1).clear_away().await.unwrap();
        assert!(host.at(100).again(&made.known).await.unwrap().is_some());
        host.at(100 + GRACE_MICROS).clear_away().await.unwrap();
        assert_eq!(host.at(100).again(&made.known).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_token_of_one_host_is_none_at_another() {
        let host = Host::new();
        let made = host.make(None, None).await.unwrap();
        let other = Invitations::of(host.0.clone(), "montague.lit", 10);
        assert_eq!(other.find(&made.token).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_store_does_not_hold_the_token() {
        let host = Host::new();
        let made = host.make(Some("juliet"), None).await.unwrap();
        let entries = host.0.entries(&"capulet.lit".into(), &[INVITATIONS, NAMES]).await.unwrap();
        assert_eq!(entries.len(), 2);
        for entry in entries {
            let holds = |bytes: &[u8]| {
                bytes.windows(made.token.len()).any(|part| part == made.token.as_bytes())
            };
            assert!(!holds(entry.key.as_bytes()) && !holds(&entry.value), "{entry:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_kept_for_who_is_invited() {
        let host = Host::new();
        let made = host.make(Some("juliet"), None).await.unwrap();
        let now = host.at(20);
        assert!(now.is_kept("juliet", None).await.unwrap());
        assert!(!now.is_kept("juliet", Some(&made.known)).await.unwrap());
        assert!(!now.is_kept("nurse", None).await.unwrap());
        assert!(matches!(host.make(Some("juliet"), None).await, Err(Refusal::Taken)));
        // Until the time is over, or it is taken back.
        assert!(!host.at(100).is_kept("juliet", None).await.unwrap());
        assert_eq!(now.revoke(made.known.id()).await.unwrap(), Some(made.known));
        assert!(!now.is_kept("juliet", None).await.unwrap());
        host.add_account("juliet@capulet.lit", 5, false).await;
        assert!(matches!(host.make(Some("juliet"), None).await, Err(Refusal::Taken)));
    }

    #[tokio::test]
    async fn what_is_taken_back_opens_nothing() {
        let host = Host::new();
        let (first, second) = (host.make(None, None).await, host.make(None, None).await);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(host.at(20).list().await.unwrap().len(), 2);
        // A beginning that is too short is no id.
        assert_eq!(host.at(20).revoke(&first.known.id()[..9]).await.unwrap(), None);
        assert_eq!(host.at(20).revoke("").await.unwrap(), None);
        assert!(host.at(20).revoke(first.known.id()).await.unwrap().is_some());
        assert!(host.at(20).revoke(first.known.id()).await.unwrap().is_none());
        assert_eq!(host.at(20).find(&first.token).await.unwrap(), None);
        assert!(host.at(20).revoke(&second.token).await.unwrap().is_some());
        assert!(host.at(20).list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_invitation_ends_with_the_account_it_comes_from() {
        let host = Host::new();
        let made = host.make(None, Some("romeo@capulet.lit")).await.unwrap();
        assert_eq!(host.at(20).find(&made.token).await.unwrap(), None, "no such account");
        host.add_account("romeo@capulet.lit", 10, false).await;
        assert!(host.at(20).find(&made.token).await.unwrap().is_some());
        host.add_account("romeo@capulet.lit", 10, true).await;
        assert_eq!(host.at(20).find(&made.token).await.unwrap(), None, "disabled");
        host.add_account("romeo@capulet.lit", 11, false).await;
        assert_eq!(host.at(20).find(&made.token).await.unwrap(), None, "another of that name");
        assert_eq!(host.at(20).again(&made.known).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_account_has_only_so_many_invitations_open() {
        let host = Host::new();
        for _ in 0..INVITATIONS_PER_ACCOUNT_MAX {
            host.make(None, Some("romeo@capulet.lit")).await.unwrap();
        }
        let more = host.make(None, Some("romeo@capulet.lit")).await;
        assert!(matches!(more, Err(Refusal::Full)));
        host.make(None, Some("juliet@capulet.lit")).await.unwrap();
        host.make(None, None).await.unwrap();
        let later =
            Invitation { expires_micros: 200, ..invitation(None, Some("romeo@capulet.lit")) };
        host.at(100).make(later).await.unwrap();
    }

    #[test]
    fn links_are_those_of_the_specifications() {
        let made = |name, contact| Made {
            token: "TOKEN".to_owned(),
            known: Known { key: "key".into(), invitation: invitation(name, contact) },
        };
        let register = |name| made(name, None).register_uri("capulet.lit");
        assert_eq!(register(None), "xmpp:capulet.lit?register;preauth=TOKEN");
        assert_eq!(register(Some("juliet")), "xmpp:juliet@capulet.lit?register;preauth=TOKEN");
        assert_eq!(register(Some("jü;l")), "xmpp:j%C3%BC%3Bl@capulet.lit?register;preauth=TOKEN");
        let contact = Jid::parse("romeo@capulet.lit").unwrap();
        let mut made = made(None, Some("romeo@capulet.lit"));
        assert_eq!(made.roster_uri(&contact), "xmpp:romeo@capulet.lit?roster;preauth=TOKEN;ibr=y");
        made.known.invitation.account = false;
        assert_eq!(made.roster_uri(&contact), "xmpp:romeo@capulet.lit?roster;preauth=TOKEN");
    }
}
