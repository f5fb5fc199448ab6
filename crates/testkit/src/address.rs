//! The address of a character, taken apart.

use std::fmt;

/// A JID as a script writes it: in normal form already, so nothing is mapped.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// The localpart.
    pub local: String,
    /// The domainpart.
    pub domain: String,
    /// The resourcepart that the character binds.
    pub resource: String,
}

impl Address {
    /// Reads `local@domain/resource`.
    pub fn parse(text: &str) -> Option<Self> {
        let (bare, resource) = text.split_once('/')?;
        let (local, domain) = bare.split_once('@')?;
        let empty = local.is_empty() || domain.is_empty() || resource.is_empty();
        (!empty).then(|| Self {
            local: local.to_owned(),
            domain: domain.to_owned(),
            resource: resource.to_owned(),
        })
    }

    /// The address of a component.
    pub fn of_component(domain: &str) -> Self {
        Self { local: String::new(), domain: domain.to_owned(), resource: String::new() }
    }

    /// Whether it is that of a component.
    pub fn is_component(&self) -> bool {
        self.local.is_empty()
    }

    /// The bare JID.
    pub fn bare(&self) -> String {
        if self.is_component() {
            return self.domain.clone();
        }
        format!("{}@{}", self.local, self.domain)
    }

    /// The full JID.
    pub fn full(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_component() {
            return f.write_str(&self.domain);
        }
        write!(f, "{}@{}/{}", self.local, self.domain, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart_and_together() {
        let juliet = Address::parse("juliet@capulet.lit/on the/balcony").unwrap();
        assert_eq!(juliet.bare(), "juliet@capulet.lit");
        assert_eq!(juliet.resource, "on the/balcony");
        assert_eq!(juliet.to_string(), "juliet@capulet.lit/on the/balcony");
        for wrong in ["juliet@capulet.lit", "capulet.lit/x", "@capulet.lit/x", "a@b/", "a@/x"] {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }
}
