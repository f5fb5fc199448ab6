//! The one binary: serve, account, invite, check.

pub mod accounts;
pub mod assembly;
pub mod calls;
pub mod check;
pub mod command;
pub mod config;
pub mod control;
pub mod invitations;
pub mod logging;
mod memory;
mod panics;
pub mod process;
pub mod serve;
pub mod settings;
pub mod storage;

#[cfg(test)]
mod scratch;
