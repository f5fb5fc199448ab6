//! XEP-0357: Push Notifications. A phone that sleeps is woken by the service of its app, to which the
//! server publishes that there is something new.

mod attempt;
mod content;
mod module;
mod notification;
mod service;

pub use module::Push;
pub use service::{forget, forgotten, keys_of};
