//! Sockets and TLS under the streams.

pub mod admission;
pub mod tcp;
pub mod tls;
