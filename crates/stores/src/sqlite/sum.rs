//! Checksums: a row that was damaged on the disk is recognised and never served.

use crc32c::{crc32c, crc32c_append};

/// Of an entry: where it belongs and what it holds.
pub fn of_entry(owner: i64, table: i64, key: &str, value: &[u8]) -> i64 {
    let mut sum = crc32c(&owner.to_le_bytes());
    sum = crc32c_append(sum, &table.to_le_bytes());
    sum = crc32c_append(sum, &(key.len() as u64).to_le_bytes());
    sum = crc32c_append(sum, key.as_bytes());
    crc32c_append(sum, value).into()
}

/// Of a record without its flags. The peer counts by name, so that damage to the table of names
/// shows too.
pub fn of_record(log: i64, seq: u64, epoch: u32, peer: &str, stanza: &[u8]) -> i64 {
    let mut head = [0; 28];
    head[..8].copy_from_slice(&log.to_le_bytes());
    head[8..16].copy_from_slice(&seq.to_le_bytes());
    head[16..20].copy_from_slice(&epoch.to_le_bytes());
    head[20..].copy_from_slice(&(peer.len() as u64).to_le_bytes());
    let sum = crc32c_append(crc32c(&head), peer.as_bytes());
    crc32c_append(sum, stanza).into()
}

/// Of a record's flags; it is joined to that of the record by exclusive or, so that flags can
/// change without reading the stanza.
pub fn of_flags(flags: u32) -> i64 {
    crc32c(&flags.to_le_bytes()).into()
}

/// Of a block, but for its stanzas: each record has its own checksum over that. `extent` is what the
/// row says of the block.
pub fn of_block(log: i64, extent: [u64; 5], heads: &[u8]) -> i64 {
    let sum = crc32c(&log.to_le_bytes());
    let sum = extent.iter().fold(sum, |sum, part| crc32c_append(sum, &part.to_le_bytes()));
    crc32c_append(sum, heads).into()
}

/// Of a log's state.
pub fn of_log(id: i64, (owner, table): (i64, i64), moved: i64, clear: &[u8]) -> i64 {
    let mut sum = 0;
    for part in [id, owner, table, moved] {
        sum = crc32c_append(sum, &part.to_le_bytes());
    }
    crc32c_append(sum, clear).into()
}

/// Of the operations of a group on young records.
pub fn of_ops(generation: i64, ops: &[u8]) -> i64 {
    crc32c_append(crc32c(&generation.to_le_bytes()), ops).into()
}
