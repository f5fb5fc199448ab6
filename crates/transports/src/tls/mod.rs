//! TLS under the streams: certificates by name, handshakes, and what binds a login to them.

pub mod accept;
mod any_peer;
pub mod binding;
pub mod call;
pub mod certificate;
pub mod certificates;
pub mod connect;
pub mod door;
pub mod handshake;
pub mod self_signed;
pub mod side;
pub mod stream;
