//! The sizes that trade memory and waiting against work.

use std::time::Duration;

/// How much is gathered before it is moved on. The defaults are measured; tests take small ones.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Bytes of a generation of young records: two are held in memory at most, and read again at
    /// the start.
    pub generation_bytes: usize,
    /// Young records that are moved with one commit at least; a large group moves twice its own
    /// number, so that a frozen generation is gone long before the next one is full.
    pub step_records: usize,
    /// Pages of the write-ahead log that are copied into the database file at a time. The log has
    /// four times as many under load, and eight times as many at most.
    pub checkpoint_pages: i32,
    /// The least time between two commits while there is much to commit: what comes meanwhile goes
    /// with the second, and shares its cost.
    pub gather: Duration,
    /// Whether what is deleted is overwritten at once, wherever it lay. Otherwise so is only what lay
    /// in a page that stays in use; a page that is given up keeps its content until it is used again.
    pub overwrite: bool,
    /// How long what is deleted may lie on the disk among the young records; they are moved to
    /// blocks with the first writes after that.
    pub deleted_for: Duration,
    /// Bytes that the database file may grow to before the store is full; 0 for all there are.
    pub file_bytes_max: u64,
}

impl Tuning {
    /// The sizes that were measured to be good.
    pub const USUAL: Self = Self {
        generation_bytes: 8 * 1024 * 1024,
        step_records: 512,
        checkpoint_pages: 2000,
        gather: Duration::from_millis(1),
        overwrite: true,
        deleted_for: Duration::from_secs(60 * 60),
        file_bytes_max: 0,
    };
}

impl Default for Tuning {
    fn default() -> Self {
        Self::USUAL
    }
}
