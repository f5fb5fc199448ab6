//! Every bound of the core, in one place, with the reason for its size.

/// Bytes that may wait for the store's writer before submitters are paused: about a second of what
/// one disk takes, so that a slow disk shows as latency and not as memory.
pub const WRITER_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
