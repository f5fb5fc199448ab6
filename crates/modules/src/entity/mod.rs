//! What entities tell of themselves: that they are there, what they are and what they can.

pub mod caps;
pub mod commands;
pub mod contact;
pub mod disco;
mod info;
pub mod last_activity;
pub mod ping;
pub mod stream_limits;
pub mod time;
pub mod version;
