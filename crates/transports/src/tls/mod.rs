//! TLS under the streams: certificates by name, handshakes, and what binds a login to them.

pub mod accept;
pub mod binding;
pub mod certificate;
pub mod certificates;
pub mod door;
pub mod self_signed;
pub mod stream;
