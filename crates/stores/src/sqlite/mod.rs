//! The default store: one SQLite file, one process, one writer.

mod apply;
mod clear;
mod connection;
mod files;
mod names;
mod queue;
mod read;
mod readers;
mod schema;
mod store;
mod sum;
mod trouble;
mod writer;

pub use store::Sqlite;
