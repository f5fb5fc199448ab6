//! What entities tell of themselves: that they are there, what they are and what they can.

pub mod last_activity;
pub mod ping;
