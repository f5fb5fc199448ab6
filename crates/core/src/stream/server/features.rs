//! RFC 6120 §4.3.2: what streams between servers offer, as it is written and as it is read.

use verona_xml::{Element, Writer};
use verona_xmpp::ns;
use verona_xmpp::sasl::mechanism::Mechanism;

use crate::limits::Limits;
use crate::stream::server::side::Takes;

/// The namespace in which a bidirectional stream is asked for (XEP-0288 §2.2).
pub const NS_BIDI: &str = "urn:xmpp:bidi";
const NS_BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
const NS_DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
const NS_LIMITS: &str = "urn:xmpp:stream-limits:0";

/// What a stream offers to the server that has opened it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// STARTTLS, and whether it has to come first: then there is nothing else (RFC 6120 §5.3.1).
    pub starttls: Option<bool>,
    /// SASL EXTERNAL.
    pub external: bool,
    /// Dialback.
    pub dialback: bool,
    /// Stanzas in both directions.
    pub bidi: bool,
    /// Stream management.
    pub managed: bool,
}

impl Offer {
    /// The element that says so, with the limits that hold for stanzas.
    ///
    /// XEP-0478 §4 lets the limits change with the login. After dialback there are no new features in
    /// which to say so, and no stanza may come before: so it is those of stanzas from the start.
    pub fn write(self, limits: &Limits) -> String {
        let mut writer = Writer::new(ns::SERVER);
        if let Some(required) = self.starttls {
            writer.start("starttls", ns::TLS);
            if required {
                writer.empty("required", ns::TLS);
            }
            writer.end();
        }
        if self.external {
            writer.start("mechanisms", ns::SASL);
            writer.start("mechanism", ns::SASL).text(Mechanism::External.name()).end().end();
        }
        if self.dialback {
            // XEP-0220 §2.4.2.
            writer.start("dialback", NS_DIALBACK_FEATURE).empty("errors", NS_DIALBACK_FEATURE);
            writer.end();
        }
        if self.bidi {
            writer.empty("bidi", NS_BIDI_FEATURE);
        }
        if self.managed {
            writer.empty("sm", ns::SM);
        }
        if self.starttls != Some(true) {
            write_limits(&mut writer, limits);
        }
        ["<stream:features>", &writer.finish(), "</stream:features>"].concat()
    }

    /// Reads the features of a peer, and what it takes.
    pub fn read(features: Element<'_>) -> (Self, Takes) {
        let tls = features.child("starttls", ns::TLS);
        let mechanisms = features.child("mechanisms", ns::SASL);
        let names = mechanisms.into_iter().flat_map(|mechanisms| mechanisms.children());
        let offer = Self {
            starttls: tls.map(|tls| tls.child("required", ns::TLS).is_some()),
            external: names.into_iter().any(|one| {
                one.is("mechanism", ns::SASL) && one.text().trim() == Mechanism::External.name()
            }),
            dialback: features.child("dialback", NS_DIALBACK_FEATURE).is_some(),
            bidi: features.child("bidi", NS_BIDI_FEATURE).is_some(),
            managed: features.child("sm", ns::SM).is_some(),
        };
        (offer, takes(features))
    }
}

/// What the children of an element say that a peer takes (XEP-0478 §3.1, §3.2).
pub fn takes(element: Element<'_>) -> Takes {
    let Some(limits) = element.child("limits", NS_LIMITS) else { return Takes::default() };
    let number = |name| limits.child(name, NS_LIMITS).map(|one| one.text().trim().to_owned());
    Takes {
        // RFC 6120 §13.12: nobody may take less.
        bytes_max: number("max-bytes")
            .and_then(|text| text.parse().ok())
            .map(|bytes: usize| bytes.max(10_000)),
        idle_secs: number("idle-seconds").and_then(|text| text.parse().ok()),
    }
}

/// Asks for a bidirectional stream, and says what we take on it (XEP-0288 §2.2, XEP-0478 §3.2).
pub fn ask_bidi(limits: &Limits) -> String {
    let mut writer = Writer::new(ns::SERVER);
    writer.start("bidi", NS_BIDI);
    write_limits(&mut writer, limits);
    writer.end();
    writer.finish()
}

fn write_limits(writer: &mut Writer, limits: &Limits) {
    let number = |value: usize| value.to_string();
    writer.start("limits", NS_LIMITS);
    writer.start("max-bytes", NS_LIMITS).text(&number(limits.server_stanza_bytes_max)).end();
    let idle = limits.idle_probe_secs.to_string();
    writer.start("idle-seconds", NS_LIMITS).text(&idle).end();
    writer.end();
}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;

    fn read(text: &str) -> (Offer, Takes) {
        let text = text.replace("stream:features", "features");
        let limits = Limits::default().before_login();
        Offer::read(Tree::parse(&text, ns::SERVER, limits).unwrap().root())
    }

    #[test]
    fn what_is_offered_is_read_again() {
        let all = Offer {
            starttls: Some(false),
            external: true,
            dialback: true,
            bidi: true,
            managed: true,
        };
        let limits = Limits::default();
        let (offer, takes) = read(&all.write(&limits));
        assert_eq!(offer, all);
        assert_eq!(takes.bytes_max, Some(limits.server_stanza_bytes_max));
        assert_eq!(takes.idle_secs, Some(limits.idle_probe_secs));
        let none = Offer::default();
        assert_eq!(read(&none.write(&limits)).0, none);
    }

    #[test]
    fn required_tls_stands_alone() {
        let offer = Offer { starttls: Some(true), ..Offer::default() };
        assert_eq!(
            offer.write(&Limits::default()),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>\
             </starttls></stream:features>"
        );
    }

    #[test]
    fn limits_of_a_peer_are_taken_with_care() {
        let takes = |inner: &str| {
            read(&format!("<features><limits xmlns='{NS_LIMITS}'>{inner}</limits></features>")).1
        };
        assert_eq!(takes("").bytes_max, None);
        assert_eq!(takes("<max-bytes>1</max-bytes>").bytes_max, Some(10_000));
        assert_eq!(takes("<max-bytes>-1</max-bytes>").bytes_max, None);
        assert_eq!(takes("<max-bytes>many</max-bytes>").bytes_max, None);
        assert_eq!(takes("<idle-seconds> 60 </idle-seconds>").idle_secs, Some(60));
    }
}
