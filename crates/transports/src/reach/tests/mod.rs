//! A network in small: name servers that say what they are told to, authorities that sign what they
//! are told to, and servers at addresses of the loopback.

mod authority;
mod dialling;
mod judging;
mod nameserver;
