//! Scripted conversations and other tools of the tests.
