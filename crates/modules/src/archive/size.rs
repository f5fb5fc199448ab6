//! How many bytes an archive has, without reading it whole each time (XEP-0313 §3.2).
//!
//! What came since the last look is counted on, so keeping a message costs no more than before. The bytes
//! are those of spans of the log: what has gone in other ways, by its age or retracted, still counts until
//! its span is the oldest, and then no more.

use bytes::{BufMut, Bytes, BytesMut};
use verona_core::account::log::{ARCHIVE, LOG};
use verona_core::store::Store;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};

/// The spans of each archive.
pub const SIZES: Table = Table::value("archive_sizes");

/// Messages read at a time, so that others can read in between.
const STEP: usize = 250;

/// Messages of one archive that are counted at a time; the rest follows with the next chore.
const COUNT_MAX: usize = 100_000;

/// Spans of an archive that is full: what it counts too much is less than one of them.
const SPANS: u64 = 64;

/// The spans of one archive, the oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sizes(Vec<Span>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    /// Where it ends; it begins behind the one before.
    through: Seq,
    bytes: u64,
}

impl Sizes {
    /// What was counted so far; nothing where that cannot be read, and all is counted anew.
    pub async fn read(store: &dyn Store, owner: &Owner) -> Result<Self, StoreError> {
        let value = store.entry(SIZES, owner, "").await?.unwrap_or_default();
        let mut spans = Vec::new();
        let mut rest = &value[..];
        while let Some((through, behind)) = rest.split_first_chunk()
            && let Some((bytes, behind)) = behind.split_first_chunk()
        {
            spans.push(Span {
                through: Seq::from_be_bytes(*through),
                bytes: u64::from_be_bytes(*bytes),
            });
            rest = behind;
        }
        Ok(Self(spans))
    }

    /// As it is kept.
    pub fn encode(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(self.0.len().saturating_mul(16));
        for span in &self.0 {
            value.put_u64(span.through);
            value.put_u64(span.bytes);
        }
        value.freeze()
    }

    /// The bytes of all that was counted.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, span| sum.saturating_add(span.bytes))
    }

    /// Counts on, up to a bound; for an archive that may have so many bytes.
    pub async fn count_on(
        &mut self,
        store: &dyn Store,
        owner: &Owner,
        bytes_max: u64,
    ) -> Result<(), StoreError> {
        let oldest = Slice { flags_any: ARCHIVE, count_max: 1, ..Slice::default() };
        let page = store.page(LOG, owner, &oldest).await?;
        self.begin_at(page.records.first().map_or(Seq::MAX, |record| record.seq));
        let mut left = COUNT_MAX;
        while left > 0 {
            let after = self.0.last().map(|span| span.through);
            let slice = Slice { after, flags_any: ARCHIVE, count_max: STEP, ..Slice::default() };
            let page = store.page(LOG, owner, &slice).await?;
            page.records.iter().for_each(|record| self.add(record, bytes_max / SPANS));
            if page.complete || page.records.is_empty() {
                break;
            }
            left = left.saturating_sub(page.records.len());
        }
        Ok(())
    }

    /// Takes off the oldest messages, of which these are the first, until no more than `bytes_max` are
    /// left. Returns the last that has to go.
    pub fn take(&mut self, oldest: &[Record], bytes_max: u64) -> Option<Seq> {
        let mut through = None;
        for record in oldest {
            self.begin_at(record.seq);
            if self.total() <= bytes_max {
                break;
            }
            if let Some(first) = self.0.first_mut() {
                first.bytes = first.bytes.saturating_sub(length(record));
            }
            through = Some(record.seq);
        }
        through
    }

    /// There is nothing before this place: what a span before it still counts has gone otherwise.
    fn begin_at(&mut self, first: Seq) {
        let gone = self.0.partition_point(|span| span.through < first);
        self.0.drain(..gone);
    }

    fn add(&mut self, record: &Record, span_bytes: u64) {
        match self.0.last_mut() {
            Some(last) if last.bytes < span_bytes => {
                last.through = record.seq;
                last.bytes = last.bytes.saturating_add(length(record));
            }
            _ => self.0.push(Span { through: record.seq, bytes: length(record) }),
        }
    }
}

fn length(record: &Record) -> u64 {
    u64::try_from(record.stanza.len()).unwrap_or(u64::MAX)
}
