//! The type [`Jid`]: an address in its normal form, and its parts.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::part::{
    JidError, domain_is_normal, local_is_normal, normal_domain, normal_local, normal_resource,
    resource_is_normal,
};

/// The three parts of an address as they stand in a text, not yet judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parts<'a> {
    /// What stands before the first `@` of the part before the slash.
    pub local: Option<&'a str>,
    /// What is left when the other two are taken off.
    pub domain: &'a str,
    /// What stands behind the first slash.
    pub resource: Option<&'a str>,
}

/// Cuts a text into the parts of an address, judging none of them.
///
/// RFC 7622 §3.2: the slash first, then the `@`, and before any mapping; so that
/// `a.example.com/b@example.net` has the domainpart `a.example.com`.
pub fn split(text: &str) -> Parts<'_> {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    let (local, domain) = match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, bare),
    };
    Parts { local, domain, resource }
}

/// Says whether a text is an address in its normal form; ASCII is judged without allocation.
pub fn is_normal(text: &str) -> bool {
    let parts = split(text);
    domain_is_normal(parts.domain)
        && parts.local.is_none_or(local_is_normal)
        && parts.resource.is_none_or(resource_is_normal)
}

/// An XMPP address in its normal form: `localpart@domainpart/resourcepart` (RFC 7622 §3.1).
///
/// A clone and a bare JID share the text, so both cost a counter. Equality, order and hash are
/// those of the text, so that a map keyed by `Jid` is also searched by `&str`.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    /// Length of the localpart; 0: there is none, for a localpart is never empty.
    local: u16,
    /// Length of the bare JID.
    bare: u16,
    /// How much of `text` is this JID: all of it, or `bare` when it is a bare JID that shares
    /// the text of a full one.
    end: u16,
}

impl Jid {
    /// Reads an address and brings it into its normal form.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let parts = split(text);
        let local = parts.local.map(normal_local).transpose()?;
        let domain = normal_domain(parts.domain)?;
        let resource = parts.resource.map(normal_resource).transpose()?;
        let jid = Layout::of(local.as_deref(), &domain, resource.as_deref());
        // Nothing was changed when every part is still a part of `text` and none is shorter.
        let same = usize::from(jid.end) == text.len()
            && matches!(domain, Cow::Borrowed(_))
            && matches!(local, None | Some(Cow::Borrowed(_)))
            && matches!(resource, None | Some(Cow::Borrowed(_)));
        if same {
            return Ok(jid.over(Arc::from(text)));
        }
        Ok(jid.join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Puts an address together from its parts and brings each into its normal form.
    pub fn from_parts(
        local: Option<&str>,
        domain: &str,
        resource: Option<&str>,
    ) -> Result<Self, JidError> {
        let local = local.map(normal_local).transpose()?;
        let domain = normal_domain(domain)?;
        let resource = resource.map(normal_resource).transpose()?;
        let (local, resource) = (local.as_deref(), resource.as_deref());
        Ok(Layout::of(local, &domain, resource).join(local, &domain, resource))
    }

    /// The text of the address.
    pub fn as_str(&self) -> &str {
        // The lengths were measured on this text at the borders of its parts, here and below; a
        // default stands in only so that no mistake in this file could ever panic.
        self.text.get(..usize::from(self.end)).unwrap_or_default()
    }

    /// The text of the bare JID: what stands before the slash.
    pub fn bare_str(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or_default()
    }

    /// The localpart, which a server or a service usually has not.
    pub fn local(&self) -> Option<&str> {
        match self.local {
            0 => None,
            local => self.text.get(..usize::from(local)),
        }
    }

    /// The domainpart.
    pub fn domain(&self) -> &str {
        let start = match self.local {
            0 => 0,
            local => usize::from(local) + 1,
        };
        self.text.get(start..usize::from(self.bare)).unwrap_or_default()
    }

    /// The resourcepart, which only a full JID has.
    pub fn resource(&self) -> Option<&str> {
        if self.is_bare() {
            return None;
        }
        self.text.get(usize::from(self.bare) + 1..usize::from(self.end))
    }

    /// Says whether the address has no resourcepart.
    pub fn is_bare(&self) -> bool {
        self.bare == self.end
    }

    /// Says whether the address is a domainpart and nothing else.
    pub fn is_domain(&self) -> bool {
        self.local == 0 && self.is_bare()
    }

    /// The address without its resourcepart; it shares the text of this one.
    pub fn bare(&self) -> Self {
        Self { end: self.bare, ..self.clone() }
    }

    /// The address of the domain alone.
    pub fn domain_jid(&self) -> Self {
        if self.local == 0 {
            return self.bare();
        }
        Layout::of(None, self.domain(), None).over(Arc::from(self.domain()))
    }

    /// The same bare JID with another resourcepart.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        let resource = normal_resource(resource)?;
        let (local, domain) = (self.local(), self.domain());
        Ok(Layout::of(local, domain, Some(&resource)).join(local, domain, Some(&resource)))
    }

    /// Says whether both are the same but for the resourcepart.
    pub fn same_bare(&self, other: &Self) -> bool {
        self.bare_str() == other.bare_str()
    }
}

/// Where the parts of a JID end.
struct Layout {
    local: u16,
    bare: u16,
    end: u16,
}

impl Layout {
    /// Measures parts in their normal form; with 1023 bytes a part (RFC 7622 §3.1) the sum fits.
    fn of(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let size = |part: &str| u16::try_from(part.len()).unwrap_or(u16::MAX);
        let local = local.map_or(0, size);
        let bare = local.saturating_add(u16::from(local > 0)).saturating_add(size(domain));
        let end = resource.map_or(bare, |part| bare.saturating_add(1).saturating_add(size(part)));
        Self { local, bare, end }
    }

    fn join(self, local: Option<&str>, domain: &str, resource: Option<&str>) -> Jid {
        let mut text = String::with_capacity(usize::from(self.end));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        self.over(Arc::from(text))
    }

    fn over(self, text: Arc<str>) -> Jid {
        Jid { text, local: self.local, bare: self.bare, end: self.end }
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Jid {}

impl PartialEq<str> for Jid {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Jid {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Jid {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Jid {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Jid {
    type Error = JidError;

    fn try_from(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::jid::{Fault, Part};

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn examples_of_rfc_7622_are_addresses() {
        for (text, local, domain, resource) in [
            ("juliet@example.com", Some("juliet"), "example.com", None),
            ("juliet@example.com/foo", Some("juliet"), "example.com", Some("foo")),
            ("juliet@example.com/foo bar", Some("juliet"), "example.com", Some("foo bar")),
            ("juliet@example.com/foo@bar", Some("juliet"), "example.com", Some("foo@bar")),
            ("foo\\20bar@example.com", Some("foo\\20bar"), "example.com", None),
            ("fussball@example.com", Some("fussball"), "example.com", None),
            ("fu\u{DF}ball@example.com", Some("fu\u{DF}ball"), "example.com", None),
            ("\u{3C0}@example.com", Some("\u{3C0}"), "example.com", None),
            ("\u{3A3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
            ("\u{3C3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
            ("\u{3C2}@example.com/foo", Some("\u{3C2}"), "example.com", Some("foo")),
            ("king@example.com/\u{265A}", Some("king"), "example.com", Some("\u{265A}")),
            ("example.com", None, "example.com", None),
            ("example.com/foobar", None, "example.com", Some("foobar")),
            ("a.example.com/b@example.net", None, "a.example.com", Some("b@example.net")),
        ] {
            let jid = jid(text);
            assert_eq!((jid.local(), jid.domain(), jid.resource()), (local, domain, resource));
            assert!(is_normal(jid.as_str()), "{jid}");
        }
    }

    #[test]
    fn violations_of_rfc_7622_are_refused() {
        for (text, part, fault) in [
            ("\"juliet\"@example.com", Part::Local, Fault::Forbidden('"')),
            ("foo bar@example.com", Part::Local, Fault::Forbidden(' ')),
            ("@example.com/", Part::Local, Fault::Empty),
            ("henry\u{2163}@example.com", Part::Local, Fault::Forbidden('\u{2163}')),
            ("\u{265A}@example.com", Part::Local, Fault::Forbidden('\u{265A}')),
            ("juliet@", Part::Domain, Fault::Empty),
            ("/foobar", Part::Domain, Fault::Empty),
            ("example.com/", Part::Resource, Fault::Empty),
            ("", Part::Domain, Fault::Empty),
            ("@", Part::Local, Fault::Empty),
        ] {
            assert_eq!(Jid::parse(text), Err(JidError { part, fault }), "{text:?}");
            assert!(!is_normal(text), "{text:?}");
        }
        // Example 18 is the one that is kept: the head of this folder says why.
        assert_eq!(jid("juliet@example.com/ foo").resource(), Some(" foo"));
    }

    #[test]
    fn two_texts_of_one_address_are_equal() {
        for (one, other) in [
            ("Juliet@EXAMPLE.com/Balcony", "juliet@example.com/Balcony"),
            ("juliet@example.com.", "juliet@example.com"),
            ("\u{FF2A}uliet@example.com", "juliet@example.com"),
            ("ju\u{AD}liet@example.com", "juliet@example.com"),
            ("jose\u{301}@example.com", "jos\u{E9}@example.com"),
            ("juliet@xn--bcher-kva.example", "juliet@b\u{FC}cher.example"),
            ("juliet@B\u{DC}CHER.example", "juliet@b\u{FC}cher.example"),
            ("juliet@example\u{3002}com", "juliet@example.com"),
            ("juliet@[0:0::0:1]/x", "juliet@[::1]/x"),
            ("a@b/caf\u{E9}\u{A0}1", "a@b/cafe\u{301} 1"),
            ("a@b/\u{2764}\u{FE0F}", "a@b/\u{2764}"),
        ] {
            assert_eq!(jid(one), jid(other), "{one:?}");
            assert!(!is_normal(one) || one == jid(one).as_str(), "{one:?}");
            assert!(is_normal(jid(one).as_str()), "{one:?}");
        }
    }

    #[test]
    fn resourcepart_keeps_its_case() {
        assert_ne!(jid("a@b/Balcony"), jid("a@b/balcony"));
    }

    #[test]
    fn bare_jid_equals_the_same_read_from_text() {
        let full = jid("Juliet@example.com/balcony");
        let bare = full.bare();
        assert_eq!(bare, jid("juliet@example.com"));
        assert_eq!(bare.as_str(), full.bare_str());
        assert_eq!((bare.is_bare(), full.is_bare()), (true, false));
        assert_eq!((bare.resource(), bare.domain()), (None, "example.com"));
        assert!(bare.same_bare(&full));
        assert_eq!(bare.with_resource("balcony").as_ref(), Ok(&full));
        assert_eq!(full.domain_jid(), jid("example.com"));
        assert_eq!(jid("example.com/x").domain_jid(), jid("example.com"));
        assert!(full.domain_jid().is_domain() && !bare.is_domain());
    }

    #[test]
    fn map_of_addresses_is_searched_by_text() {
        let map = HashMap::from([(jid("juliet@example.com/balcony").bare(), 1)]);
        assert_eq!(map.get("juliet@example.com"), Some(&1));
    }

    #[test]
    fn address_fits_three_words() {
        assert!(size_of::<Jid>() <= 24);
        assert_eq!(size_of::<Option<Jid>>(), size_of::<Jid>());
    }

    #[test]
    fn parts_are_put_together_in_their_normal_form() {
        let made = Jid::from_parts(Some("Juliet"), "Example.COM.", Some("balcony"));
        assert_eq!(made, Ok(jid("juliet@example.com/balcony")));
        assert!(Jid::from_parts(Some(""), "example.com", None).is_err());
        assert!(Jid::from_parts(None, "example.com/x", None).is_err());
        assert!(Jid::from_parts(Some("a@b"), "example.com", None).is_err());
    }

    #[test]
    fn each_part_has_1_to_1023_bytes() {
        let long = "x".repeat(1023);
        let text = format!("{long}@{long}/{long}");
        assert_eq!(jid(&text).as_str(), text);
        let longer = "x".repeat(1024);
        for text in [format!("{longer}@a/b"), format!("a@{longer}/b"), format!("a@b/{longer}")] {
            assert_eq!(Jid::parse(&text).map_err(|error| error.fault), Err(Fault::TooLong));
            assert!(!is_normal(&text));
        }
        // The bound holds for the mapped text: U+FB01 takes three bytes and stays, while a
        // decomposed letter shrinks.
        let shrinks = "e\u{301}".repeat(511);
        assert_eq!(jid(&format!("{shrinks}@a")).local().map(str::len), Some(1022));
    }
}
