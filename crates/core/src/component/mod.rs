//! XEP-0114: external components. [`stream`] negotiates, [`session`] carries stanzas, [`connected`]
//! shares them among the connections of a component, [`queue`] keeps what waits for one that is away.
//!
//! A stanza for a component counts as delivered when all its bytes were handed to the connection: the
//! protocol has no acknowledgements, so nobody can know more. Until then, and while no connection is
//! there, this holds:
//!
//! - Messages (but errors) and requests about subscriptions are never lost: on the way to a connection
//!   they are in memory, and their sender's acknowledgement waits; when the connection breaks before,
//!   or none is there, they are in a log on disk, in order, and the acknowledgement follows the commit.
//! - IQ requests and available presence hear `service-unavailable` when the last connection breaks or
//!   none is there: who asks can ask again. Other connections of the same component take them over.
//! - Answers, errors and unavailable presence are dropped then.
//! - As long as something waits in the log, all else queues up behind it, so that what one address
//!   sends arrives in order (RFC 6120 §10.1).
//! - A message that has waited for longer than the operator wants is sent back with
//!   `remote-server-timeout`; past the bounds of the queue it is sent back with `resource-constraint`.

pub mod connected;
pub mod deliver;
pub mod events;
pub mod known;
pub mod queue;
pub mod session;
pub mod settings;
pub mod shown;
pub mod stream;
