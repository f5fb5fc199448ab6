//! The control socket: how the commands of the operator reach the running server.

pub mod client;
pub mod listener;
pub mod protocol;

#[cfg(test)]
mod tests;
