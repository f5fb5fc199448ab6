//! How it stands with each domain elsewhere, for the operator.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::federation::reach::{Pair, ProvenBy};
use crate::federation::standing::Phase;
use crate::federation::table::Federation;
use crate::stream::server::pairs::{Grounds, Trust};
use crate::stream::server::side::Role;

/// How it stands between a domain here and one elsewhere.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Where the route stands: what is to be sent there.
    pub route: &'static str,
    /// Streams that the other server has opened and may send on.
    pub inbound: usize,
    /// How the other server was proven to be that of its domain.
    pub proven: Option<&'static str>,
    /// Stanzas that wait.
    pub stanzas: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Why the last try failed, and when.
    pub failure: Option<(String, SystemTime)>,
}

impl Federation {
    /// How it stands with all domains elsewhere.
    pub fn report(&self) -> BTreeMap<Pair, Report> {
        let mut reports: BTreeMap<Pair, Report> = BTreeMap::new();
        for route in self.routes() {
            let standing = route.standing();
            let report = Report {
                route: match (standing.phase, &standing.failed) {
                    (Phase::Connected, _) => "connected",
                    (Phase::Connecting, _) => "connecting",
                    (Phase::Waiting, _) => "waits for the next try",
                    (Phase::Idle, Some(_)) => "failed",
                    (Phase::Idle, None) => "idle",
                },
                inbound: 0,
                proven: standing.trust.map(proven),
                stanzas: standing.stanzas,
                bytes: standing.bytes,
                failure: standing.failed.map(|failed| (failed.cause, failed.at)),
            };
            reports.insert(route.pair.clone(), report);
        }
        for peer in self.streams.all() {
            for known in peer.pairs().into_iter().filter(|known| known.receives) {
                let report = reports.entry(known.pair).or_default();
                let calls = usize::from(peer.role == Role::Receiving);
                report.inbound = report.inbound.saturating_add(calls);
                report.proven = report.proven.or(Some(proven(known.trust)));
            }
        }
        reports
    }
}

/// What a peer's identity rests on.
pub fn proven(trust: Trust) -> &'static str {
    match trust.by {
        Grounds::Certificate(ProvenBy::Pkix) => "certificate (PKIX)",
        Grounds::Certificate(ProvenBy::Dane) => "certificate (DANE)",
        Grounds::Dialback => "dialback only",
    }
}
