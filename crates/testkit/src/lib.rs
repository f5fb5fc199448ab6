//! Scripted conversations and other tools of the tests.

pub mod address;
pub mod compare;
pub mod node;
pub mod parse;
pub mod reader;
pub mod script;
pub mod template;
