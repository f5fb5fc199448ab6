//! What the operator has set for federation: who takes part, how long stanzas wait, how many.

use hashbrown::HashMap;

use crate::federation::reach::Pair;

/// What holds for all domains elsewhere.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Stanzas that may wait for one domain.
    pub queue_stanzas_max: usize,
    /// Bytes that may wait for one domain.
    pub queue_bytes_max: usize,
    /// Bytes that may wait for all domains together.
    pub queue_total_bytes_max: usize,
    /// Seconds for which a message waits before it goes back to its sender.
    pub queue_secs: u64,
    /// Seconds between two tries at most.
    pub retry_secs_max: u64,
    /// Seconds without a stanza after which a stream is closed.
    pub idle_secs: u64,
    /// With whom each host speaks; a host that is not named speaks with all.
    pub hosts: HashMap<Box<str>, Circle, ahash::RandomState>,
}

/// With whom a host speaks. A domain stands for itself and all below it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Circle {
    /// Only with these, when there are any.
    pub allow: Vec<Box<str>>,
    /// Not with these.
    pub deny: Vec<Box<str>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            queue_stanzas_max: 1_000,
            queue_bytes_max: 256 * 1024,
            queue_total_bytes_max: 64 * 1024 * 1024,
            queue_secs: 60 * 60,
            retry_secs_max: 300,
            idle_secs: 30 * 60,
            hosts: HashMap::default(),
        }
    }
}

impl Terms {
    /// Whether the two domains may speak with each other.
    pub fn admit(&self, pair: &Pair) -> bool {
        self.admit_domains(pair.local.domain(), pair.remote.domain())
    }

    /// The same for domains in normal form. A domain below a host, such as its rooms, goes by the
    /// host's circle.
    pub fn admit_domains(&self, local: &str, remote: &str) -> bool {
        let mut parent = Some(local);
        while let Some(domain) = parent {
            if let Some(circle) = self.hosts.get(domain) {
                return circle.admits(remote);
            }
            parent = domain.split_once('.').map(|(_, rest)| rest);
        }
        true
    }
}

impl Circle {
    fn admits(&self, remote: &str) -> bool {
        let named = |list: &[Box<str>]| list.iter().any(|domain| is_within(remote, domain));
        (self.allow.is_empty() || named(&self.allow)) && !named(&self.deny)
    }
}

/// Whether a domain is another or lies below it.
fn is_within(domain: &str, whole: &str) -> bool {
    domain.strip_suffix(whole).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_counts_with_all_below_it() {
        let circle = |allow: &[&str], deny: &[&str]| Circle {
            allow: allow.iter().map(|domain| (*domain).into()).collect(),
            deny: deny.iter().map(|domain| (*domain).into()).collect(),
        };
        let mut terms = Terms::default();
        assert!(terms.admit_domains("capulet.lit", "montague.lit"), "all speak with all");
        terms.hosts.insert("capulet.lit".into(), circle(&["montague.lit"], &["bad.montague.lit"]));
        for (remote, expected) in [
            ("montague.lit", true),
            ("rooms.montague.lit", true),
            ("bad.montague.lit", false),
            ("very.bad.montague.lit", false),
            ("amontague.lit", false),
            ("verona.lit", false),
        ] {
            assert_eq!(terms.admit_domains("capulet.lit", remote), expected, "{remote}");
            assert_eq!(terms.admit_domains("rooms.capulet.lit", remote), expected, "{remote}");
        }
        assert!(terms.admit_domains("other.lit", "verona.lit"));
        terms.hosts.insert("closed.lit".into(), circle(&[], &["spam.example"]));
        assert!(terms.admit_domains("closed.lit", "verona.lit"));
        assert!(!terms.admit_domains("closed.lit", "spam.example"));
    }
}
