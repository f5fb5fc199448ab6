//! What others see of a domain, for `verona check`: its records, where they lead, and whether they
//! would trust its certificate.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::pki_types::TrustAnchor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use verona_core::federation::reach::{Distrust, Proof, Target};

use crate::reach::dns::{Dns, NoAnswer, addresses};
use crate::reach::judge::Judge;
use crate::reach::network::CONNECTING;
use crate::reach::settings::{self, Settings};
use crate::tls::certificates::ascii;

/// Records of one service that are looked at.
const RECORDS_MAX: usize = 8;

/// Looks at domains as others do.
pub struct Surveyor {
    dns: Dns,
    anchors: Vec<TrustAnchor<'static>>,
}

/// A place that a record names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the record is signed.
    pub signed: bool,
    /// The addresses of the host, or why there are none.
    pub addresses: Result<Vec<IpAddr>, Lack>,
}

/// Why something is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lack {
    /// DNS says that there is none.
    Nothing,
    /// DNS could not be asked.
    Unknown(String),
}

impl From<NoAnswer> for Lack {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::NoName | NoAnswer::NoRecord => Self::Nothing,
            NoAnswer::Failed(cause) => Self::Unknown(cause),
        }
    }
}

impl Surveyor {
    /// Looks with these settings, but never at the overrides: others do not have them.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let dns = Dns::new(&settings.servers, settings.dnssec)?;
        Ok(Self { dns, anchors: settings::anchors(settings)? })
    }

    /// Whether DNS answers come with their signatures.
    pub async fn is_signed(&self) -> bool {
        self.dns.is_signed().await
    }

    /// The places of a service, such as `_xmpp-server`; an empty list says that there is no such
    /// service.
    pub async fn service(&self, service: &str, domain: &str) -> Result<Vec<Place>, Lack> {
        let name = format!("{service}._tcp.{}", ascii(domain));
        let answer = self.dns.services(&name).await?;
        let mut places = Vec::new();
        for data in answer.data.iter().take(RECORDS_MAX) {
            let RData::SRV(srv) = data else { continue };
            let host = srv.target.to_ascii();
            let host = host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase();
            if !host.is_empty() {
                let addresses = self.addresses(&host).await;
                places.push(Place { host, port: srv.port, signed: answer.signed, addresses });
            }
        }
        Ok(places)
    }

    /// The addresses of a host.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Lack> {
        let host = ascii(host);
        let (v6, v4) = futures_util::future::join(
            self.dns.ask(&host, RecordType::AAAA),
            self.dns.ask(&host, RecordType::A),
        )
        .await;
        match (v6, v4) {
            (Err(v6), Err(v4)) => Err(match v6 {
                NoAnswer::Failed(_) => v6.into(),
                _ => v4.into(),
            }),
            (v6, v4) => Ok([v6, v4].iter().flatten().flat_map(addresses).collect()),
        }
    }

    /// Whether others would trust a certificate chain of a domain at a place.
    pub async fn judge(
        &self,
        chain: &[Vec<u8>],
        domain: &str,
        place: Option<&Place>,
    ) -> Result<Proof, Distrust> {
        let target = place.and_then(|place| {
            let address = *place.addresses.as_ref().ok()?.first()?;
            let address = SocketAddr::new(address, place.port);
            let Place { host, signed, .. } = place.clone();
            Some(Target { host, address, direct_tls: false, signed })
        });
        let judge = Judge { dns: &self.dns, anchors: &self.anchors };
        judge.judge(chain, domain, target.as_ref()).await
    }
}

/// Whether something takes connections at an address, as far as it can be reached from here.
pub async fn answers(address: SocketAddr) -> Result<(), String> {
    match timeout(CONNECTING, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
