//! The command `verona`.

use std::process::ExitCode;

// Many small buffers of many sizes that live long or die young, on several threads: measured against
// the system's allocator by the resident size of idle sessions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    verona_server::command::run::main()
}
