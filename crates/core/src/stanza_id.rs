//! XEP-0359 §3: the ids under which messages are kept. A place in a log, encrypted with the
//! installation's key: unique, not to be guessed, and found again without an index.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use crate::store::shape::Seq;
use crate::token;

/// Turns places into ids and back.
#[derive(Clone)]
pub struct StanzaIds {
    cipher: Aes128,
}

impl StanzaIds {
    /// Ids of an installation.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&secret[..16]);
        Self { cipher: Aes128::new(&key.into()) }
    }

    /// The id of a place; the epoch makes it another one after a restart, so that an id that was
    /// handed out but lost in a crash is never given to another message.
    pub fn of(&self, epoch: u32, seq: Seq) -> String {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&seq.to_be_bytes());
        block[8..12].copy_from_slice(&epoch.to_be_bytes());
        let mut block = block.into();
        self.cipher.encrypt_block(&mut block);
        token::text(&block)
    }

    /// The epoch and place of an id; None for text that is no id of ours.
    pub fn place(&self, id: &str) -> Option<(u32, Seq)> {
        if id.len() != 32 {
            return None;
        }
        let mut block = [0; 16];
        for (byte, digits) in block.iter_mut().zip(id.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let mut block = block.into();
        self.cipher.decrypt_block(&mut block);
        let (seq, rest) = block.split_first_chunk::<8>()?;
        let (epoch, zeros) = rest.split_first_chunk::<4>()?;
        (zeros == [0; 4]).then_some((u32::from_be_bytes(*epoch), u64::from_be_bytes(*seq)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_place_and_no_other_text_does() {
        let ids = StanzaIds::new(&[7; 32]);
        let id = ids.of(3, 1_700_000_000_000_000);
        assert_eq!(ids.place(&id), Some((3, 1_700_000_000_000_000)));
        assert_ne!(ids.of(4, 1_700_000_000_000_000), id);
        for text in
            ["", "x", "00000000000000000000000000000000", "é0000000000000000000000000000000"]
        {
            assert_eq!(ids.place(text), None, "{text}");
        }
    }
}
