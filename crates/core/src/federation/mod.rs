//! RFC 6120 §10.4: stanzas between this server and others. A stanza that the router has for a domain
//! elsewhere is put into the queue of its [`route`] ([`send`]); a task of the route ([`drive`]) opens
//! a stream and runs it ([`session`]) while there is something to send. What must not be lost lies in
//! a log from the moment it is in the queue until the peer has it.

mod away;
mod counting;
pub mod drive;
mod finish;
pub mod gauge;
mod hearing;
mod life;
mod piggyback;
mod proving;
pub mod queue;
pub mod reach;
pub mod report;
pub mod route;
pub mod seen;
pub mod send;
mod serve;
pub mod session;
pub mod standing;
pub mod streams;
pub mod table;
pub mod terms;
pub mod unproven;
mod upkeep;
mod writing;

pub use self::serve::serve;
