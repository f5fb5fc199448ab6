//! For who has several devices, or one that sleeps in a pocket.

pub mod carbons;
pub mod client_state;
pub mod clients;
pub mod push;
