//! Questions to DNS: answers with whether they were signed, and failures by what they mean.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long one try may take, and how often a question is asked again (SECURITY: 5 s, twice).
const TRY: Duration = Duration::from_secs(5);
const RETRIES: usize = 1;

/// How long a question may take in all: a signed answer asks others, up to the root.
const QUESTION: Duration = Duration::from_secs(12);

/// How long it may take to learn whether signed answers come through.
const PROBE: Duration = Duration::from_secs(3);

/// How long what was learned about that holds.
const PROBE_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Aliases that are followed from one name.
const ALIASES_MAX: usize = 6;

/// Answers that are remembered: a few for each of some thousand domains.
const CACHE_ANSWERS: u64 = 8_192;

/// Answers are not believed for longer, whatever they say.
const POSITIVE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// That there is nothing is not believed for longer: somebody may be setting it up just now.
const NEGATIVE_MAX: Duration = Duration::from_secs(5 * 60);

/// The resolver.
pub(crate) struct Dns {
    plain: TokioResolver,
    /// One that checks signatures (DNSSEC), unless that is switched off.
    validating: Option<TokioResolver>,
    /// Whether signed answers come through, and when that was learned.
    signed: Mutex<Option<(bool, Instant)>>,
}

/// What a name has.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The records.
    pub(crate) data: Vec<RData>,
    /// Whether all of them, and the aliases on the way, were signed and valid.
    pub(crate) signed: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NoAnswer {
    /// The name is there, but has no such record.
    NoRecord,
    /// There is no such name.
    NoName,
    /// It could not be found out.
    Failed(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("no such record"),
            Self::NoName => f.write_str("no such name"),
            Self::Failed(cause) => f.write_str(cause),
        }
    }
}

impl Dns {
    /// Asks these servers, or those of the system when there are none. Signatures are checked from
    /// the keys of the root on.
    pub(crate) fn new(servers: &[SocketAddr], dnssec: bool) -> Result<Self, String> {
        Self::from_keys(servers, dnssec.then(TrustAnchors::default))
    }

    /// The same from these keys on; without any, signatures are not looked at.
    pub(crate) fn from_keys(
        servers: &[SocketAddr],
        keys: Option<TrustAnchors>,
    ) -> Result<Self, String> {
        let make = |keys: Option<TrustAnchors>| {
            let provider = TokioRuntimeProvider::default();
            let system = TokioResolver::builder(provider.clone());
            let mut builder = match (servers, system) {
                ([], Ok(builder)) => builder,
                // As the C library does on a machine that names no server.
                ([], Err(_)) => TokioResolver::builder_with_config(
                    config(&[(Ipv4Addr::LOCALHOST, 53).into()]),
                    provider,
                ),
                (servers, _) => TokioResolver::builder_with_config(config(servers), provider),
            };
            set(builder.options_mut(), keys.is_some());
            if let Some(keys) = keys {
                builder = builder.with_trust_anchor(Arc::new(keys));
            }
            builder.build().map_err(|error| format!("DNS cannot be asked: {error}"))
        };
        let plain = make(None)?;
        let validating = keys.map(|keys| make(Some(keys))).transpose()?;
        Ok(Self { plain, validating, signed: Mutex::default() })
    }

    /// Asks for the records of a name (as in DNS).
    pub(crate) async fn ask(&self, name: &str, kind: RecordType) -> Result<Answer, NoAnswer> {
        // What is no name in DNS cannot be there.
        let mut name = Name::from_ascii(name).map_err(|_| NoAnswer::NoName)?;
        name.set_fqdn(true);
        let resolver = self.resolver().await;
        let looked = timeout(QUESTION, resolver.lookup(name, kind)).await;
        let looked = looked.unwrap_or(Err(NetError::Timeout)).map_err(|error| judge(&error))?;
        let records = looked.answers().iter();
        let records = records.filter(|record| record.record_type() != RecordType::RRSIG);
        let signed = records.clone().all(|record| record.proof.is_secure());
        let data: Vec<RData> = records
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data.clone())
            .collect();
        match data.is_empty() {
            true => Err(NoAnswer::NoRecord),
            false => Ok(Answer { data, signed }),
        }
    }

    /// Asks for the services of a name. The library loses those that stand behind an alias, as the
    /// records of hosted domains often do, so aliases are followed here.
    pub(crate) async fn services(&self, name: &str) -> Result<Answer, NoAnswer> {
        let mut name = name.to_owned();
        let mut signed = true;
        for _ in 0..ALIASES_MAX {
            match self.ask(&name, RecordType::SRV).await {
                Ok(answer) => return Ok(Answer { signed: signed && answer.signed, ..answer }),
                Err(NoAnswer::NoRecord) => {}
                Err(reason) => return Err(reason),
            }
            let alias = self.ask(&name, RecordType::CNAME).await;
            let alias = alias.map_err(|_| NoAnswer::NoRecord)?;
            signed &= alias.signed;
            let Some(RData::CNAME(next)) = alias.data.first() else {
                return Err(NoAnswer::NoRecord);
            };
            name = next.0.to_ascii();
        }
        Err(NoAnswer::Failed("its aliases lead to no end".to_owned()))
    }

    /// Whether signed answers come through: many networks have resolvers that keep signatures back.
    /// Behind those all answers would look forged, so there is none that is signed.
    pub(crate) async fn is_signed(&self) -> bool {
        let Some(validating) = &self.validating else { return false };
        let mut known = self.signed.lock().await;
        if let Some((signed, since)) = *known
            && since.elapsed() < PROBE_AGAIN
        {
            return signed;
        }
        let root = timeout(PROBE, validating.lookup(Name::root(), RecordType::NS)).await;
        let signed = matches!(root, Ok(Ok(root)) if root.answers().iter().any(|record| {
            record.record_type() == RecordType::NS && record.proof.is_secure()
        }));
        if known.is_none_or(|(before, _)| before != signed) {
            tracing::info!(signed, "looked whether DNS answers come with their signatures");
        }
        *known = Some((signed, Instant::now()));
        signed
    }

    async fn resolver(&self) -> &TokioResolver {
        match &self.validating {
            Some(validating) if self.is_signed().await => validating,
            _ => &self.plain,
        }
    }
}

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connection = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(connection);
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

fn set(options: &mut ResolverOpts, validate: bool) {
    options.timeout = TRY;
    options.attempts = RETRIES;
    options.edns0 = true;
    options.validate = validate;
    options.cache_size = CACHE_ANSWERS;
    options.positive_max_ttl = Some(POSITIVE_MAX);
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    // The aliases on the way count when it is asked whether all was signed.
    options.preserve_intermediates = true;
}

fn judge(error: &NetError) -> NoAnswer {
    let none = |code: ResponseCode| match code {
        ResponseCode::NXDomain => NoAnswer::NoName,
        _ => NoAnswer::NoRecord,
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => match found.response_code {
            code @ (ResponseCode::NoError | ResponseCode::NXDomain) => none(code),
            code => NoAnswer::Failed(format!("the DNS server answers {code}")),
        },
        // That there is nothing is not signed, which is as good as without signatures at all.
        NetError::Dns(DnsError::Nsec { response, proof, .. }) if !proof.is_bogus() => {
            none(response.response_code)
        }
        NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => NoAnswer::Failed(
            "the signature of the DNS answer is wrong (DNSSEC); where names are private, set \
             `dnssec = false` in [dns]"
                .to_owned(),
        ),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            NoAnswer::Failed(format!("the DNS server answers {code}"))
        }
        NetError::Timeout => NoAnswer::Failed("no DNS server answers".to_owned()),
        other => NoAnswer::Failed(format!("DNS cannot be asked: {other}")),
    }
}

/// The addresses among records.
pub(crate) fn addresses(answer: &Answer) -> Vec<IpAddr> {
    let addresses = answer.data.iter().filter_map(|data| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    addresses.collect()
}
