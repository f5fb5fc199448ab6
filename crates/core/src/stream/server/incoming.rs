//! A stream of another server as the receiving entity: from its first byte to a stream on which the
//! stanzas of at least one pair of domains may come.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use verona_xml::Tree;
use verona_xmpp::error::{StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::binding::Offer as SaslOffer;
use verona_xmpp::sasl::context::{Context, Peer};
use verona_xmpp::sasl::encoding;
use verona_xmpp::sasl::mechanism::Mechanism;
use verona_xmpp::sasl::server::{self as machine, Awaiting, Step};
use verona_xmpp::stream::{Content, Header, Opening, Version};

use crate::federation::reach::Pair;
use crate::limits::VERIFY_SECS;
use crate::server::Server;
use crate::stream::login;
use crate::stream::open::{End, Incoming, Open};
use crate::stream::server::dialback::{About, Dialbacks, Heard};
use crate::stream::server::established::Established;
use crate::stream::server::failure::plain;
use crate::stream::server::features::{NS_BIDI, Offer, takes};
use crate::stream::server::ours::is_ours;
use crate::stream::server::pairs::{Trust, Verified};
use crate::stream::server::side::{Role, Takes};
use crate::stream::wire::Wire;
use crate::token;

/// Negotiates with a server that has connected, until one of its pairs is verified. None when it does
/// not come so far.
pub async fn accept(server: Arc<Server>, wire: Box<dyn Wire>) -> Option<Established> {
    let peer = wire.peer();
    let mut called = Callee::new(server, wire);
    let end = match called.until_verified().await {
        Ok(()) => return Some(called.establish()),
        Err(end) => end,
    };
    let us = called.local.take();
    if let End::Error(error) | End::Refused(error) = &end {
        let from = called.remote.as_ref().map_or("?", Jid::as_str);
        let to = us.as_ref().map_or("?", Jid::as_str);
        let error = plain(&error.to_string());
        tracing::info!(stream = %called.open.id, %peer, from, to, error, "server not verified");
    }
    called.open.finish(end, us.as_ref(), peer).await;
    None
}

/// A server that has connected and is not verified for anything.
struct Callee {
    open: Open,
    /// The domain that the stream is to.
    local: Option<Jid>,
    /// The domain that it says to come from.
    remote: Option<Jid>,
    /// What proves that domain, if something does.
    proof: Option<Trust>,
    dialbacks: Dialbacks,
    takes: Takes,
    /// Its patience was prolonged for the sake of a key.
    has_waited: bool,
}

impl Callee {
    fn new(server: Arc<Server>, wire: Box<dyn Wire>) -> Self {
        let dialbacks = Dialbacks::new(server.clone(), about(&*wire, Box::default()));
        Self {
            open: Open::between_servers(server, wire, false),
            local: None,
            remote: None,
            proof: None,
            dialbacks,
            takes: Takes::default(),
            has_waited: false,
        }
    }

    async fn until_verified(&mut self) -> Result<(), End> {
        let secs = self.open.server.policy().limits.first_byte_secs;
        let first = tokio::time::timeout(Duration::from_secs(secs), self.header()).await;
        let mut header = first.map_err(|_| End::from(StreamCondition::ConnectionTimeout))??;
        loop {
            let offer = self.greet(&header).await?;
            if self.serve_stream(&offer).await? {
                return Ok(());
            }
            // RFC 6120 §5.4.3.3: what was said before TLS is forgotten.
            (self.local, self.remote) = (None, None);
            self.takes = Takes::default();
            header = self.header().await?;
        }
    }

    /// Reads a header and finds out for whom it is (RFC 6120 §4.7.1, §4.7.2, §4.9.3.6).
    async fn header(&mut self) -> Result<Header, End> {
        let header = match self.open.next().await? {
            Incoming::Header(header) => header.map_err(End::Error)?,
            Incoming::Element(_) => return Err(StreamCondition::InvalidXml.into()),
            Incoming::Close => return Err(End::Closed),
        };
        let to = header.to.clone().filter(|to| is_ours(&self.open.server, to));
        let to = to.ok_or_else(|| End::from(StreamCondition::HostUnknown))?;
        // A restart cannot move the stream to another host, or to another peer (RFC 6120 §6.4.6).
        if self.local.as_ref().is_some_and(|known| *known != to) {
            return Err(StreamCondition::HostUnknown.into());
        }
        let server = &self.open.server;
        let wrong = |from: &Jid| {
            is_ours(server, from) || self.remote.as_ref().is_some_and(|known| known != from)
        };
        let wrong = header.from.as_ref().is_some_and(wrong);
        self.local = Some(to);
        if wrong {
            return Err(StreamCondition::InvalidFrom.into());
        }
        // RFC 6120 §4.7.1: some leave it out.
        self.remote = header.from.clone().or(self.remote.take());
        Ok(header)
    }

    /// RFC 6120 §4.3.2: answers a header, and says what is offered.
    async fn greet(&mut self, header: &Header) -> Result<Offer, End> {
        let id = self.answer_header(header)?;
        let secure = self.open.wire.is_secure();
        self.dialbacks = Dialbacks::new(self.open.server.clone(), about(&*self.open.wire, id));
        if let (Some(local), Some(remote)) = (&self.local, &self.remote) {
            let pair = Pair { local: local.clone(), remote: remote.clone() };
            if !self.open.server.streams.rules().admits(&pair) {
                let error = StreamError::new(StreamCondition::PolicyViolation);
                return Err(End::Error(error.text("not federated with")));
            }
        }
        let require_tls = self.open.server.streams.rules().require_tls;
        let mut offer = Offer {
            starttls: self.open.wire.can_start_tls().then_some(require_tls),
            ..Offer::default()
        };
        if secure || !require_tls {
            self.proof = self.judge().await;
            offer.external = self.proof.is_some();
            offer.dialback = true;
            offer.bidi = true;
            // XEP-0198 §5: when stanzas can come next; with EXTERNAL that is behind another header.
            offer.managed = self.proof.is_none();
        }
        if header.version.major == 0 {
            // compat(servers older than XMPP 1.0): they know no features, and so no STARTTLS.
            if require_tls && !secure {
                return Err(StreamCondition::UnsupportedVersion.into());
            }
            return Ok(offer);
        }
        let features = offer.write(&self.open.server.policy().limits);
        self.open.send(&features).await?;
        Ok(offer)
    }

    fn answer_header(&mut self, header: &Header) -> Result<Box<str>, End> {
        let id = token::random();
        let local = self.local.clone().ok_or(End::from(StreamCondition::HostUnknown))?;
        let mut answer = Opening::answer(Some(header), Content::Server, &local, &id);
        answer.version = (header.version.major > 0).then_some(Version::CURRENT);
        self.open.answer_header(&answer);
        Ok(id.into())
    }

    /// XEP-0178 §3 (9): whether the peer's certificate proves where the stream says to come from.
    fn judge(&self) -> impl Future<Output = Option<Trust>> + use<> {
        let (reach, remote) = (self.open.server.streams.reach(), self.remote.clone());
        let chain = self.dialbacks.stream().chain.clone();
        let (stream, peer) = (self.open.id.clone(), self.open.wire.peer());
        async move {
            let (reach, remote) = (reach?, remote?);
            if chain.is_empty() {
                return None;
            }
            match reach.judge(&chain, remote.domain(), None).await {
                Ok(proof) => Some(proof.into()),
                Err(distrust) => {
                    tracing::info!(%stream, %peer, %remote, %distrust, "certificate proves nothing");
                    None
                }
            }
        }
    }

    /// Serves one stream until TLS begins (false) or a pair is verified.
    async fn serve_stream(&mut self, offer: &Offer) -> Result<bool, End> {
        loop {
            let tree = tokio::select! {
                heard = poll_fn(|context| self.dialbacks.poll(context)) => {
                    self.say(heard).await?;
                    if !self.dialbacks.pairs.is_empty() {
                        self.open.authenticated();
                        return Ok(true);
                    }
                    continue;
                }
                tree = self.open.element() => tree?,
            };
            let element = tree.root();
            if element.is("error", ns::STREAMS) {
                return Err(End::Refused(StreamError::read(element)));
            }
            if element.is("starttls", ns::TLS) {
                let domain = self.local.as_ref().map(|local| local.domain().to_owned());
                self.open.start_tls(&domain.unwrap_or_default()).await?;
                return Ok(false);
            }
            if element.is("auth", ns::SASL) && offer.external {
                if self.external(&tree).await? {
                    return Ok(true);
                }
            } else if element.is("bidi", NS_BIDI) && offer.bidi {
                // XEP-0288 §2.2: no answer, but the limits of who asks (XEP-0478 §3.2).
                self.dialbacks.set_bidi();
                self.takes = takes(element);
            } else if element.ns() == ns::DIALBACK {
                self.hear_dialback(&tree).await?;
            } else if element.ns() == ns::SASL {
                self.refuse_sasl("invalid-mechanism").await?;
            } else {
                // RFC 6120 §4.9.3.12: nothing else before the peer is known.
                return Err(StreamCondition::NotAuthorized.into());
            }
        }
    }

    async fn hear_dialback(&mut self, tree: &Tree) -> Result<(), End> {
        let heard = self.dialbacks.hear(tree.root()).map_err(End::Error)?;
        if self.dialbacks.is_checking() && !self.has_waited {
            // The peer cannot do anything while we ask for it, but it gets that time only once.
            self.has_waited = true;
            self.open.wait_for(VERIFY_SECS.saturating_add(5));
        }
        self.say(heard).await
    }

    async fn say(&mut self, heard: Heard) -> Result<(), End> {
        if !heard.say.is_empty() {
            self.open.send(&heard.say).await?;
        }
        if heard.ends { Err(End::Closed) } else { Ok(()) }
    }

    /// RFC 6120 §6, XEP-0178 §3 (11): a login by certificate, and the stream behind it. False after a
    /// failure that the peer was told.
    async fn external(&mut self, auth: &Tree) -> Result<bool, End> {
        let context = Arc::new(self.context());
        let root = auth.root();
        let mechanism = root.attr("mechanism").unwrap_or_default();
        let mut step = match encoding::decode_initial(root.text().trim_ascii()) {
            Ok(initial) => {
                let initial = initial.as_ref().map(|initial| initial.as_slice());
                machine::start(&context, mechanism, initial)
            }
            Err(error) => login::failure(error),
        };
        loop {
            step = match step {
                Step::Challenge(data, awaiting) => self.challenge(&data, awaiting).await?,
                Step::Success(_) => break,
                Step::Failure(failure) => {
                    tracing::warn!(
                        stream = %self.open.id, peer = %self.open.wire.peer(),
                        error = %failure.error, cause = failure.cause, "server not authenticated"
                    );
                    return self.refuse_sasl(failure.error.name()).await.map(|()| false);
                }
                // Accounts and passwords are not asked for by the one mechanism that is offered.
                Step::Lookup(_) | Step::Check(_) => {
                    return Err(StreamCondition::InternalServerError.into());
                }
            };
        }
        self.authenticated().await?;
        Ok(true)
    }

    /// The server that the header and the certificate agree on is authenticated.
    async fn authenticated(&mut self) -> Result<(), End> {
        let (Some(trust), Some(local), Some(remote)) =
            (self.proof, self.local.clone(), self.remote.clone())
        else {
            return Err(StreamCondition::NotAuthorized.into());
        };
        self.open.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await?;
        self.open.restart_keeping();
        let header = self.header().await?;
        let id = self.answer_header(&header)?;
        let offer = Offer { dialback: true, managed: true, ..Offer::default() };
        let features = offer.write(&self.open.server.policy().limits);
        self.open.authenticated();
        self.open.send(&features).await?;
        let sends = self.dialbacks.stream().bidi;
        let pair = Pair { local, remote };
        tracing::info!(stream = %id, %pair, ?trust, "pair verified");
        self.dialbacks.set_id(id);
        self.dialbacks.pairs.add(Verified { pair, trust, sends, receives: true });
        Ok(())
    }

    fn context(&self) -> Context {
        let name = |jid: &Option<Jid>| jid.as_ref().map(|jid| jid.domain().to_owned());
        let from = name(&self.remote);
        Context {
            offer: SaslOffer::new([Mechanism::External], Vec::new()),
            domain: name(&self.local).unwrap_or_default(),
            peer: Peer::Server,
            secure: self.open.wire.is_secure(),
            from: from.clone(),
            certificate: from.filter(|_| self.proof.is_some()).into_iter().collect(),
            // RFC 6120 §6.3.8: who a server acts as is a domain.
            normalize: |text| {
                Jid::parse(text).ok().filter(Jid::is_domain).map(|jid| jid.to_string())
            },
            decoy: self.open.server.decoy.clone(),
        }
    }

    async fn challenge(&mut self, data: &[u8], awaiting: Awaiting) -> Result<Step, End> {
        let text = encoding::encode(data);
        self.open
            .send_with(|w| {
                w.start("challenge", ns::SASL).text(&text).end();
            })
            .await?;
        let tree = self.open.element().await?;
        let answer = tree.root();
        if answer.is("abort", ns::SASL) {
            return Ok(Step::Failure(awaiting.abort()));
        }
        if !answer.is("response", ns::SASL) {
            return Err(StreamCondition::NotAuthorized.into());
        }
        Ok(match encoding::decode_initial(&answer.text()) {
            Ok(data) => awaiting.respond(&data.unwrap_or_default()),
            Err(error) => login::failure(error),
        })
    }

    /// RFC 6120 §6.4.5: the peer may try again, or try dialback, but not for ever.
    async fn refuse_sasl(&mut self, name: &str) -> Result<(), End> {
        self.open
            .send_with(|w| {
                w.start("failure", ns::SASL).empty(name, ns::SASL).end();
            })
            .await?;
        self.open.failed()
    }

    fn establish(self) -> Established {
        let Self { mut open, dialbacks, takes, .. } = self;
        open.wire.settle();
        let unread = open.take_unread();
        Established {
            wire: open.wire,
            scanner: open.scanner,
            unread,
            id: open.id,
            role: Role::Receiving,
            bidi: dialbacks.stream().bidi,
            dialbacks,
            managed: None,
            resumed: false,
            former: None,
            early: Vec::new(),
            takes,
            target: None,
            steps: Vec::new(),
        }
    }
}

fn about(wire: &dyn Wire, id: Box<str>) -> About {
    About {
        role: Role::Receiving,
        id,
        secure: wire.is_secure(),
        bidi: false,
        peer: wire.peer(),
        chain: Arc::new(wire.peer_chain()),
        trust: Trust::DIALBACK,
    }
}
