//! The base64 that SASL travels in within XML: strict (RFC 6120 §6.3.5), and "=" for "empty".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::SaslError;

/// Reads the text of `<response/>`, or of any element of XEP-0388 §2.2: no text is empty data.
///
/// RFC 4648 §4 as RFC 6120 §6.3.5 asks for it: full padding, unused bits zero, no whitespace.
/// What comes back may hold a password, therefore it wipes itself.
pub fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| SaslError::IncorrectEncoding)
}

/// Reads the text of `<auth/>` or `<success/>`, where no text means no data, and "=" empty data.
///
/// RFC 6120 §6.4.2 and §6.4.6. XEP-0388 has an own element instead, so that [`decode`] fits there.
pub fn decode_initial(text: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SaslError> {
    match text {
        "" => Ok(None),
        "=" => Ok(Some(Zeroizing::default())),
        text => decode(text).map(Some),
    }
}

/// Writes the text of `<challenge/>` or `<response/>`.
pub fn encode(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Writes the text of `<auth/>` or `<success/>`: nothing for no data, "=" for empty data.
pub fn encode_initial(data: Option<&[u8]>) -> String {
    match data {
        None => String::new(),
        Some([]) => "=".to_owned(),
        Some(data) => encode(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_strictly() {
        assert_eq!(decode("AGp1bGlldA==").unwrap().as_slice(), b"\0juliet");
        for wrong in [
            "AGp1bGlldA",
            "AGp1bGlldA=",
            "AGp1bGlldB==",
            "AGp1bGlldA==\n",
            " AGp1bGlldA==",
            "AGp1\nbGlldA==",
            "AGp1bGlldA==AAAA",
            "AGp1bGll_A==",
            "=",
            "====",
            "A",
            "ÄÖÜ=",
        ] {
            assert_eq!(decode(wrong).err(), Some(SaslError::IncorrectEncoding), "{wrong:?}");
        }
    }

    #[test]
    fn equals_sign_is_an_empty_initial_response_and_nothing_is_none() {
        assert!(decode_initial("").unwrap().is_none());
        assert_eq!(decode_initial("=").unwrap().unwrap().as_slice(), b"");
        assert_eq!(decode_initial("AA==").unwrap().unwrap().as_slice(), b"\0");
        assert_eq!(decode_initial("==").err(), Some(SaslError::IncorrectEncoding));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for data in [None, Some(&b""[..]), Some(b"n,,n=user,r=x")] {
            let text = encode_initial(data);
            let read = decode_initial(&text).unwrap();
            assert_eq!(read.as_ref().map(|read| read.as_slice()), data);
        }
        assert_eq!(decode(&encode(b"")).unwrap().as_slice(), b"");
    }
}
