//! Attacks on the built binary with its default config, through each door that it has.
//!
//! Most cases run at the same time against one server, each from an address of its own; those of
//! `figures` run one after the other, each against a server of its own. Whatever a case
//! has done, a login within TLS and a ping must be answered behind it, and the log of the server must
//! hold no panic.
//!
//! Arguments select cases by a part of their name; `--list` names all. From the environment:
//! `VERONA_BIN` is the binary, else the one built beside this test; where there is none, nothing is
//! attacked. `VERONA_ATTACKS=long` makes floods as long as they are meant to be.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use verona_testkit::fortress::Fortress;

macro_rules! cases {
    ($list:ident: $($name:ident),* $(,)?) => {
        /// Cases of this file.
        pub fn $list() -> Vec<crate::Case> {
            vec![$(crate::Case::new(concat!(module_path!(), "::", stringify!($name)), $name)),*]
        }
    };
    ($($name:ident),* $(,)?) => { cases![cases: $($name),*]; };
}

mod bind;
mod component;
mod control;
mod figures;
mod header;
mod helpers;
mod limits;
mod managed;
mod noise;
mod sasl;
mod sasl2;
mod servers;
mod stanza;
mod tls;
mod xml;

/// Cases at the same time: most of them wait.
const AT_ONCE: usize = 12;
const CASE_WITHIN: Duration = Duration::from_secs(120);
const LONG_CASE_WITHIN: Duration = Duration::from_secs(1_200);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One promise.
pub struct Case {
    name: &'static str,
    run: Box<dyn Fn(Arc<Fortress>) -> Running + Send>,
}

impl Case {
    fn new<F>(name: &'static str, run: fn(Arc<Fortress>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        Self { name, run: Box::new(move |fortress| Box::pin(run(fortress))) }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let chosen = |case: &Case| {
        filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter.as_str()))
    };
    let together = [
        bind::cases(),
        component::cases(),
        control::cases(),
        header::cases(),
        limits::cases(),
        managed::cases(),
        noise::cases(),
        sasl::cases(),
        sasl2::cases(),
        servers::cases(),
        stanza::cases(),
        tls::cases(),
        xml::cases(),
    ];
    let lists = [limits::patient(), together.into_iter().flatten().collect(), figures::cases()];
    let lists = lists.map(|list| list.into_iter().filter(chosen).collect::<VecDeque<Case>>());
    if arguments.iter().any(|argument| argument == "--list") {
        lists.iter().flatten().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    // Each attacker costs a descriptor here and one in the server, which inherits the limit.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let total: usize = lists.iter().map(VecDeque::len).sum();
    println!("\nrunning {total} attacks");
    let began = Instant::now();
    let failed = runtime.block_on(all(lists));
    runtime.shutdown_timeout(Duration::from_secs(1));
    for (name, why) in &failed {
        println!("\n---- {name} ----\n{why}");
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let (passed, failed) = (total.saturating_sub(failed.len()), failed.len());
    let time = began.elapsed().as_secs();
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; finished in {time} s\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Failed = Vec<(&'static str, String)>;

/// While those wait that have to wait long, the others run and then the figures are taken.
async fn all([patient, together, alone]: [VecDeque<Case>; 3]) -> Failed {
    let mut failed = Vec::new();
    if !(patient.is_empty() && together.is_empty()) {
        let fortress = match Fortress::start() {
            None => {
                println!("no verona binary: nothing is attacked (name one with VERONA_BIN)");
                return Vec::new();
            }
            Some(Err(why)) => return vec![("start", why)],
            Some(Ok(fortress)) => Arc::new(fortress),
        };
        let waiting = tokio::spawn(at_once(patient, fortress.clone()));
        failed.extend(at_once(together, fortress.clone()).await);
        failed.extend(one_by_one(alone).await);
        failed.extend(waiting.await.unwrap_or_else(|error| vec![("waiting", error.to_string())]));
        failed.extend(panics(&fortress).map(|panics| ("the log of the server", panics)));
        return failed;
    }
    one_by_one(alone).await
}

/// Many cases at a time against one server.
async fn at_once(cases: VecDeque<Case>, fortress: Arc<Fortress>) -> Failed {
    let cases = Arc::new(Mutex::new(cases));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (cases, fortress) = (cases.clone(), fortress.clone());
        workers.spawn(async move {
            let mut failed = Vec::new();
            while let Some(case) = take(&cases) {
                failed.extend(perform(case, &fortress).await);
            }
            failed
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

fn take(cases: &Mutex<VecDeque<Case>>) -> Option<Case> {
    cases.lock().ok()?.pop_front()
}

/// A server for each.
async fn one_by_one(cases: VecDeque<Case>) -> Failed {
    let mut failed = Vec::new();
    for case in cases {
        let name = case.name;
        match Fortress::start() {
            None => println!("no verona binary: {name} is not attacked"),
            Some(Err(why)) => failed.push((name, why)),
            Some(Ok(fortress)) => {
                let fortress = Arc::new(fortress);
                failed.extend(perform(case, &fortress).await);
                failed.extend(panics(&fortress).map(|panics| (name, panics)));
            }
        }
    }
    failed
}

async fn perform(case: Case, fortress: &Arc<Fortress>) -> Option<(&'static str, String)> {
    let began = Instant::now();
    let running = tokio::spawn(AssertUnwindSafe((case.run)(fortress.clone())));
    let limit = if helpers::is_long() { LONG_CASE_WITHIN } else { CASE_WITHIN };
    let outcome = match tokio::time::timeout(limit, running).await {
        Ok(Ok(())) => fortress.lives().await.map(|_| ()),
        Ok(Err(error)) => Err(match error.try_into_panic() {
            Ok(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default(),
            Err(error) => error.to_string(),
        }),
        Err(_) => Err(format!("it did not end within {limit:?}")),
    };
    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("test {} ... {word} ({:.1} s)", case.name, began.elapsed().as_secs_f32());
    outcome.err().map(|why| (case.name, why))
}

/// No input may make the server panic, not even where it would be caught, and none may write a line
/// of its own into the log.
fn panics(fortress: &Fortress) -> Option<String> {
    let log = fortress.log();
    let forged = |line: &str| !line.starts_with("20") || line.contains(char::is_control);
    let wrong = |line: &&str| line.contains("panicked") || forged(line);
    let lines: Vec<&str> = log.lines().filter(wrong).take(10).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
