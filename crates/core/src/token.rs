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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RFC 6120 §4.7.3: ids of streams are unique and cannot be guessed.
    #[test]
    fn of_a_million_none_comes_twice_and_no_bit_has_its_way() {
        const COUNT: u32 = 1_000_000;
        let mut known = HashSet::new();
        let mut ones = [0_u32; 128];
        for _ in 0..COUNT {
            let number = u128::from_str_radix(&random(), 16).expect("hexadecimal");
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += u32::from(number >> bit & 1 == 1);
            }
            assert!(known.insert(number), "{number:x} came twice");
        }
        // Eight standard deviations from the middle: by chance not once in the life of the project.
        assert!(ones.iter().all(|ones| ones.abs_diff(COUNT / 2) < 4_000), "{ones:?}");
    }
}
