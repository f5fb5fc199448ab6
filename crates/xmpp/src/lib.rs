//! The vocabulary of XMPP: addresses, stanzas, errors, SASL; no I/O.

pub mod sasl;
