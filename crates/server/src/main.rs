//! The command `verona`.

use std::path::Path;

use verona_server::config::load::Config;
use verona_server::serve::Running;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut args = std::env::args().skip(3);
    let config = match args.next() {
        Some(file) => Config::load(Path::new(&file), &["mam"]).map_err(|e| e.to_string()).unwrap(),
        None => Config::builtin(),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let running = Running::start(&config).await.unwrap();
        for door in &running.doors {
            println!("{door}");
        }
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        term.recv().await;
        running.stop().await;
    });
}
