//! XEP-0198: the counters of a managed stream, as a machine without I/O.
//!
//! `h` towards the client is the longest prefix of its stanzas that are durable or need no keeping:
//! a stanza is handled when responsibility for it is accepted (§4), and that is when it is on disk.

use std::collections::VecDeque;

use smallvec::SmallVec;
use verona_xmpp::error::{Application, StreamCondition, StreamError};
use verona_xmpp::ns;

use crate::account::shared::is_number;
use crate::limits::{ASK_AFTER_STANZAS, ASLEEP_BYTES_MAX, ASLEEP_STANZAS_MAX};
use crate::mailbox::StanzaEnd;
use crate::store::shape::Seq;

/// The state of a managed session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Managed {
    /// The id under which it is resumed (§5).
    pub id: Box<str>,
    /// Seconds for which it may be resumed; 0: not at all.
    pub resume_secs: u32,
    /// Stanzas of the client that were handled or are on their way to the disk, modulo 2^32.
    pub received: u32,
    /// The last `h` that the client was told.
    pub told: u32,
    /// Stanzas that the client has acknowledged, modulo 2^32.
    pub acked: u32,
    /// Stanzas sent after those.
    pub unacked: VecDeque<Unacked>,
    /// Whether an `<r/>` of ours waits for its answer.
    pub asked: bool,
    unacked_bytes: usize,
}

/// A stanza that was sent and not acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unacked {
    /// Its text.
    pub text: Box<[u8]>,
    /// See [`StanzaEnd`].
    pub seq: Seq,
}

impl Managed {
    /// A session that is managed from now on.
    pub fn new(id: Box<str>, resume_secs: u32) -> Self {
        Self { id, resume_secs, ..Self::default() }
    }

    /// Notes stanzas that are being written; `ends` tells where each ends.
    pub fn sent(&mut self, bytes: &[u8], ends: &[StanzaEnd]) {
        let mut start = 0;
        for end in ends {
            let at = end.at as usize;
            let stanza = bytes.get(start..at).unwrap_or_default();
            self.unacked_bytes = self.unacked_bytes.saturating_add(stanza.len());
            self.unacked.push_back(Unacked { text: stanza.into(), seq: end.seq });
            start = at;
        }
    }

    /// Whether it is time to ask for an acknowledgement.
    pub fn should_ask(&self) -> bool {
        !self.asked && self.unacked.len() >= ASK_AFTER_STANZAS
    }

    /// Whether more is unacknowledged than is kept for a peer that does not answer.
    pub fn is_over(&self) -> bool {
        self.unacked.len() > ASLEEP_STANZAS_MAX || self.unacked_bytes > ASLEEP_BYTES_MAX
    }

    /// The client acknowledges all up to `h`; gives the places of those that are in the account's
    /// log, and the numbers of those that others have too. §6: one that was never sent ends the stream.
    pub fn acknowledged(&mut self, h: u32) -> Result<SmallVec<[Seq; 4]>, StreamError> {
        let count = h.wrapping_sub(self.acked) as usize;
        if count > self.unacked.len() {
            let sent = self.acked.wrapping_add(self.count());
            return Err(too_high(h, sent));
        }
        let mut taken = SmallVec::new();
        for stanza in self.unacked.drain(..count) {
            self.unacked_bytes = self.unacked_bytes.saturating_sub(stanza.text.len());
            if stanza.seq != 0 {
                taken.push(stanza.seq);
            }
        }
        self.acked = h;
        self.asked = false;
        Ok(taken)
    }

    /// All that the client has not acknowledged, in order.
    pub fn unacked_text(&self) -> Vec<u8> {
        self.unacked.iter().flat_map(|stanza| stanza.text.iter().copied()).collect()
    }

    /// What nobody has got when the client does not come back, in order; `is_lost` says it of what others
    /// were given too.
    pub fn missed_text(&self, mut is_lost: impl FnMut(Seq) -> bool) -> Vec<u8> {
        let missed =
            self.unacked.iter().filter(|stanza| !is_number(stanza.seq) || is_lost(stanza.seq));
        missed.flat_map(|stanza| stanza.text.iter().copied()).collect()
    }

    /// Bytes of what the client has not acknowledged.
    pub fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    fn count(&self) -> u32 {
        u32::try_from(self.unacked.len()).unwrap_or(u32::MAX)
    }
}

fn too_high(h: u32, sent: u32) -> StreamError {
    let mut writer = verona_xml::Writer::new(ns::CLIENT);
    writer.start("handled-count-too-high", ns::SM);
    writer.attr("h", &h.to_string()).attr("send-count", &sent.to_string()).end();
    let mut detail = Application::new("handled-count-too-high", ns::SM);
    detail.element = Some(writer.finish().into());
    StreamError::new(StreamCondition::UndefinedCondition).element(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u32) -> Managed {
        let mut managed = Managed::new("1".into(), 60);
        for number in 0..count {
            let text = number.to_string();
            let end = StanzaEnd { at: text.len() as u32, seq: u64::from(number) };
            managed.sent(text.as_bytes(), &[end]);
        }
        managed
    }

    #[test]
    fn acknowledged_stanzas_are_forgotten_and_the_rest_is_kept_in_order() {
        let mut managed = sent(4);
        assert_eq!(managed.acknowledged(3).unwrap()[..], [1, 2], "0 is in no log");
        assert_eq!(managed.unacked_text(), b"3");
        managed.acknowledged(3).unwrap();
        managed.acknowledged(4).unwrap();
        assert!(managed.unacked.is_empty());
    }

    #[test]
    fn the_count_wraps_at_two_to_the_thirty_two() {
        let mut managed = sent(3);
        managed.acked = u32::MAX;
        managed.acknowledged(1).unwrap();
        assert_eq!(managed.unacked.len(), 1);
    }

    #[test]
    fn more_than_was_sent_cannot_be_acknowledged() {
        let mut managed = sent(2);
        let error = managed.acknowledged(3).unwrap_err();
        assert_eq!(error.condition, StreamCondition::UndefinedCondition);
        assert!(error.to_xml().contains("send-count='2'"), "{}", error.to_xml());
        assert!(managed.acknowledged(u32::MAX).is_err());
        assert_eq!(managed.unacked.len(), 2);
    }
}
