//! RFC 6120 §10.4: stanzas between this server and others.

pub mod reach;
