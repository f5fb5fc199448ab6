//! The mechanisms that Verona knows, by name and by strength.

use std::fmt;

use super::hash::Hash;

/// A SASL mechanism; the order is that of strength, the weakest first (XEP-0438 §5.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mechanism {
    /// Anybody may come in, as nobody in particular (RFC 4505).
    Anonymous,
    /// The password itself (RFC 4616).
    Plain,
    /// SCRAM with SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM with SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
    /// SCRAM with SHA-1, bound to the TLS channel.
    ScramSha1Plus,
    /// SCRAM with SHA-256, bound to the TLS channel.
    ScramSha256Plus,
    /// SCRAM with SHA-512, bound to the TLS channel.
    ScramSha512Plus,
    /// The certificate shown in TLS (RFC 4422 appendix A, XEP-0178).
    External,
}

impl Mechanism {
    /// All mechanisms, the strongest first: the order in which they are offered (RFC 6120 §6.3.3).
    pub const ALL: [Self; 9] = [
        Self::External,
        Self::ScramSha512Plus,
        Self::ScramSha256Plus,
        Self::ScramSha1Plus,
        Self::ScramSha512,
        Self::ScramSha256,
        Self::ScramSha1,
        Self::Plain,
        Self::Anonymous,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Self::External => "EXTERNAL",
        }
    }

    /// The mechanism of that name; upper case counts (RFC 4422 §3.1).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Whether it is a -PLUS mechanism, which needs the data of a channel binding.
    pub const fn needs_binding(self) -> bool {
        matches!(self, Self::ScramSha1Plus | Self::ScramSha256Plus | Self::ScramSha512Plus)
    }

    /// The hash function, if it belongs to the SCRAM family.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::ScramSha1 | Self::ScramSha1Plus => Some(Hash::Sha1),
            Self::ScramSha256 | Self::ScramSha256Plus => Some(Hash::Sha256),
            Self::ScramSha512 | Self::ScramSha512Plus => Some(Hash::Sha512),
            Self::Anonymous | Self::Plain | Self::External => None,
        }
    }

    /// Whether a password proves the identity.
    pub const fn is_password(self) -> bool {
        !matches!(self, Self::Anonymous | Self::External)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_is_found_by_its_name_and_no_other() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::named(mechanism.name()), Some(mechanism));
            assert_eq!(mechanism.needs_binding(), mechanism.name().ends_with("-PLUS"));
            assert!(mechanism.name().len() <= 20, "RFC 4422 §3.1: at most 20 letters");
        }
        for name in ["", "plain", "PLAIN ", "SCRAM-SHA-1-PLUS-PLUS", "DIGEST-MD5"] {
            assert_eq!(Mechanism::named(name), None);
        }
    }

    #[test]
    fn they_are_offered_from_strong_to_weak() {
        assert!(Mechanism::ALL.is_sorted_by(|stronger, weaker| stronger > weaker));
        assert!(Mechanism::ScramSha1Plus > Mechanism::ScramSha512);
        assert!(Mechanism::ScramSha1 > Mechanism::Plain);
    }
}
