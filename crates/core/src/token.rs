//! Random text for ids and tokens.

/// 128 bits from the operating system, as text that is safe in XML, URLs and resourceparts.
pub fn random() -> String {
    let mut bytes = [0u8; 16];
    // Without the system's random source nothing here is safe, and it does not fail once it worked.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    text(&bytes)
}

/// Bytes as lower-case hexadecimal text.
pub fn text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
