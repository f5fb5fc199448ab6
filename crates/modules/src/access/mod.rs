//! Who may reach whom.

pub mod blocking;
