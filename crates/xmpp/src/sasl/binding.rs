//! Channel bindings (RFC 9266, RFC 5929), and what a stream offers, hashed against downgrades
//! (XEP-0440, XEP-0474).

use super::encoding::encode;
use super::hash::Hash;
use super::mechanism::Mechanism;

/// The bytes that name this one TLS channel, by type.
///
/// They are no secret (RFC 9266 §4), but of use only with a TLS whose master secrets are unique:
/// TLS 1.3, or 1.2 with extended master secret (RFC 7677 §4). The caller sees to that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChannelBinding {
    /// 32 bytes exported under `EXPORTER-Channel-Binding` with an empty context (RFC 9266 §2).
    TlsExporter(Vec<u8>),
    /// The hash of the server's certificate (RFC 5929 §4.1).
    TlsServerEndPoint(Vec<u8>),
}

impl ChannelBinding {
    /// The label to export keying material under for [`ChannelBinding::TlsExporter`].
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-Channel-Binding";

    /// How many bytes to export for [`ChannelBinding::TlsExporter`].
    pub const EXPORTER_BYTES: usize = 32;

    /// The registered name of the type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TlsExporter(_) => "tls-exporter",
            Self::TlsServerEndPoint(_) => "tls-server-end-point",
        }
    }

    /// The bytes themselves.
    pub fn data(&self) -> &[u8] {
        match self {
            Self::TlsExporter(data) | Self::TlsServerEndPoint(data) => data,
        }
    }
}

/// What one stream offers: the mechanisms of its features, and its channel bindings.
///
/// The features must list exactly these, mechanisms and types of binding alike: the hash of
/// XEP-0474 is made of them. With SASL and SASL2 side by side, each has an offer of its own.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    mechanisms: Vec<Mechanism>,
    bindings: Vec<ChannelBinding>,
}

impl Offer {
    /// An offer of these mechanisms; without a binding, those that need one fall away.
    pub fn new(
        mechanisms: impl IntoIterator<Item = Mechanism>,
        bindings: Vec<ChannelBinding>,
    ) -> Self {
        let mut mechanisms: Vec<_> = mechanisms
            .into_iter()
            .filter(|mechanism| !mechanism.needs_binding() || !bindings.is_empty())
            .collect();
        // RFC 6120 §6.3.3, §6.3.4: by strength, EXTERNAL first.
        mechanisms.sort_unstable_by(|one, other| other.cmp(one));
        mechanisms.dedup();
        Self { mechanisms, bindings }
    }

    /// The mechanisms, the strongest first.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// The channel bindings, to be announced by XEP-0440 if there are any.
    pub fn bindings(&self) -> &[ChannelBinding] {
        &self.bindings
    }

    /// Whether it has that mechanism.
    pub fn has(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// Whether it has any mechanism with channel binding.
    pub fn has_plus(&self) -> bool {
        self.mechanisms.iter().any(|one| one.needs_binding())
    }

    /// The channel binding of the type of that name.
    pub fn binding(&self, name: &str) -> Option<&ChannelBinding> {
        self.bindings.iter().find(|one| one.name() == name)
    }

    /// The value of attribute `h` in the first message of the server (XEP-0474 §6.1).
    pub fn downgrade_hash(&self, hash: Hash) -> String {
        let mechanisms = self.mechanisms.iter().map(|one| one.name()).collect();
        let bindings = self.bindings.iter().map(ChannelBinding::name).collect();
        downgrade_hash(hash, mechanisms, bindings)
    }
}

/// The hash over what a server offered: base64 of H(mechanisms 0x1F bindings), each list sorted
/// by bytes and joined by 0x1E; without bindings their separator is missing too (XEP-0474 §6.1).
pub fn downgrade_hash(hash: Hash, mut mechanisms: Vec<&str>, mut bindings: Vec<&str>) -> String {
    mechanisms.sort_unstable();
    bindings.sort_unstable();
    let mut text = mechanisms.join("\x1e");
    if !bindings.is_empty() {
        text.push('\x1f');
        text.push_str(&bindings.join("\x1e"));
    }
    encode(hash.digest(text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings() -> Vec<ChannelBinding> {
        vec![ChannelBinding::TlsServerEndPoint(vec![1]), ChannelBinding::TlsExporter(vec![2])]
    }

    #[test]
    fn hash_is_that_of_the_example_of_xep_0474() {
        // §6.3, whatever the order in which things were announced.
        for mechanisms in [
            [Mechanism::ScramSha1, Mechanism::ScramSha1Plus],
            [Mechanism::ScramSha1Plus, Mechanism::ScramSha1],
        ] {
            let offer = Offer::new(mechanisms, bindings());
            assert_eq!(offer.downgrade_hash(Hash::Sha1), "G6k/rBLDqgOhRRaCuuatSDFkJ08=");
        }
    }

    #[test]
    fn hash_without_bindings_has_no_separator_for_them() {
        let offer = Offer::new([Mechanism::Plain, Mechanism::ScramSha256], Vec::new());
        assert_eq!(
            offer.downgrade_hash(Hash::Sha256),
            encode(Hash::Sha256.digest(b"PLAIN\x1eSCRAM-SHA-256").as_ref())
        );
    }

    #[test]
    fn mechanisms_with_binding_are_not_offered_without_one() {
        let offer = Offer::new(Mechanism::ALL, Vec::new());
        assert!(!offer.has_plus());
        assert!(offer.has(Mechanism::ScramSha512));
        assert!(Offer::new(Mechanism::ALL, bindings()).has_plus());
    }

    #[test]
    fn strong_mechanisms_stand_first_and_each_once() {
        let offer = Offer::new(
            [Mechanism::Plain, Mechanism::External, Mechanism::ScramSha1, Mechanism::Plain],
            Vec::new(),
        );
        assert_eq!(
            offer.mechanisms(),
            [Mechanism::External, Mechanism::ScramSha1, Mechanism::Plain]
        );
    }

    #[test]
    fn binding_is_found_by_its_exact_name() {
        let offer = Offer::new([], bindings());
        assert_eq!(offer.binding("tls-exporter").map(ChannelBinding::data), Some(&[2][..]));
        assert_eq!(offer.binding("tls-unique"), None);
        assert_eq!(offer.binding("TLS-EXPORTER"), None);
    }
}
