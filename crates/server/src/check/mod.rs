//! `verona check`: looks at everything the server needs, and says what mends what is wrong.

pub mod certificates;
pub mod config;
pub mod domains;
pub mod federation;
pub mod finding;
pub mod machine;

#[cfg(test)]
mod nameserver;
#[cfg(test)]
mod tests;
