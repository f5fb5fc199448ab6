//! A name server that says what it is told to say, signed or not.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_resolver::proto::dnssec::{Algorithm, DnssecSigner, SigningKey, TrustAnchors};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV, TLSA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const TTL: u32 = 60;

/// What is known of names.
#[derive(Clone, Default)]
pub(super) struct Zone {
    records: HashMap<(String, RecordType), Vec<RData>>,
    faults: HashMap<String, Fault>,
}

/// How a question fails.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Silence,
    Code(ResponseCode),
    /// The signature is that of other records.
    Forged,
}

pub(super) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

impl Zone {
    pub(super) fn put(mut self, owner: &str, data: RData) -> Self {
        let key = (owner.to_owned(), data.record_type());
        self.records.entry(key).or_default().push(data);
        self
    }

    /// A record of a domain's service.
    pub(super) fn srv(self, owner: &str, (priority, port): (u16, u16), host: &str) -> Self {
        self.put(owner, RData::SRV(SRV::new(priority, 0, port, name(host))))
    }

    pub(super) fn a(self, owner: &str, address: [u8; 4]) -> Self {
        self.put(owner, RData::A(A(Ipv4Addr::from(address))))
    }

    pub(super) fn aaaa(self, owner: &str, address: &str) -> Self {
        self.put(owner, RData::AAAA(AAAA(address.parse().expect("an address"))))
    }

    pub(super) fn alias(self, owner: &str, other: &str) -> Self {
        self.put(owner, RData::CNAME(CNAME(name(other))))
    }

    /// Something that nobody asks for.
    pub(super) fn put_text(self, owner: &str) -> Self {
        self.put(owner, RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned()])))
    }

    /// A TLSA record: usage, selector, matching type.
    pub(super) fn tlsa(self, owner: &str, kind: [u8; 3], data: Vec<u8>) -> Self {
        let [usage, selector, matching] = kind;
        let tlsa = TLSA::new(usage.into(), selector.into(), matching.into(), data);
        self.put(owner, RData::TLSA(tlsa))
    }

    pub(super) fn fault(mut self, owner: &str, fault: Fault) -> Self {
        self.faults.insert(owner.to_owned(), fault);
        self
    }

    fn find(&self, owner: &str, kind: RecordType) -> Option<&Vec<RData>> {
        let exact = self.records.get(&(owner.to_owned(), kind));
        exact.or_else(|| self.records.get(&(owner.to_owned(), RecordType::CNAME)))
    }

    /// The records and the aliases that lead there, as a resolver gives them in one answer.
    fn chain(&self, owner: &str, kind: RecordType) -> Vec<(Name, Vec<RData>)> {
        let mut chain = Vec::new();
        let mut owner = owner.to_owned();
        while let Some(data) = self.find(&owner, kind).filter(|_| chain.len() < 8) {
            chain.push((name(&owner), data.clone()));
            let Some(RData::CNAME(CNAME(next))) = data.first() else { break };
            owner = next.to_ascii().trim_end_matches('.').to_owned();
        }
        chain
    }

    fn knows(&self, owner: &str) -> bool {
        self.records.keys().any(|(known, _)| {
            known == owner || known.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'))
        })
    }
}

/// What signs a zone: it is all of the root.
pub(super) struct Signing {
    signer: DnssecSigner,
    key: DNSKEY,
}

impl Signing {
    pub(super) fn new() -> Self {
        let algorithm = Algorithm::ECDSAP256SHA256;
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(algorithm).expect("a key");
        let key = EcdsaSigningKey::from_pkcs8(&pkcs8, algorithm).expect("a key");
        let public = key.to_public_key().expect("a key");
        let dnskey = DNSKEY::new(true, true, false, public);
        let day = Duration::from_secs(24 * 60 * 60);
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), Name::root(), day);
        Self { signer, key: dnskey }
    }

    pub(super) fn keys(&self) -> TrustAnchors {
        let mut keys = TrustAnchors::empty();
        keys.insert(self.key.public_key());
        keys
    }

    fn sign(&self, owner: &Name, data: &[RData]) -> Record {
        let kind = data.first().expect("a record").record_type();
        let mut set = RecordSet::with_ttl(owner.clone(), kind, TTL);
        for data in data {
            set.add_rdata(data.clone());
        }
        let hour_ago = SystemTime::now() - Duration::from_secs(60 * 60);
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, hour_ago.into(), &self.signer);
        let signature = DNSSECRData::RRSIG(signature.expect("a signature"));
        Record::from_rdata(owner.clone(), TTL, RData::DNSSEC(signature))
    }
}

/// A name server at an address of the loopback; it ends with this.
pub(super) struct Nameserver {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nameserver {
    pub(super) async fn start(zone: Zone, signing: Option<Arc<Signing>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).expect("a question");
                if let Some(answer) = answer(&zone, signing.as_deref(), &question) {
                    let bytes = answer.to_vec().expect("an answer");
                    socket.send_to(&bytes, peer).await.expect("sent");
                }
            }
        });
        Self { address, task }
    }
}

fn answer(zone: &Zone, signing: Option<&Signing>, question: &Message) -> Option<Message> {
    let query = question.queries.first()?.clone();
    let owner = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    if let Some(edns) = &question.edns {
        answer.set_edns(edns.clone());
    }
    let fault = zone.faults.get(&owner).copied();
    match fault {
        Some(Fault::Silence) => return None,
        Some(Fault::Code(code)) => {
            answer.metadata.response_code = code;
            return Some(answer);
        }
        Some(Fault::Forged) | None => {}
    }
    let (own, root) = (query.name().clone(), Name::root());
    let special = match (signing, owner.as_str(), query.query_type()) {
        (Some(signing), "", RecordType::DNSKEY) => {
            Some(vec![RData::DNSSEC(DNSSECRData::DNSKEY(signing.key.clone()))])
        }
        (Some(_), "", RecordType::NS) => Some(vec![RData::NS(NS(name("ns.lit")))]),
        _ => None,
    };
    let chain = match special {
        Some(data) => vec![(own.clone(), data)],
        None => zone.chain(&owner, query.query_type()),
    };
    for (owner, data) in &chain {
        answer.add_answers(
            data.iter().map(|data| Record::from_rdata(owner.clone(), TTL, data.clone())),
        );
        if let Some(signing) = signing {
            let other = [RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))];
            let forged = matches!(fault, Some(Fault::Forged));
            answer.add_answer(signing.sign(owner, if forged { &other } else { data }));
        }
    }
    if !chain.is_empty() {
        return Some(answer);
    }
    if signing.is_none() && !zone.knows(&owner) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let soa = RData::SOA(SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, 60));
    // That a name has no such record: the name right behind it is the next (RFC 4470 §3).
    let next =
        Name::from_labels([&b"\0"[..]]).expect("a label").append_domain(&own).expect("short");
    let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, [])));
    for (owner, data) in [(root, soa), (own, nsec)] {
        if signing.is_none() && data.record_type() == RecordType::NSEC {
            continue;
        }
        answer.add_authority(Record::from_rdata(owner.clone(), TTL, data.clone()));
        answer.add_authorities(signing.map(|signing| signing.sign(&owner, &[data])));
    }
    Some(answer)
}
