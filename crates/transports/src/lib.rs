//! Sockets and TLS under the streams.
