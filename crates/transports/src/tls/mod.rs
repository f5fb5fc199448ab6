//! TLS under the streams: certificates by name, handshakes, and what binds a login to them.

pub mod certificate;
pub mod certificates;
pub mod door;
pub mod self_signed;
