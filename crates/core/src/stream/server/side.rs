//! The two sides of a stream between servers, and what the other one takes.

/// A side of a stream (RFC 6120 §4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Who opened it.
    Initiating,
    /// Who was called.
    Receiving,
}

/// What a peer takes (XEP-0478 §3.1). What is larger goes back to its sender instead (§4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Takes {
    /// Bytes of one stanza, as far as is known.
    pub bytes_max: Option<usize>,
    /// Seconds of silence after which it may end the stream, as far as is known.
    pub idle_secs: Option<u32>,
}
