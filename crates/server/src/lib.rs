//! The one binary: serve, account, check.

pub mod config;
