//! Where a domain's servers are: its records, in the order in which they are to be tried.

use hickory_resolver::proto::rr::RData;

use crate::reach::dns::{Answer, Dns, NoAnswer};

/// RFC 6120 §3.2.2: the port where no record names one.
pub(crate) const PORT: u16 = 5269;

/// Records of one domain that are looked at; more serve nobody.
const RECORDS_MAX: usize = 32;

/// Places that are tried for one connection.
const PLACES_MAX: usize = 8;

/// A place where a server may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// The host, as in DNS, or an address.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Whether TLS begins with the first byte (XEP-0368 §3).
    pub(crate) direct_tls: bool,
    /// Whether what led here was signed.
    pub(crate) signed: bool,
}

/// One SRV record.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Srv {
    priority: u16,
    weight: u16,
    place: Place,
}

/// What a domain says about one of its two services.
enum Service {
    Records(Vec<Srv>),
    /// RFC 2782: the one target "." says that there is no such service.
    NotHere,
    /// Nothing.
    Silent(NoAnswer),
}

/// Where a domain's servers may be.
#[derive(Debug)]
pub(crate) struct Found {
    /// The places, in the order in which they are to be tried.
    pub(crate) places: Vec<Place>,
    /// Whether DNS has answered all that it was asked.
    pub(crate) certain: bool,
}

/// Finds the places of a domain (as in DNS). `steps` tells how it went; when there are none, whether
/// that is certain.
pub(crate) async fn find(dns: &Dns, domain: &str, steps: &mut Vec<String>) -> Result<Found, bool> {
    // XEP-0368 §3: both are asked and mixed.
    let (direct, plain) = futures_util::future::join(
        ask(dns, "_xmpps-server", domain, true),
        ask(dns, "_xmpp-server", domain, false),
    )
    .await;
    let mut records = Vec::new();
    let mut not_here = false;
    let mut failed = false;
    for (name, service) in [("_xmpps-server", direct), ("_xmpp-server", plain)] {
        let told = match service {
            Service::Records(mut found) => {
                let told = describe(&found);
                records.append(&mut found);
                told
            }
            Service::NotHere => {
                not_here = true;
                "the domain says that it has no such service".to_owned()
            }
            Service::Silent(reason) => {
                failed |= matches!(reason, NoAnswer::Failed(_));
                reason.to_string()
            }
        };
        steps.push(format!("DNS {name}._tcp.{domain}: {told}"));
    }
    if !records.is_empty() {
        let places = order(records, random).into_iter().map(|srv| srv.place);
        return Ok(Found { places: places.take(PLACES_MAX).collect(), certain: !failed });
    }
    // XEP-0368 §5, RFC 6120 §3.2.1: who denies the service has no other place for it. RFC 7673 §3.1:
    // where answers are signed, one that was not heard must not be replaced by a guess.
    if not_here || (failed && dns.is_signed().await) {
        return Err(!failed);
    }
    // RFC 6120 §3.2.1 (9), §3.2.2: without records the domain itself is the host.
    let (host, signed) = (domain.to_owned(), !failed);
    let places = vec![Place { host, port: PORT, direct_tls: false, signed }];
    Ok(Found { places, certain: !failed })
}

async fn ask(dns: &Dns, service: &str, domain: &str, direct_tls: bool) -> Service {
    match dns.services(&format!("{service}._tcp.{domain}")).await {
        Ok(answer) => read(&answer, direct_tls),
        Err(reason) => Service::Silent(reason),
    }
}

fn read(answer: &Answer, direct_tls: bool) -> Service {
    let records = answer.data.iter().filter_map(|data| match data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    });
    let mut usable = Vec::new();
    for srv in records.take(RECORDS_MAX) {
        let host = srv.target.to_ascii();
        let host = host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase();
        if host.is_empty() || srv.port == 0 {
            continue;
        }
        let place = Place { host, port: srv.port, direct_tls, signed: answer.signed };
        usable.push(Srv { priority: srv.priority, weight: srv.weight, place });
    }
    match usable.is_empty() {
        true => Service::NotHere,
        false => Service::Records(usable),
    }
}

fn describe(records: &[Srv]) -> String {
    let signed = records.iter().all(|srv| srv.place.signed);
    let places = records.iter().take(PLACES_MAX).map(|srv| {
        let Place { host, port, .. } = &srv.place;
        format!("{host}:{port} (priority {}, weight {})", srv.priority, srv.weight)
    });
    let places: Vec<String> = places.collect();
    format!("{}{}", places.join(", "), if signed { ", signed" } else { "" })
}

/// RFC 2782: by priority; within one, at random, each as often as its weight says. `random` yields a
/// number from 0 up to and including its argument.
fn order(mut records: Vec<Srv>, mut random: impl FnMut(u32) -> u32) -> Vec<Srv> {
    // Those without weight stand first, so that they have a small chance at all.
    records.sort_by_key(|srv| (srv.priority, srv.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let same = records.iter().take_while(|srv| srv.priority == priority);
        let sum = same.clone().map(|srv| u32::from(srv.weight)).fold(0, u32::saturating_add);
        let drawn = random(sum);
        let reached = same.scan(0_u32, |running, srv| {
            *running = running.saturating_add(u32::from(srv.weight));
            Some(*running)
        });
        let chosen = reached.take_while(|running| *running < drawn).count();
        ordered.push(records.remove(chosen.min(records.len().saturating_sub(1))));
    }
    ordered
}

fn random(max: u32) -> u32 {
    let mut bytes = [0; 8];
    // Without randomness the first is as good as another.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    let drawn = u64::from_ne_bytes(bytes) % u64::from(max).saturating_add(1);
    u32::try_from(drawn).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(host: &str, priority: u16, weight: u16) -> Srv {
        let place = Place { host: host.to_owned(), port: 1, direct_tls: false, signed: false };
        Srv { priority, weight, place }
    }

    fn hosts(ordered: &[Srv]) -> Vec<&str> {
        ordered.iter().map(|srv| srv.place.host.as_str()).collect()
    }

    #[test]
    fn priority_goes_before_weight() {
        let records = vec![srv("b", 20, 65_535), srv("a", 10, 0), srv("c", 30, 1)];
        for draw in [0, u32::MAX] {
            assert_eq!(hosts(&order(records.clone(), |max| draw.min(max))), ["a", "b", "c"]);
        }
    }

    #[test]
    fn the_draw_falls_by_weight() {
        let records = vec![srv("heavy", 0, 60), srv("light", 0, 40), srv("none", 0, 0)];
        // RFC 2782: running sums 0, 60, 100; the first that is not below the draw.
        for (draw, first) in
            [(0, "none"), (1, "heavy"), (60, "heavy"), (61, "light"), (100, "light")]
        {
            let mut draws = [draw].into_iter();
            let ordered = order(records.clone(), |_| draws.next().unwrap_or(0));
            assert_eq!(hosts(&ordered)[0], first, "{draw}");
            assert_eq!(ordered.len(), 3);
        }
    }

    #[test]
    fn over_many_draws_the_weights_show() {
        let records = vec![srv("heavy", 0, 90), srv("light", 0, 10)];
        let first = (0..2_000).filter(|_| hosts(&order(records.clone(), random))[0] == "heavy");
        let heavy = first.count();
        assert!((1_650..1_950).contains(&heavy), "{heavy} of 2,000");
    }

    #[test]
    fn without_weights_all_come_and_none_twice() {
        let records: Vec<Srv> = (0..9).map(|n| srv(&n.to_string(), 5, 0)).collect();
        let ordered = order(records, random);
        let mut hosts = hosts(&ordered);
        hosts.sort_unstable();
        assert_eq!(hosts.len(), 9);
        hosts.dedup();
        assert_eq!(hosts.len(), 9);
    }
}
