//! One file per extension; this is the map of the rooms.

pub mod access;
pub mod archive;
pub mod components;
pub mod devices;
pub mod entity;
pub mod im;
pub mod install;
pub mod registration;

#[cfg(test)]
mod testing;
