//! The one binary: serve, account, check.

pub mod accounts;
pub mod check;
pub mod config;
pub mod control;

#[cfg(test)]
mod scratch;
