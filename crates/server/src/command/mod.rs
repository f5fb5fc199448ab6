//! The commands of `verona`: what is typed, and what is done about it.

pub mod account;
pub mod args;
pub mod check;
pub mod desk;
pub mod failure;
pub mod invite;
pub mod password;
pub mod qr;
pub mod run;
pub mod running;
