//! PLAIN (RFC 4616): the password itself, in one message.

use std::str;

use zeroize::Zeroizing;

use super::error::Refusal;
use super::prep::TEXT_BYTES_MAX;

/// The one message of PLAIN.
pub(super) struct Message<'a> {
    pub authzid: Option<&'a str>,
    pub username: &'a str,
    pub password: &'a str,
}

impl<'a> Message<'a> {
    /// Reads the message (RFC 4616 §2): three texts between two NULs, only the first may be empty.
    pub fn parse(data: &'a [u8]) -> Result<Self, Refusal> {
        const BROKEN: Refusal = Refusal::malformed("broken PLAIN message");
        let text = str::from_utf8(data).map_err(|_| BROKEN)?;
        let (authzid, rest) = text.split_once('\0').ok_or(BROKEN)?;
        let (username, password) = rest.split_once('\0').ok_or(BROKEN)?;
        let too_long = |text: &str| text.len() > TEXT_BYTES_MAX;
        if username.is_empty()
            || password.is_empty()
            || password.contains('\0')
            || [authzid, username, password].into_iter().any(too_long)
        {
            return Err(BROKEN);
        }
        Ok(Self {
            authzid: Some(authzid).filter(|authzid| !authzid.is_empty()),
            username,
            password,
        })
    }

    /// Writes the message.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let parts = [self.authzid.unwrap_or_default(), "\0", self.username, "\0", self.password];
        let mut data = Zeroizing::new(Vec::with_capacity(parts.iter().map(|one| one.len()).sum()));
        for part in parts {
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_read_as_it_was_written() {
        for authzid in [None, Some("juliet@capulet.lit")] {
            let data = Message { authzid, username: "juliet", password: "r0m30myr0m30" }.write();
            let read = Message::parse(&data).unwrap();
            assert_eq!(read.authzid, authzid);
            assert_eq!((read.username, read.password), ("juliet", "r0m30myr0m30"));
        }
    }

    #[test]
    fn anything_but_three_texts_is_malformed() {
        let long = [b"\0juliet\0", [b'x'; TEXT_BYTES_MAX + 1].as_slice()].concat();
        let wrong: [&[u8]; 9] = [
            b"",
            b"juliet",
            b"\0juliet",
            b"\0juliet\0",
            b"\0\0r0m30",
            b"\0\0",
            b"\0juliet\0r0m30\0",
            b"\0jul\xffiet\0r0m30",
            &long,
        ];
        for data in wrong {
            assert!(Message::parse(data).is_err(), "{data:?}");
        }
    }
}
