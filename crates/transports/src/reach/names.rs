//! The names in a certificate, and whether they are those of a server's domain.

use verona_xmpp::jid::Jid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::tls::certificates::ascii;

/// RFC 4985 §2: id-on-dnsSRV.
const SRV_NAME: &str = "1.3.6.1.5.5.7.8.7";

/// RFC 6120 §13.7.1.4: id-on-xmppAddr.
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

/// The service that a name must be for, when it names one (RFC 6125 §6.5.1).
const SERVICE: &str = "_xmpp-server.";

/// Names of a certificate that are of use here. The common name is none (RFC 6125 §6.4.4 would allow
/// it where there is no other): what stands there was never meant to be checked by a machine.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// dNSName, in lower case.
    dns: Vec<String>,
    /// The domains of SRVName for servers, in lower case.
    srv: Vec<String>,
    /// xmppAddr that are a domain.
    xmpp: Vec<Jid>,
    /// Whether a name constraint stands above the certificate. Those are about the kinds of names
    /// that authorities know, so only dNSName is believed then.
    pub(crate) constrained: bool,
}

impl Names {
    pub(crate) fn read(certificate: &X509Certificate<'_>) -> Self {
        let extension = certificate.subject_alternative_name().ok().flatten();
        let names = extension.map(|extension| extension.value.general_names.as_slice());
        let mut read = Self::default();
        for name in names.unwrap_or_default() {
            match name {
                GeneralName::DNSName(name) => read.dns.push(name.to_ascii_lowercase()),
                GeneralName::OtherName(kind, value) => {
                    read.take_other(&kind.to_id_string(), value);
                }
                _ => {}
            }
        }
        read
    }

    fn take_other(&mut self, kind: &str, value: &[u8]) {
        let Some(text) = text(value) else { return };
        match kind {
            SRV_NAME => {
                let name = text.to_ascii_lowercase();
                self.srv.extend(name.strip_prefix(SERVICE).map(str::to_owned));
            }
            XMPP_ADDR => self.xmpp.extend(Jid::parse(text).ok().filter(is_domain)),
            _ => {}
        }
    }

    /// Whether one of them is the domain (RFC 6125 §6.4, RFC 6120 §13.7.1.2.1).
    pub(crate) fn prove(&self, domain: &str) -> bool {
        let name = ascii(domain).to_ascii_lowercase();
        let other = || {
            self.srv.iter().any(|srv| matches(srv, &name))
                || self.xmpp.iter().any(|jid| ascii(jid.domain()) == name)
        };
        self.dns.iter().any(|dns| matches(dns, &name)) || (!self.constrained && other())
    }

    /// The names for the operator, the first few of them.
    pub(crate) fn describe(&self) -> String {
        let all = self.dns.iter().map(String::as_str);
        let all = all.chain(self.srv.iter().map(String::as_str));
        let mut all: Vec<&str> = all.chain(self.xmpp.iter().map(Jid::as_str)).collect();
        all.dedup();
        match all.len() {
            0 => "no name that could be checked".to_owned(),
            1..=4 => all.join(", "),
            more => format!("{} and {} more", all[..3].join(", "), more.saturating_sub(3)),
        }
    }
}

fn is_domain(jid: &Jid) -> bool {
    jid.local().is_none() && jid.is_bare()
}

/// RFC 6125 §6.4.3: a star stands for exactly one label, and only as the whole of the leftmost.
fn matches(presented: &str, name: &str) -> bool {
    let presented = presented.strip_suffix('.').unwrap_or(presented);
    match presented.strip_prefix("*.") {
        Some(rest) => {
            rest.contains('.') && name.split_once('.').is_some_and(|(_, parent)| parent == rest)
        }
        None => presented == name,
    }
}

/// The text in `[0] EXPLICIT UTF8String` or `IA5String`, of which otherName is made.
fn text(value: &[u8]) -> Option<&str> {
    const EXPLICIT: u8 = 0xa0;
    const UTF8_STRING: u8 = 0x0c;
    const IA5_STRING: u8 = 0x16;
    let inner = content(value, &[EXPLICIT])?;
    std::str::from_utf8(content(inner, &[UTF8_STRING, IA5_STRING])?).ok()
}

/// What stands in one DER element that fills `bytes`, when it has one of these tags and is not
/// longer than a domain can be.
fn content<'a>(bytes: &'a [u8], tags: &[u8]) -> Option<&'a [u8]> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes(length.try_into().ok()?)), rest)
        }
        _ => return None,
    };
    (tags.contains(tag) && rest.len() == length).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_whole_label() {
        assert!(matches("*.montague.lit", "rooms.montague.lit"));
        for (presented, name) in [
            ("*.montague.lit", "montague.lit"),
            ("*.montague.lit", "a.rooms.montague.lit"),
            ("r*.montague.lit", "rooms.montague.lit"),
            ("rooms.*.lit", "rooms.montague.lit"),
            ("*", "lit"),
            ("*.", "lit"),
            ("*.lit", "montague.lit"),
        ] {
            assert!(!matches(presented, name), "{presented} {name}");
        }
    }

    #[test]
    fn other_names_are_read_to_their_end_and_no_further() {
        assert_eq!(text(&[0xa0, 3, 0x16, 1, b'a']), Some("a"));
        assert_eq!(text(&[0xa0, 4, 0x0c, 0x81, 1, b'a']), Some("a"));
        for odd in [
            &[][..],
            &[0xa0],
            &[0xa0, 3, 0x16, 1],
            &[0xa0, 3, 0x16, 2, b'a'],
            &[0xa0, 3, 0x13, 1, b'a'],
            &[0xa0, 4, 0x16, 1, b'a', b'b'],
            &[0x30, 3, 0x16, 1, b'a'],
            &[0xa0, 0x84, 0, 0, 0, 3, 0x16, 1, b'a'],
            &[0xa0, 3, 0x16, 1, 0xff],
        ] {
            assert_eq!(text(odd), None, "{odd:?}");
        }
    }
}
