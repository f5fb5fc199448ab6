//! What must hold for any text that is taken for an address. Shared by the tests here and the fuzz
//! target.

use verona_xmpp::jid::{Jid, is_normal, normal_domain, normal_local, normal_resource, split};

const PART_BYTES_MAX: usize = 1023;

/// Proves all of it on one text.
pub fn everything(text: &str) {
    parsed(text);
    normalized(text);
}

/// An address has one normal form, made of parts that have theirs.
fn parsed(text: &str) {
    let whole = Jid::parse(text);
    let parts = split(text);
    let made = Jid::from_parts(parts.local, parts.domain, parts.resource);
    assert_eq!(whole, made, "whole and in parts");
    assert!(!is_normal(text) || whole.as_ref().is_ok_and(|jid| jid.as_str() == text));
    let Ok(jid) = whole else { return };
    let normal = jid.as_str();
    assert!(is_normal(normal), "{normal:?}");
    assert_eq!(Jid::parse(normal).as_ref(), Ok(&jid), "read again");
    for part in [jid.local(), Some(jid.domain()), jid.resource()].into_iter().flatten() {
        assert!((1..=PART_BYTES_MAX).contains(&part.len()), "{part:?}");
        assert!(!part.contains(char::is_control), "{part:?}");
    }
    // The parts are where they say: nobody can be taken for another.
    let mut whole = jid.local().map(|local| format!("{local}@")).unwrap_or_default();
    whole.push_str(jid.domain());
    assert_eq!(whole, jid.bare_str());
    whole.extend(jid.resource().into_iter().flat_map(|resource| ["/", resource]));
    assert_eq!(whole, normal);
    assert!(!jid.domain().contains(['@', '/']) && !jid.local().is_some_and(|l| l.contains('@')));
    let bare = jid.bare();
    assert!(bare.is_bare() && bare.same_bare(&jid) && bare.domain_jid().is_domain());
    assert_eq!(Jid::parse(bare.as_str()), Ok(bare));
}

/// A part in its normal form is in its normal form.
fn normalized(text: &str) {
    for normal in [normal_local, normal_domain, normal_resource] {
        if let Ok(once) = normal(text) {
            assert_eq!(normal(&once).as_ref(), Ok(&once), "{text:?}");
        }
    }
}
