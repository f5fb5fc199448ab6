//! The one binary: serve, account, check.

pub mod accounts;
pub mod check;
pub mod config;
pub mod control;
pub mod serve;

#[cfg(test)]
mod scratch;
