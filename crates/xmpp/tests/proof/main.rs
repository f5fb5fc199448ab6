//! Addresses and handshakes against anything that a peer may send. The fuzz targets hold the same.

mod damage;
mod jid;
mod sasl;
