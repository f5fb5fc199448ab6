//! The one binary: serve, account, check.
