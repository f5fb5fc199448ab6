//! Backends that keep the shapes of the core.
