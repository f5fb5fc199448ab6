//! XEP-0114 §3: how a component and its server prove to each other that they know the same secret.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use subtle::ConstantTimeEq;

/// What the handshake on a stream says: SHA-1 of the stream's id and the secret, in lower case.
pub fn handshake(stream_id: &str, secret: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(stream_id.as_bytes());
    context.update(secret.as_bytes());
    let digest = context.finish();
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    digest.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Whether a handshake proves the secret, in a time that does not depend on how much of it is right.
/// Whitespace around it does not count, nor does the case of its digits: §3 asks for lower case, but
/// either says the same number.
pub fn proves(handshake_text: &str, stream_id: &str, secret: &str) -> bool {
    let said = handshake_text.trim().to_ascii_lowercase();
    said.as_bytes().ct_eq(handshake(stream_id, secret).as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_is_the_digest_of_id_and_secret() {
        // Computed with sha1sum of `3BF96D32test`.
        assert_eq!(handshake("3BF96D32", "test"), HANDSHAKE);
        assert!(proves(HANDSHAKE, "3BF96D32", "test"));
        assert!(proves(&format!(" {}\n", HANDSHAKE.to_uppercase()), "3BF96D32", "test"));
    }

    #[test]
    fn nothing_else_proves_the_secret() {
        for wrong in ["", "0", &HANDSHAKE[1..], &format!("{HANDSHAKE}0"), &"0".repeat(40)] {
            assert!(!proves(wrong, "3BF96D32", "test"), "{wrong}");
        }
        assert!(!proves(HANDSHAKE, "3BF96D33", "test"));
        assert!(!proves(HANDSHAKE, "3BF96D32", "Test"));
    }

    const HANDSHAKE: &str = "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e";
}
