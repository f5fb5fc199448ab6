//! One file per extension.
