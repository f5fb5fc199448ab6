//! The commands of `verona`: what is typed, and what is done about it.

pub mod account;
pub mod args;
pub mod check;
pub mod failure;
pub mod password;
pub mod run;
pub mod running;
