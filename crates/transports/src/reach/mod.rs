//! The ways to other servers: where they are by DNS, which address answers, and whom a certificate
//! proves.

mod attempts;
mod dane;
mod dns;
mod judge;
mod names;
pub mod network;
mod pkix;
mod places;
pub mod settings;
pub mod survey;

#[cfg(test)]
mod tests;
