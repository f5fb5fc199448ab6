//! The account's message log, and its tail that waits for the next resource (XEP-0160).

use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::account::state::State;
use crate::limits::Limits;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Record, Seq, Slice, Table};

/// The log of the messages an account sent and received, as far as they are kept.
pub const LOG: Table = Table::log("messages");

/// The record waits for the account's next login.
pub const OFFLINE: u32 = 1;
/// The record belongs to the archive.
pub const ARCHIVE: u32 = 2;
/// The account sent it; else it received it.
pub const OUTBOUND: u32 = 4;
/// The record is in the archive, and is somebody's words to the account: it is read or unread.
pub const RECEIVED: u32 = 8;
/// The record is in the archive, and is the account's own words: all before it was read.
pub const SENT: u32 = 16;

/// How many messages wait for an account, about how many bytes they have, and the first of them.
pub async fn waiting(owner: &Owner, store: &dyn Store) -> Result<(u64, u64, Seq), StoreError> {
    let mut slice = Slice { flags_any: OFFLINE, ..Slice::default() };
    let count = store.count(LOG, owner, &slice).await?;
    if count == 0 {
        return Ok((0, 0, 0));
    }
    slice.count_max = usize::try_from(count).unwrap_or(usize::MAX);
    let page = store.page(LOG, owner, &slice).await?;
    let bytes: usize = page.records.iter().map(|record| record.stanza.len()).sum();
    let first = page.records.first().map_or(0, |record| record.seq);
    Ok((count, u64::try_from(bytes).unwrap_or(u64::MAX), first))
}

/// Whether the account's quota has room for one more message.
pub fn has_room(state: &State, bytes: usize, limits: &Limits) -> bool {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    state.log.offline_count < limits.offline_messages_max
        && state.log.offline_bytes.saturating_add(bytes) <= limits.offline_bytes_max
}

/// A message from the log as it is delivered later: with the time of its arrival and whose word
/// that is (XEP-0203 §2, XEP-0160 §3).
pub struct Delayed {
    /// The message as it was kept.
    pub stanza: Stanza,
    delay: String,
}

impl Delayed {
    /// Reads a record.
    pub fn read(own: &Jid, record: &Record) -> Option<Self> {
        let stanza = Stanza::parse(std::str::from_utf8(&record.stanza).ok()?).ok()?;
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("delay", ns::DELAY);
        writer.attr("from", own.domain());
        writer.attr("stamp", &date::write(micros(record.seq))).end();
        Some(Self { stanza, delay: writer.finish() })
    }

    /// Writes it: a backlog is long, and no stanza is built for what is only written.
    pub fn write(&self, out: &mut Vec<u8>) {
        const END: &str = "</message>";
        if let Some(open) = self.stanza.text().strip_suffix(END) {
            out.extend_from_slice(open.as_bytes());
            out.extend_from_slice(self.delay.as_bytes());
            out.extend_from_slice(END.as_bytes());
        } else {
            out.extend_from_slice(self.stanza.with_child(&self.delay).text().as_bytes());
        }
    }
}

/// The time that a place in the log stands for, as dates are written.
fn micros(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_the_last_child_however_the_message_ends() {
        let own = Jid::parse("juliet@capulet.lit").unwrap();
        for (text, expected) in [
            (
                "<message id='1'><body>a</body></message>",
                "<message id='1'><body>a</body>{}</message>",
            ),
            ("<message id='1'/>", "<message id='1'>{}</message>"),
        ] {
            let (peer, stanza) = ("a@b".into(), text.into());
            let record = Record { seq: 1_000_000, epoch: 1, peer, flags: OFFLINE, stanza };
            let mut out = Vec::new();
            Delayed::read(&own, &record).unwrap().write(&mut out);
            let delay = "<delay xmlns='urn:xmpp:delay' from='capulet.lit' \
                stamp='1970-01-01T00:00:01Z'/>";
            assert_eq!(String::from_utf8(out).unwrap(), expected.replace("{}", delay));
        }
    }
}
