//! What external components may do beside speaking for themselves.

pub mod delegation;
pub mod grants;
pub mod privilege;
