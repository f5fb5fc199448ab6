//! What stands around logins: patience with failures, and a bounded pool for hashing.

pub mod guard;
pub mod hashing;
