//! The default store: one SQLite file, one process, one writer.

mod apply;
mod block;
mod checkpoint;
mod clear;
mod commit;
mod connection;
mod files;
mod logs;
mod names;
mod numbers;
mod older;
mod op;
mod queue;
mod read;
mod readers;
mod recover;
mod schema;
mod search;
mod store;
mod sum;
mod trouble;
mod tuning;
mod verify;
mod view;
mod writer;
mod young;

pub use store::Sqlite;
pub use tuning::Tuning;
