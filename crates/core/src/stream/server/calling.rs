//! A stream to another server, from the first byte to the features behind TLS: what authentication
//! and the verification of dialback keys have in common.

use std::sync::Arc;

use verona_xml::Tree;
use verona_xmpp::dialback::is_token;
use verona_xmpp::error::{Condition, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stream::{Content, Opening, Version};

use crate::federation::reach::{Pair, Reach, Target};
use crate::server::Server;
use crate::stream::open::{End, Open};
use crate::stream::server::failure::{Failure, plain};
use crate::stream::server::features::Offer;
use crate::stream::server::pairs::{Grounds, Trust};
use crate::stream::server::side::Takes;

/// A stream to another server that stands ready for authentication.
pub struct Called {
    /// The stream.
    pub open: Open,
    /// The pair that it is for.
    pub pair: Pair,
    /// What the peer offers.
    pub offer: Offer,
    /// What it takes.
    pub takes: Takes,
    /// How sure it is who was called.
    pub trust: Trust,
    /// Where the peer was found.
    pub target: Target,
    /// The steps so far.
    pub steps: Vec<String>,
}

impl Called {
    /// The stream is over: what came of it. The peer is told, if it is there.
    pub async fn fail(self, end: End) -> Failure {
        let Self { open, pair, steps, .. } = self;
        fail(open, &pair, steps, end).await
    }

    /// The stream is no good, although nothing is wrong with it as a stream.
    pub async fn give_up(mut self, cause: String, retry: bool) -> Failure {
        let domain = self.pair.remote.clone();
        self.open.finish(End::Closed, None, domain).await;
        self.steps.push(cause);
        Failure { condition: Condition::RemoteServerTimeout, retry, steps: self.steps }
    }

    /// Opens the stream, or opens it anew, and reads what is offered.
    pub async fn greet(&mut self) -> Result<(), End> {
        (self.offer, self.takes) = greet(&mut self.open, &self.pair).await?;
        Ok(())
    }

    /// The next element that is no stream error.
    pub async fn element(&mut self) -> Result<Tree, End> {
        element(&mut self.open).await
    }
}

/// Finds a server of the remote domain, opens a stream to it and makes it safe.
pub async fn call(server: &Arc<Server>, pair: &Pair) -> Result<Called, Failure> {
    let Some(reach) = server.streams.reach() else {
        let steps = vec!["this server has no way to others".to_owned()];
        return Err(Failure { condition: Condition::RemoteServerNotFound, retry: false, steps });
    };
    let dialled = reach.dial(pair).await?;
    let (target, mut steps) = (dialled.target, dialled.steps);
    let mut open = Open::between_servers(server.clone(), dialled.wire, true);
    match prepare(&mut open, &*reach, pair, &target, &mut steps).await {
        Ok((offer, takes, trust)) => {
            let pair = pair.clone();
            Ok(Called { open, pair, offer, takes, trust, target, steps })
        }
        Err(Stop::End(end)) => Err(fail(open, pair, steps, end).await),
        Err(Stop::Unsafe(cause)) => {
            open.finish(End::Closed, None, &pair.remote).await;
            steps.push(cause);
            Err(Failure { condition: Condition::RemoteServerTimeout, retry: true, steps })
        }
    }
}

/// Why a stream is not gone on with.
enum Stop {
    End(End),
    Unsafe(String),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// RFC 6120 §4.3.2, §5: headers, features and TLS, and who the peer has proven to be.
async fn prepare(
    open: &mut Open,
    reach: &dyn Reach,
    pair: &Pair,
    target: &Target,
    steps: &mut Vec<String>,
) -> Result<(Offer, Takes, Trust), Stop> {
    let rules = open.server.streams.rules();
    let mut found = greet(open, pair).await?;
    if !open.wire.is_secure() {
        if found.0.starttls.is_some() {
            start_tls(open, pair).await?;
            found = greet(open, pair).await?;
        } else if rules.require_tls {
            return Err(Stop::Unsafe(format!("{} offers no TLS", target.host)));
        }
    }
    let chain = open.wire.is_secure().then(|| open.wire.peer_chain());
    let trust = judge(chain, reach, pair, target).await;
    match &trust {
        Ok(Trust { by: Grounds::Certificate(by), .. }) => {
            steps.push(format!("TLS: its certificate proves {} ({by:?})", pair.remote));
        }
        Ok(_) => steps.push("no TLS".to_owned()),
        Err(distrust) => {
            let cause = format!("TLS: its certificate does not prove {}: {distrust}", pair.remote);
            if rules.require_certificate {
                // RFC 6120 §13.7.2: it is told nothing but the end of the stream.
                return Err(Stop::Unsafe(cause));
            }
            steps.push(cause);
        }
    }
    Ok((found.0, found.1, trust.unwrap_or(Trust::DIALBACK)))
}

async fn judge(
    chain: Option<Vec<Vec<u8>>>,
    reach: &dyn Reach,
    pair: &Pair,
    target: &Target,
) -> Result<Trust, String> {
    let Some(chain) = chain else { return Ok(Trust::DIALBACK) };
    let judged = reach.judge(&chain, pair.remote.domain(), Some(target)).await;
    judged.map(Trust::from).map_err(|distrust| distrust.to_string())
}

async fn start_tls(open: &mut Open, pair: &Pair) -> Result<(), End> {
    open.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    let answer = element(open).await?;
    match answer.root().is("proceed", ns::TLS) {
        true => open.connect_tls(pair.local.domain(), pair.remote.domain()).await,
        false => Err(End::Closed),
    }
}

/// RFC 6120 §4.7: our header, the one that answers it, and what is offered.
async fn greet(open: &mut Open, pair: &Pair) -> Result<(Offer, Takes), End> {
    let opening = Opening {
        content: Content::Server,
        from: Some(&pair.local),
        to: Some(&pair.remote),
        id: None,
        version: Some(Version::CURRENT),
        dialback: true,
    };
    open.send_header(&opening).await?;
    let header = open.header_answer().await?;
    if !is_token(&open.id) && !open.id.is_empty() {
        return Err(StreamCondition::BadFormat.into());
    }
    if header.version.major == 0 {
        // XEP-0220 §2.4.1: older than features.
        let offer = Offer { dialback: header.dialback, ..Offer::default() };
        return Ok((offer, Takes::default()));
    }
    let features = element(open).await?;
    if !features.root().is("features", ns::STREAMS) {
        return Err(StreamCondition::NotAuthorized.into());
    }
    let (mut offer, takes) = Offer::read(features.root());
    offer.dialback |= header.dialback;
    Ok((offer, takes))
}

async fn element(open: &mut Open) -> Result<Tree, End> {
    let tree = open.element().await?;
    if tree.root().is("error", ns::STREAMS) {
        return Err(End::Refused(StreamError::read(tree.root())));
    }
    Ok(tree)
}

async fn fail(open: Open, pair: &Pair, mut steps: Vec<String>, end: End) -> Failure {
    let mut failure =
        Failure { condition: Condition::RemoteServerTimeout, retry: true, steps: Vec::new() };
    steps.push(match &end {
        End::Gone => "the connection broke".to_owned(),
        End::Closed => "the server closed the stream".to_owned(),
        End::Error(error) if error.condition == StreamCondition::ConnectionTimeout => {
            "the server does not answer".to_owned()
        }
        End::Error(error) => format!("the stream made no sense: {error}"),
        End::Refused(error) => {
            if matches!(error.condition, StreamCondition::HostUnknown | StreamCondition::HostGone) {
                failure.condition = Condition::RemoteServerNotFound;
                failure.retry = false;
            }
            format!("the server refused: {}", plain(&error.to_string()))
        }
    });
    open.finish(end, None, &pair.remote).await;
    failure.steps = steps;
    failure
}
