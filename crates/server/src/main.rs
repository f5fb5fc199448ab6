//! The command `verona`.

fn main() {}
