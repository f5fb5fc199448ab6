//! Sockets and TLS under the streams.

pub mod admission;
pub mod reach;
pub mod socket;
pub mod tcp;
pub mod tls;
