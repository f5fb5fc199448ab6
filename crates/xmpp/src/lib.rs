//! The vocabulary of XMPP: addresses, stanzas, errors, SASL; no I/O.

pub mod component;
pub mod date;
pub mod dialback;
pub mod error;
pub mod form;
pub mod jid;
pub mod ns;
pub mod rsm;
pub mod sasl;
pub mod stanza;
pub mod stream;

#[cfg(test)]
mod testing;
