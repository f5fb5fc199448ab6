//! XEP-0494: Client Access Management. Who owns an account sees which clients have access to it, and
//! takes it from one.
//!
//! Clients that say who they are as they log in (XEP-0388 §2.3) are remembered; of others only the
//! sessions are known that they have now.

mod known;
mod module;
mod seen;

pub use module::Clients;
