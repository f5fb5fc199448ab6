//! Two servers in memory with a road between them: what a script says of characters at two domains
//! goes through server streams. The road can be closed, and what is on it be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use verona_core::federation::reach::{Dialled, Distrust, Pair, Proof, Reach, Target, Unreachable};
use verona_core::hooks::HostSettings;
use verona_core::server::{Host, Server};
use verona_core::stream::server::state::Rules;
use verona_core::stream::wire::Wire;

use crate::address::Address;
use crate::memory::{Memory, Tables};
use crate::place::{Link, Place};
use crate::script::Setup;

/// What a road holds before its writer has to wait.
const ROAD_BYTES: usize = 64 * 1024;

/// The domain of the first server.
const FIRST: [&str; 1] = ["capulet.lit"];

/// The domains of the second.
const SECOND: [&str; 2] = ["montague.lit", "localhost"];

/// Two servers, and what is between them.
pub struct World {
    /// Serves `capulet.lit`.
    pub capulet: Memory,
    /// Serves `montague.lit` and `localhost`.
    pub montague: Memory,
    /// The way between them.
    pub roads: Arc<Roads>,
}

impl World {
    /// Two servers as a script wants them; `make` makes a host of its settings and the sections of
    /// the modules.
    pub fn configured(
        setup: &Setup,
        make: impl Fn(HostSettings, &Tables) -> Result<Host, String> + Copy,
    ) -> Result<Self, String> {
        let roads = Arc::new(Roads::default());
        let (mut first, mut second) = (setup.clone(), setup.clone());
        first.components.retain(|(domain, _)| is_first(domain));
        second.components.retain(|(domain, _)| !is_first(domain));
        let capulet = Memory::serving(&FIRST, first, make)?;
        let montague = Memory::serving(&SECOND, second, make)?;
        roads.lead_to(&FIRST, &capulet.server);
        roads.lead_to(&SECOND, &montague.server);
        Ok(Self { capulet, montague, roads })
    }

    fn of(&self, domain: &str) -> &Memory {
        if is_first(domain) { &self.capulet } else { &self.montague }
    }
}

/// Whether a domain is the first server's, or lies below one of those.
fn is_first(domain: &str) -> bool {
    let is_within = |own: &str| {
        domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    FIRST.into_iter().any(is_within)
}

/// A server's settings for a road without TLS: what is tested here is not who is at its end.
pub fn open_rules() -> Rules {
    Rules { require_tls: false, ..Rules::default() }
}

impl Place for World {
    fn suits(&self, setup: &Setup) -> Result<(), String> {
        self.capulet.suits(setup)
    }

    async fn account(&self, address: &Address, password: &str) -> Result<(), String> {
        self.of(&address.domain).account(address, password).await
    }

    async fn connect(&self, address: &Address) -> io::Result<Link> {
        self.of(&address.domain).connect(address).await
    }

    fn elsewhere(&self, address: &Address) -> &'static [&'static str] {
        if FIRST.contains(&&*address.domain) { &SECOND } else { &FIRST }
    }
}

/// The ways to all servers, as each of them knows them.
#[derive(Default)]
pub struct Roads {
    servers: Mutex<BTreeMap<String, Weak<Server>>>,
    cuts: Mutex<Vec<Weak<Cut>>>,
    closed: Mutex<BTreeSet<String>>,
    silent: Mutex<BTreeSet<String>>,
    dialled: AtomicUsize,
}

impl Roads {
    /// Puts a server at the end of the road to these domains, and lets it use the roads.
    pub fn lead_to(self: &Arc<Self>, domains: &[&str], server: &Arc<Server>) {
        let mut servers = lock(&self.servers);
        for domain in domains {
            servers.insert((*domain).to_owned(), Arc::downgrade(server));
        }
        drop(servers);
        server.streams.reach_by(self.clone());
        server.streams.set_rules(open_rules());
    }

    /// From now on, or no longer, the server of a domain cannot be reached.
    pub fn close(&self, domain: &str, closed: bool) {
        set(&self.closed, domain, closed);
    }

    /// From now on, or no longer, the server of a domain takes connections and says nothing.
    pub fn silence(&self, domain: &str, silent: bool) {
        set(&self.silent, domain, silent);
    }

    /// Cuts all connections: what is on its way is lost. Gives how many there were.
    pub fn cut(&self) -> usize {
        let cuts: Vec<Arc<Cut>> = lock(&self.cuts).drain(..).filter_map(|c| c.upgrade()).collect();
        cuts.iter().for_each(|cut| cut.cut());
        cuts.len()
    }

    /// How many connections were opened so far.
    pub fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    fn open(&self, domain: &str, server: Arc<Server>) -> Box<dyn Wire> {
        let (near, far) = tokio::io::duplex(ROAD_BYTES);
        let cut = Arc::new(Cut::default());
        lock(&self.cuts).push(Arc::downgrade(&cut));
        let far = Road { pipe: far, cut: cut.clone() };
        if lock(&self.silent).contains(domain) {
            tokio::spawn(async move {
                let _held = far;
                std::future::pending::<()>().await;
            });
        } else {
            tokio::spawn(verona_core::federation::serve(server, Box::new(far), Box::new(|| {})));
        }
        Box::new(Road { pipe: near, cut })
    }
}

impl Reach for Roads {
    fn dial<'a>(
        &'a self,
        pair: &'a Pair,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Dialled, Unreachable>> {
        Box::pin(async move {
            self.dialled.fetch_add(1, Ordering::Relaxed);
            let known = lock(&self.servers).get(pair.remote.domain()).map(Weak::upgrade);
            let unreachable = |unknown, step: &str| {
                Err(Unreachable { unknown, steps: vec![format!("{}: {step}", pair.remote)] })
            };
            let Some(server) = known else { return unreachable(true, "no such domain") };
            let closed = lock(&self.closed).contains(pair.remote.domain());
            let Some(server) = server.filter(|_| !closed) else {
                return unreachable(false, "connection refused");
            };
            let target = Target {
                host: pair.remote.domain().to_owned(),
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 5269)),
                direct_tls: false,
                signed: false,
            };
            let wire = self.open(pair.remote.domain(), server);
            Ok(Dialled { wire, target, steps: Vec::new() })
        })
    }

    fn judge<'a>(
        &'a self,
        _: &'a [Vec<u8>],
        _: &'a str,
        _: Option<&'a Target>,
    ) -> BoxFuture<'a, Result<Proof, Distrust>> {
        Box::pin(async { Err(Distrust("there are no certificates here".to_owned())) })
    }

    fn names(&self, _: &[Vec<u8>], _: &str) -> bool {
        false
    }
}

/// Whether a connection is cut.
#[derive(Default)]
struct Cut {
    is_cut: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Cut {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        lock(&self.wakers).drain(..).for_each(Waker::wake);
    }

    fn poll(&self, context: &Context<'_>) -> io::Result<()> {
        let mut wakers = lock(&self.wakers);
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

/// One end of a connection between servers.
struct Road {
    pipe: DuplexStream,
    cut: Arc<Cut>,
}

impl Wire for Road {
    fn peer(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

impl AsyncRead for Road {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.poll(context)?;
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for Road {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cut.poll(context)?;
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}

fn set(domains: &Mutex<BTreeSet<String>>, domain: &str, holds: bool) {
    let mut domains = lock(domains);
    match holds {
        true => domains.insert(domain.to_owned()),
        false => domains.remove(domain),
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
