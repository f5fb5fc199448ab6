//! Plays the conversations of `tests/conversations` over real sockets, on each transport and store.
//!
//! One result line a file, transport and store. From the environment:
//!
//! - `VERONA_BIN`: the binary; else the one built beside this test. Where there is none and none is
//!   named, only the scripts themselves are read.
//! - `VERONA_TRANSPORTS`: some of `plain,starttls,tls`; `VERONA_STORES`: URLs of stores, separated by
//!   commas. Without them it is all.
//! - `VERONA_PLAY_AT`: the address of a server that runs already and lets anybody register.
//!
//! Arguments select files by a part of their name, with `--exact` by the whole; `--list` names all.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use verona_testkit::client::name_of;
use verona_testkit::listening::Listening;
use verona_testkit::place::Security;
use verona_testkit::play::perform;
use verona_testkit::running::{RunningServer, Wanted};
use verona_testkit::script::Script;
use verona_testkit::wire::PATIENCE;

const STORES: &str = "memory:,sqlite:verona.db";
const TRANSPORTS: [Security; 3] = [Security::None, Security::StartTls, Security::Tls];
const WORKERS_MAX: usize = 4;

/// One file to be played in one way.
struct Job {
    name: String,
    script: Script,
    server: Server,
}

impl Job {
    fn fits(&self, filter: &str, exact: bool) -> bool {
        let file = self.name.split(' ').next().unwrap_or_default();
        if exact { filter == file || filter == self.name } else { self.name.contains(filter) }
    }
}

enum Server {
    Started(Wanted),
    Listening(Listening),
    /// There is none: the script was read, and that is all.
    None,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    let mut jobs = VecDeque::new();
    for path in files() {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let text = fs::read_to_string(&path).unwrap_or_default();
        match Script::parse(&text) {
            Ok(script) => jobs.extend(jobs_of(&name, &script)),
            Err(error) => failed.push((name, format!("{}: {error}", path.display()))),
        }
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    jobs.retain(|job| filters.is_empty() || filters.iter().any(|filter| job.fits(filter, exact)));
    if arguments.iter().any(|argument| argument == "--list") {
        jobs.iter().for_each(|job| println!("{}: test", job.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} conversations", jobs.len());
    if jobs.iter().any(|job| matches!(job.server, Server::None)) {
        println!("no verona binary: the scripts are only read (name one with VERONA_BIN)");
    }
    let total = jobs.len() + failed.len();
    failed.extend(run(jobs));
    for (name, why) in &failed {
        println!("\n---- {name} ----\n{why}");
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed\n",
        total - failed.len(),
        failed.len()
    );
    if failed.is_empty() && total > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scripts, by name.
fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conversations");
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// The ways in which a script is to be played.
fn jobs_of(name: &str, script: &Script) -> Vec<Job> {
    let transports = std::env::var("VERONA_TRANSPORTS").unwrap_or_default();
    let stores = std::env::var("VERONA_STORES").unwrap_or_else(|_| STORES.to_owned());
    let address: Option<SocketAddr> =
        std::env::var("VERONA_PLAY_AT").ok().and_then(|text| text.parse().ok());
    let job =
        |how: String, server| Job { name: format!("{name}{how}"), script: script.clone(), server };
    let mut jobs = Vec::new();
    for transport in TRANSPORTS {
        let way = name_of(transport);
        if !transports.is_empty() && !transports.split(',').any(|wanted| wanted == way) {
            continue;
        }
        if let Some(address) = address {
            let listening = Listening { address, security: transport };
            jobs.push(job(format!(" [{way}]"), Server::Listening(listening)));
            continue;
        }
        let Some(binary) = RunningServer::binary() else {
            return vec![job(" [read only]".to_owned(), Server::None)];
        };
        for storage in stores.split(',') {
            let kind = storage.split(':').next().unwrap_or(storage);
            let wanted = Wanted {
                binary: binary.clone(),
                storage: storage.to_owned(),
                transport,
                setup: script.setup.clone(),
            };
            jobs.push(job(format!(" [{way}, {kind}]"), Server::Started(wanted)));
        }
    }
    jobs
}

/// Plays all, several at a time, and gives back those that failed.
fn run(jobs: VecDeque<Job>) -> Vec<(String, String)> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let jobs = Mutex::new(jobs);
    let failed = Mutex::new(Vec::new());
    let take = || jobs.lock().ok().and_then(|mut jobs| jobs.pop_front());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = take() {
                    let result = one(&job);
                    println!(
                        "test {} ... {}",
                        job.name,
                        if result.is_ok() { "ok" } else { "FAILED" }
                    );
                    if let (Err(why), Ok(mut failed)) = (result, failed.lock()) {
                        failed.push((job.name, why));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_default()
}

fn one(job: &Job) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let played = match &job.server {
            Server::None => Ok(()),
            Server::Listening(place) => perform(&job.script, place, PATIENCE).await,
            Server::Started(wanted) => {
                let server = RunningServer::start(wanted.clone()).await?;
                perform(&job.script, &server, PATIENCE).await
            }
        };
        played.map_err(|failure| failure.to_string())
    })
}
