//! `verona serve`: from the config to a running server, and to its end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::time::{MissedTickBehavior, interval, timeout};
use verona_core::federation::reach::Pair;
use verona_transports::tls::certificates::Certificates;
use verona_xmpp::jid::Jid;

use crate::assembly::{Assembly, Parts};
use crate::check::certificates::WARNING_DAYS;
use crate::check::config::weaker;
use crate::command::failure::Failure;
use crate::config::load::Config;
use crate::control::listener::{Control, ControlSocket};
use crate::control::protocol::{Answer, Request, Status};
use crate::invitations::book::Book;
use crate::process::{self, Stage};
use crate::settings::{MODULES, sites};
use crate::{logging, panics, storage};

/// How long the end may take; who is not gone by then is cut off.
const STOPPING: Duration = Duration::from_secs(10);

/// How often files of certificates are looked at without being asked: other tools renew them, and
/// self-signed ones are renewed by us.
const CERTIFICATES: Duration = Duration::from_secs(6 * 60 * 60);

/// Runs the server until it is told to end.
pub fn run(config: Config) -> Result<(), Failure> {
    logging::start(&config.log).map_err(Failure::new)?;
    panics::watch();
    let descriptors = process::raise_descriptors();
    process::make_private_dir(&config.data_dir).map_err(|error| {
        let dir = config.data_dir.display();
        Failure::new(match error.kind() {
            ErrorKind::AlreadyExists => format!("data_dir {dir} is there, but is no directory"),
            _ => format!("data_dir {dir} cannot be made: {error}"),
        })
    })?;
    let version = env!("CARGO_PKG_VERSION");
    let file = config.file.as_ref().map(|file| file.display().to_string());
    tracing::info!(version, descriptors, config = file.as_deref().unwrap_or("built-in"), "begins");
    for (key, effect) in weaker(&config) {
        tracing::warn!(key, "{effect}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::new)?;
    let outcome = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::catch().map_err(Failure::new)?;
    let socket = ControlSocket::bind(&config.control_socket()).map_err(Failure::new)?;
    let shell = Arc::new(Shell::start(Arc::new(config)).await?);
    let control = tokio::spawn(Arc::new(socket).serve(shell.clone()));
    process::tell(Stage::Ready);
    shell.welcome().await;

    shell.attend(&mut signals).await;

    tracing::info!("ends");
    process::tell(Stage::Stopping);
    tokio::select! {
        ended = timeout(STOPPING, shell.assembly.stop()) => {
            if ended.is_err() {
                tracing::warn!("some streams took too long to end");
            }
        }
        () = signals.end.wanted() => tracing::warn!("told again to end, so at once"),
    }
    control.abort();
    // The task owns the socket; its file is removed with it.
    let _ = control.await;
    Ok(())
}

/// A running server with all that is around it.
struct Shell {
    config: ArcSwap<Config>,
    certificates: Arc<Certificates>,
    assembly: Assembly,
    ready: Instant,
    /// Told when the operator wants it to end.
    end: Notify,
    /// One reload at a time.
    reloading: Mutex<()>,
}

impl Shell {
    async fn start(config: Arc<Config>) -> Result<Self, Failure> {
        let certificates = Certificates::open(&config.certificates_dir(), sites(&config));
        let certificates = Arc::new(certificates.map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::new(format!("certificates cannot be used\n{}", errors.join("\n")))
        })?);
        warn_of_expiry(&certificates);
        let store = storage::open(&config).map_err(Failure::new)?;
        let parts = Parts {
            config: config.clone(),
            certificates: certificates.clone(),
            store: store.clone(),
        };
        let assembly = match Assembly::start(parts).await {
            Ok(assembly) => assembly,
            Err(message) => {
                store.close().await;
                return Err(Failure::new(message));
            }
        };
        Ok(Self {
            config: ArcSwap::new(config),
            certificates,
            assembly,
            ready: Instant::now(),
            end: Notify::new(),
            reloading: Mutex::new(()),
        })
    }

    /// Tells in plain words what is served, and how to begin when nobody has begun.
    async fn welcome(&self) {
        let config = self.config.load_full();
        let hosts: Vec<&str> = config.hosts.iter().map(|host| host.domain.as_str()).collect();
        let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let (hosts, dir) = (hosts.join(", "), dir.display());
        tracing::info!(pid = std::process::id(), "ready: serves {hosts}, with data in {dir}");
        if self.assembly.has_accounts().await == Ok(false)
            && let Some(host) = config.hosts.first()
        {
            let file = config.file.as_ref().map(|file| format!(" --config {}", file.display()));
            tracing::info!(
                "there is no account yet; to make one: verona account add NAME@{}{}",
                host.domain,
                file.unwrap_or_default()
            );
        }
    }

    /// Follows signals and the clock until the end is wanted.
    async fn attend(&self, signals: &mut Signals) {
        let mut renewal = interval(CERTIFICATES);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewal.tick().await;
        loop {
            tokio::select! {
                () = signals.end.wanted() => return,
                () = self.end.notified() => return,
                _ = signals.hangup.recv() => {
                    // What came of it stands in the log.
                    let _ = self.reload().await;
                }
                _ = renewal.tick() => {
                    self.reload_certificates();
                }
            }
        }
    }

    /// Reads config and certificates anew. When the config is wrong nothing changes.
    async fn reload(&self) -> Result<Vec<String>, String> {
        let _one = self.reloading.lock().await;
        process::tell(Stage::Reloading);
        let outcome = self.reload_all().await;
        process::tell(Stage::Ready);
        match &outcome {
            Ok(_) => tracing::info!("config and certificates are reloaded"),
            Err(message) => {
                tracing::error!("the reload failed, all stays as it was\n{message}");
            }
        }
        outcome
    }

    async fn reload_all(&self) -> Result<Vec<String>, String> {
        let old = self.config.load_full();
        let new = match &old.file {
            Some(file) => Config::load(file, MODULES).map_err(|problems| problems.to_string())?,
            None => Config::builtin(),
        };
        if new.data_dir != old.data_dir || new.storage != old.storage {
            return Err("data_dir and [storage] cannot change while the server runs; \
                        restart it for that"
                .to_owned());
        }
        let mut notes = self.assembly.reload(&old, &new).await?;
        self.config.store(Arc::new(new));
        notes.extend(self.reload_certificates());
        for note in &notes {
            tracing::info!("reload: {note}");
        }
        Ok(notes)
    }

    fn reload_certificates(&self) -> Vec<String> {
        let reloaded = self.certificates.reload(sites(&self.config.load()));
        warn_of_expiry(&self.certificates);
        for domain in &reloaded.changed {
            tracing::info!(%domain, "has a new certificate");
        }
        for error in &reloaded.refused {
            tracing::error!(%error, "a certificate was refused, the one before stays");
        }
        let changed =
            reloaded.changed.iter().map(|domain| format!("{domain} has a new certificate"));
        let refused = reloaded.refused.iter().map(|error| format!("refused: {error}"));
        changed.chain(refused).collect()
    }

    fn status(&self) -> Status {
        let config = self.config.load();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.ready.elapsed().as_secs(),
            panics: panics::count(),
            hosts: config.hosts.iter().map(|host| host.domain.to_string()).collect(),
            ..Status::default()
        };
        self.assembly.describe(&mut status);
        status
    }
}

impl Control for Shell {
    fn answer(&self, request: Request) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match request {
                Request::Status => Answer::Status { status: self.status() },
                Request::Reload => match self.reload().await {
                    Ok(notes) => Answer::Reloaded { notes },
                    Err(message) => Answer::Refused { message },
                },
                Request::Stop => {
                    self.end.notify_one();
                    Answer::Stopping
                }
                Request::Federate { domain, host } => {
                    match pair(&self.config.load(), host.as_deref(), &domain) {
                        Ok(pair) => {
                            Answer::Federated { trial: self.assembly.federate(&pair).await }
                        }
                        Err(message) => Answer::Refused { message },
                    }
                }
                Request::Account { request } => match self.assembly.account(request).await {
                    Ok(reply) => Answer::Account { reply },
                    Err(error) => Answer::Refused { message: error.to_string() },
                },
                Request::Invite { request } => {
                    let config = self.config.load_full();
                    match Book::of(&config, self.assembly.store()).perform(request).await {
                        Ok(reply) => Answer::Invite { reply },
                        Err(error) => Answer::Refused { message: error.to_string() },
                    }
                }
            }
        })
    }
}

/// The signals that mean something.
struct Signals {
    hangup: Signal,
    end: End,
}

/// Those that mean the end.
struct End {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let end = End {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        Ok(Self { hangup: signal(SignalKind::hangup())?, end })
    }
}

impl End {
    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The domains of a trial: one that is served here, by default the first, and one that is not.
fn pair(config: &Config, host: Option<&str>, domain: &str) -> Result<Pair, String> {
    let parse = |domain: &str| Jid::parse(domain).map_err(|error| format!("{domain}: {error}"));
    let first = config.domains().next().ok_or("there is no host")?;
    let (local, remote) = (parse(host.unwrap_or(first))?, parse(domain)?);
    let served = |jid: &Jid| config.domains().any(|domain| domain == jid.as_str());
    if !served(&local) {
        return Err(format!("{local} is not served here"));
    }
    if served(&remote) {
        return Err(format!("{remote} is served here"));
    }
    Ok(Pair { local, remote })
}

fn warn_of_expiry(certificates: &Certificates) {
    let soon = Duration::from_secs(u64::from(WARNING_DAYS) * 24 * 60 * 60);
    let horizon = SystemTime::now().checked_add(soon);
    for (domain, certificate) in certificates.all() {
        if horizon.is_some_and(|horizon| certificate.not_after < horizon) {
            let file = certificate.file.display();
            tracing::warn!(%domain, %file, "the certificate expires soon or has expired");
        }
    }
}
