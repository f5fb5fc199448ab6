//! A stream to another server, from the first byte to the features behind TLS: what authentication
//! and the verification of dialback keys have in common.

use std::sync::Arc;

use verona_xml::Tree;
use verona_xmpp::dialback::is_token;
use verona_xmpp::error::{Condition, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stream::{Content, Opening, Version};

use crate::federation::reach::{Dialled, Pair, Reach, Target};
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
        let Self { open, pair, trust, steps, .. } = self;
        let mut failure = Failure::new(Condition::RemoteServerTimeout, true, steps);
        failure.steps.push(match &end {
            End::Gone => "the connection broke".to_owned(),
            End::Closed => "the server closed the stream".to_owned(),
            End::Error(error) if error.condition == StreamCondition::ConnectionTimeout => {
                "the server does not answer".to_owned()
            }
            End::Error(error) => format!("the stream made no sense: {error}"),
            End::Refused(error) => {
                if matches!(
                    error.condition,
                    StreamCondition::HostUnknown | StreamCondition::HostGone
                ) {
                    failure.condition = Condition::RemoteServerNotFound;
                    failure.retry = false;
                }
                failure.elsewhere = elsewhere(error, trust);
                match &failure.elsewhere {
                    Some(host) => format!("the server is now at {}", plain(host)),
                    None => format!("the server refused: {}", plain(&error.to_string())),
                }
            }
        });
        open.finish(end, None, &pair.remote).await;
        failure
    }

    /// The stream is no good, although nothing is wrong with it as a stream.
    pub async fn give_up(mut self, cause: String, retry: bool) -> Failure {
        let domain = self.pair.remote.clone();
        self.open.finish(End::Closed, None, domain).await;
        self.steps.push(cause);
        Failure::new(Condition::RemoteServerTimeout, retry, self.steps)
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

    /// RFC 6120 §4.3.2, §5: headers, features and TLS, and who the peer has proven to be.
    async fn prepare(&mut self, reach: &dyn Reach) -> Result<(), Stop> {
        let mut is_greeted = false;
        if !self.open.wire.is_secure() {
            self.greet().await?;
            is_greeted = self.offer.starttls.is_none();
            if !is_greeted {
                start_tls(&mut self.open, &self.pair).await?;
            } else if self.open.server.streams.rules().require_tls {
                return Err(Stop::Unsafe(format!("{} offers no TLS", self.target.host)));
            }
        }
        self.judge(reach).await?;
        if !is_greeted {
            self.greet().await?;
        }
        Ok(())
    }

    /// Finds out whom the peer's certificate proves.
    async fn judge(&mut self, reach: &dyn Reach) -> Result<(), Stop> {
        let remote = &self.pair.remote;
        if !self.open.wire.is_secure() {
            self.steps.push("no TLS".to_owned());
            return Ok(());
        }
        let chain = self.open.wire.peer_chain();
        match reach.judge(&chain, remote.domain(), Some(&self.target)).await {
            Ok(proof) => {
                self.steps.push(format!("TLS: its certificate proves {remote} ({:?})", proof.by));
                self.trust = proof.into();
            }
            Err(distrust) => {
                let cause = format!("TLS: its certificate does not prove {remote}: {distrust}");
                if self.open.server.streams.rules().require_certificate {
                    // RFC 6120 §13.7.2: it is told nothing but the end of the stream.
                    return Err(Stop::Unsafe(cause));
                }
                self.steps.push(cause);
            }
        }
        Ok(())
    }
}

/// RFC 6120 §4.9.3.19: where a server sends us to. We may follow only who is authenticated, and do:
/// with dialback alone, whoever stands between could send us to anybody.
fn elsewhere(error: &StreamError, trust: Trust) -> Option<Box<str>> {
    let is_proven = matches!(trust.by, Grounds::Certificate(_));
    let redirects = error.condition == StreamCondition::SeeOtherHost && is_proven;
    error.detail().host.clone().filter(|_| redirects)
}

/// Finds a server of the remote domain, opens a stream to it and makes it safe. `elsewhere` is where
/// its own server has sent us to.
pub async fn call(
    server: &Arc<Server>,
    pair: &Pair,
    elsewhere: Option<&str>,
) -> Result<Called, Failure> {
    let Some(reach) = server.streams.reach() else {
        let steps = vec!["this server has no way to others".to_owned()];
        return Err(Failure::new(Condition::RemoteServerNotFound, false, steps));
    };
    let Dialled { wire, target, steps } = reach.dial(pair, elsewhere).await?;
    let mut called = Called {
        open: Open::between_servers(server.clone(), wire, true),
        pair: pair.clone(),
        offer: Offer::default(),
        takes: Takes::default(),
        trust: Trust::DIALBACK,
        target,
        steps,
    };
    match called.prepare(&*reach).await {
        Ok(()) => Ok(called),
        Err(Stop::End(end)) => Err(called.fail(end).await),
        Err(Stop::Unsafe(cause)) => Err(called.give_up(cause, true).await),
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
