//! The messages of SCRAM (RFC 5802 §7), read strictly and written by both sides.

use std::str;

use zeroize::Zeroizing;

use super::encoding::{decode, encode};
use super::error::Refusal;
use super::prep::TEXT_BYTES_MAX;

/// Longest nonce of a peer, in bytes; the specification names no bound, 24 are common.
const NONCE_BYTES_MAX: usize = 512;

const BROKEN: Refusal = Refusal::malformed("broken SCRAM message");

/// RFC 5802 §5.1: `m` must not be ignored, and we understand none of its kind.
const MANDATORY: Refusal = Refusal::unauthorized("unknown mandatory extension of SCRAM");

/// What a client says of channel binding: gs2-cbind-flag (RFC 5802 §7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BindingFlag<'a> {
    /// `n`: it cannot.
    Unable,
    /// `y`: it can, and believes that the server cannot.
    NotOffered,
    /// `p=`: it does, by that type.
    Bound(&'a str),
}

impl BindingFlag<'_> {
    /// The whole GS2 header, commas included.
    pub fn header(self, authzid: Option<&str>) -> String {
        let flag = match self {
            Self::Unable => "n",
            Self::NotOffered => "y",
            Self::Bound(name) => &format!("p={name}"),
        };
        match authzid {
            None => format!("{flag},,"),
            Some(authzid) => format!("{flag},a={},", escape(authzid)),
        }
    }
}

/// The client-first-message.
pub(super) struct ClientFirst<'a> {
    pub header: &'a str,
    pub flag: BindingFlag<'a>,
    pub authzid: Option<String>,
    pub bare: &'a str,
    pub username: String,
    pub nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub fn parse(data: &'a [u8]) -> Result<Self, Refusal> {
        let text = parse_text(data)?;
        let (flag, rest) = text.split_once(',').ok_or(BROKEN)?;
        let (authzid, bare) = rest.split_once(',').ok_or(BROKEN)?;
        let header = text.strip_suffix(bare).ok_or(BROKEN)?;
        let mut attributes = bare.split(',');
        let username = take(&mut attributes, "n=")?;
        let nonce = take(&mut attributes, "r=").and_then(parse_nonce)?;
        for extension in attributes {
            parse_extension(extension)?;
        }
        Ok(Self {
            header,
            flag: parse_flag(flag)?,
            authzid: match authzid {
                "" => None,
                authzid => Some(unescape(authzid.strip_prefix("a=").ok_or(BROKEN)?)?),
            },
            bare,
            username: unescape(username)?,
            nonce,
        })
    }

    /// Writes client-first-message-bare.
    pub fn write_bare(username: &str, nonce: &str) -> String {
        format!("n={},r={nonce}", escape(username))
    }
}

/// The server-first-message.
pub(super) struct ServerFirst<'a> {
    pub nonce: &'a str,
    pub salt: Vec<u8>,
    pub iterations: u32,
    /// The value of `h` (XEP-0474 §6.1), if there is one.
    pub downgrade_hash: Option<&'a str>,
}

impl<'a> ServerFirst<'a> {
    pub fn parse(data: &'a [u8]) -> Result<Self, Refusal> {
        let text = parse_text(data)?;
        let mut attributes = text.split(',');
        let nonce = take(&mut attributes, "r=").and_then(parse_nonce)?;
        let salt = take(&mut attributes, "s=").and_then(parse_base64)?;
        let iterations = take(&mut attributes, "i=")?;
        if !iterations.starts_with(|c: char| ('1'..='9').contains(&c)) {
            return Err(BROKEN);
        }
        let mut downgrade_hash = None;
        for extension in attributes {
            if let ('h', value) = parse_extension(extension)? {
                downgrade_hash = Some(value);
            }
        }
        Ok(Self {
            nonce,
            salt: salt.to_vec(),
            iterations: iterations.parse().map_err(|_| BROKEN)?,
            downgrade_hash,
        })
    }

    pub fn write(nonce: &str, salt: &[u8], iterations: u32, downgrade_hash: &str) -> String {
        format!("r={nonce},s={},i={iterations},h={downgrade_hash}", encode(salt))
    }
}

/// The client-final-message.
pub(super) struct ClientFinal<'a> {
    pub without_proof: &'a str,
    pub binding: &'a str,
    pub nonce: &'a str,
    pub proof: Zeroizing<Vec<u8>>,
}

impl<'a> ClientFinal<'a> {
    pub fn parse(data: &'a [u8]) -> Result<Self, Refusal> {
        let text = parse_text(data)?;
        // The proof is the last attribute, and no value has a comma in it.
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(BROKEN)?;
        let mut attributes = without_proof.split(',');
        let binding = take(&mut attributes, "c=")?;
        let nonce = take(&mut attributes, "r=").and_then(parse_nonce)?;
        for extension in attributes {
            parse_extension(extension)?;
        }
        Ok(Self { without_proof, binding, nonce, proof: parse_base64(proof)? })
    }
}

/// The value of attribute `c`: the GS2 header and the data of the binding (RFC 5802 §5.1).
pub(super) fn binding_value(header: &str, data: &[u8]) -> String {
    encode(&[header.as_bytes(), data].concat())
}

/// Reads the server-final-message: its signature, or the error that it names.
pub(super) fn parse_server_final(data: &[u8]) -> Result<Result<Zeroizing<Vec<u8>>, &str>, Refusal> {
    let text = parse_text(data)?;
    let mut attributes = text.split(',');
    let outcome = attributes.next().ok_or(BROKEN)?;
    for extension in attributes {
        parse_extension(extension)?;
    }
    match (outcome.strip_prefix("v="), outcome.strip_prefix("e=")) {
        (Some(signature), _) => parse_base64(signature).map(Ok),
        (_, Some(error)) => Ok(Err(error)),
        _ => Err(BROKEN),
    }
}

/// Writes the server-final-message.
pub(super) fn write_server_final(signature: &[u8]) -> String {
    format!("v={}", encode(signature))
}

/// RFC 5802 §7: UTF-8 without NUL.
fn parse_text(data: &[u8]) -> Result<&str, Refusal> {
    str::from_utf8(data).ok().filter(|text| !text.contains('\0')).ok_or(BROKEN)
}

/// The value of the next attribute, which must be that one.
fn take<'a>(
    attributes: &mut impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<&'a str, Refusal> {
    let attribute = attributes.next().ok_or(BROKEN)?;
    if attribute.starts_with("m=") {
        return Err(MANDATORY);
    }
    attribute.strip_prefix(name).filter(|value| !value.is_empty()).ok_or(BROKEN)
}

fn parse_flag(flag: &str) -> Result<BindingFlag<'_>, Refusal> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    match (flag, flag.strip_prefix("p=")) {
        ("n", _) => Ok(BindingFlag::Unable),
        ("y", _) => Ok(BindingFlag::NotOffered),
        (_, Some(name)) if !name.is_empty() && name.chars().all(in_name) => {
            Ok(BindingFlag::Bound(name))
        }
        _ => Err(BROKEN),
    }
}

/// A nonce: printable ASCII (the comma is gone by splitting).
fn parse_nonce(nonce: &str) -> Result<&str, Refusal> {
    let printable = nonce.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    (printable && nonce.len() <= NONCE_BYTES_MAX).then_some(nonce).ok_or(BROKEN)
}

fn parse_base64(value: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    decode(value).map_err(|_| BROKEN)
}

/// An attribute beyond those that have a place of their own: to be ignored, if it is optional.
fn parse_extension(attribute: &str) -> Result<(char, &str), Refusal> {
    let (name, value) = attribute.split_once('=').ok_or(BROKEN)?;
    let mut letters = name.chars();
    match (letters.next(), letters.next()) {
        (Some('m'), None) => Err(MANDATORY),
        // A known attribute in the wrong place, or twice, could be read in two ways.
        (Some('a' | 'n' | 'r' | 'c' | 's' | 'i' | 'p' | 'v' | 'e'), None) => Err(BROKEN),
        (Some(letter), None) if letter.is_ascii_alphabetic() && !value.is_empty() => {
            Ok((letter, value))
        }
        _ => Err(BROKEN),
    }
}

/// saslname (RFC 5802 §5.1): comma and equals sign are spelled out.
fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// Reads a saslname; any other use of the equals sign is an error (RFC 5802 §5.1).
fn unescape(name: &str) -> Result<String, Refusal> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(BROKEN),
        };
        plain.push(c);
        plain.push_str(rest);
    }
    if plain.is_empty() || plain.len() > TEXT_BYTES_MAX {
        return Err(BROKEN);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::super::error::SaslError;
    use super::*;

    fn first(text: &str) -> Result<ClientFirst<'_>, SaslError> {
        ClientFirst::parse(text.as_bytes()).map_err(|refusal| refusal.error)
    }

    #[test]
    fn first_message_is_taken_apart() {
        let read = first("p=tls-exporter,a=juliet@capulet.lit,n=ju=2Cli=3Det,r=abc,x=y=z").unwrap();
        assert_eq!(read.header, "p=tls-exporter,a=juliet@capulet.lit,");
        assert_eq!(read.flag, BindingFlag::Bound("tls-exporter"));
        assert_eq!(read.authzid.as_deref(), Some("juliet@capulet.lit"));
        assert_eq!(read.bare, "n=ju=2Cli=3Det,r=abc,x=y=z");
        assert_eq!(read.username, "ju,li=et");
        assert_eq!(read.nonce, "abc");
        assert_eq!(first("n,,n=u,r=x").unwrap().flag, BindingFlag::Unable);
        assert_eq!(first("y,,n=u,r=x").unwrap().flag, BindingFlag::NotOffered);
    }

    #[test]
    fn broken_first_messages_are_malformed() {
        for wrong in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=u",
            "n,,r=x,n=u",
            "n,,n=,r=x",
            "n,,n=u,r=",
            "n,n=u,r=x",
            "n,b=c,n=u,r=x",
            "n,a=,n=u,r=x",
            "n,a==2,n=u,r=x",
            "N,,n=u,r=x",
            "z,,n=u,r=x",
            "F,n,,n=u,r=x",
            "p,,n=u,r=x",
            "p=,,n=u,r=x",
            "p=tls exporter,,n=u,r=x",
            "n,,n=u=2c,r=x",
            "n,,n=u=,r=x",
            "n,,n=u=3,r=x",
            "n,,n=u=4D,r=x",
            "n,,n=u,r=a b",
            "n,,n=u,r=\u{e4}",
            "n,,n=u\0,r=x",
            "n,,n=u,r=x,",
            "n,,n=u,r=x,q",
            "n,,n=u,r=x,q=",
            "n,,n=u,r=x,1=2",
            "n,,n=u,r=x,qq=2",
            "n,,n=u,r=x,n=v",
            "n,,n=u,r=x,r=y",
            "n,,n=u,r=x,p=y",
        ] {
            assert_eq!(first(wrong).err(), Some(SaslError::MalformedRequest), "{wrong:?}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
        let long = format!("n,,n=u,r={}", "x".repeat(NONCE_BYTES_MAX + 1));
        assert_eq!(first(&long).err(), Some(SaslError::MalformedRequest));
        let long = format!("n,,n={},r=x", "u".repeat(TEXT_BYTES_MAX + 1));
        assert_eq!(first(&long).err(), Some(SaslError::MalformedRequest));
    }

    #[test]
    fn mandatory_extensions_fail_wherever_they_stand() {
        for text in ["n,,m=x,n=u,r=x", "n,,n=u,m=x,r=x", "n,,n=u,r=x,m=x"] {
            assert_eq!(first(text).err(), Some(SaslError::NotAuthorized), "{text}");
        }
        for text in ["m=x,c=biws,r=x,p=AA==", "c=biws,r=x,m=x,p=AA=="] {
            assert_eq!(
                ClientFinal::parse(text.as_bytes()).err().map(|refusal| refusal.error),
                Some(SaslError::NotAuthorized)
            );
        }
        assert!(ServerFirst::parse(b"m=x,r=x,s=AA==,i=4096").is_err());
    }

    #[test]
    fn last_message_is_taken_apart() {
        let read = ClientFinal::parse(b"c=biws,r=abc,x=y,p=AQI=").unwrap();
        assert_eq!(read.without_proof, "c=biws,r=abc,x=y");
        assert_eq!((read.binding, read.nonce), ("biws", "abc"));
        assert_eq!(read.proof.as_slice(), [1, 2]);
        for wrong in [
            "",
            "c=biws,r=abc",
            "c=biws,p=AQI=",
            "r=abc,c=biws,p=AQI=",
            "c=biws,r=abc,p=AQI=,x=y",
            "c=biws,r=abc,p=AQI",
            "c=biws,r=abc,c=biws,p=AQI=",
            "c=,r=abc,p=AQI=",
            "p=AQI=",
            ",p=AQI=",
        ] {
            assert!(ClientFinal::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn answers_of_the_server_are_taken_apart() {
        let text = ServerFirst::write("abc", &[1, 2], 10_000, "aGFzaA==");
        let read = ServerFirst::parse(text.as_bytes()).unwrap();
        assert_eq!((read.nonce, read.iterations), ("abc", 10_000));
        assert_eq!(read.salt, [1, 2]);
        assert_eq!(read.downgrade_hash, Some("aGFzaA=="));
        for wrong in [
            "r=abc,s=AQI=",
            "r=abc,s=AQI=,i=",
            "r=abc,s=AQI=,i=0",
            "r=abc,s=AQI=,i=+4096",
            "r=abc,s=AQI=,i=4096x",
            "r=abc,s=AQI=,i=99999999999",
            "r=abc,s=,i=4096",
            "s=AQI=,r=abc,i=4096",
        ] {
            assert!(ServerFirst::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        let text = write_server_final(&[1, 2]);
        let signature = parse_server_final(text.as_bytes()).unwrap().unwrap();
        assert_eq!(signature.as_slice(), [1, 2]);
        assert_eq!(parse_server_final(b"e=other-error").unwrap().err(), Some("other-error"));
        assert!(parse_server_final(b"x=y").is_err());
    }

    #[test]
    fn names_survive_their_escapes() {
        for name in ["juliet", "a=b,c", "=2C", ",,==", "=3D2C", "r\u{f6}meo"] {
            assert_eq!(unescape(&escape(name)).as_deref(), Ok(name));
            assert!(!escape(name).contains(','));
        }
    }
}
