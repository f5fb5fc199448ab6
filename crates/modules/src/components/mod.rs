//! What external components may do beside speaking for themselves.

pub mod delegation;
pub mod privilege;
