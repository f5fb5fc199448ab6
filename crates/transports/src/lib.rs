//! Sockets and TLS under the streams.

pub mod tls;
