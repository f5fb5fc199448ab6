//! Streams between servers in memory: two servers against each other, and each role against a peer
//! that is played by hand. TLS and the network are made up; certificates are names.

mod dialback;
mod incoming;
mod managed;
mod outgoing;
mod pairs;
mod rig;
mod trips;
