//! Plays the conversations of `tests/conversations` in memory, each file as a test of its name.
//!
//! Over sockets, on each transport and store, the test kit plays the same files.
//! Arguments select files by a part of their name; `--list` names all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use verona_modules::install;
use verona_testkit::memory::Memory;
use verona_testkit::play::perform;
use verona_testkit::script::Script;
use verona_testkit::wire::PATIENCE;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(*f));
    let files: Vec<(String, PathBuf)> = files().into_iter().filter(|(n, _)| wanted(n)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        files.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} conversations", files.len());
    let mut failed = Vec::new();
    for (name, path) in &files {
        let result = play(path);
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed.extend(result.err().map(|why| (name, why)));
    }
    for (name, why) in &failed {
        println!("\n---- {name} ----\n{why}");
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let (passed, failed) = (files.len() - failed.len(), failed.len());
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed\n");
    // No file at all means that the place has moved, unless a filter left none.
    let none = files.is_empty() && filters.is_empty();
    if failed > 0 || none { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The scripts, by name.
fn files() -> Vec<(String, PathBuf)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conversations");
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|end| end == "txt"));
    let named = |path: PathBuf| Some((path.file_stem()?.to_string_lossy().into_owned(), path));
    let mut files: Vec<_> = scripts.filter_map(named).collect();
    files.sort();
    files
}

fn play(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let script = Script::parse(&text).map_err(|error| error.to_string())?;
    let place = Memory::configured(script.setup.clone(), install::configured)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let played = runtime.block_on(perform(&script, &place, PATIENCE));
    played.map_err(|failure| failure.to_string())
}
