//! XEP-0220 on one stream, in all three roles, before and after stanzas flow: the peer's keys are
//! verified, its questions about ours answered, and our own keys sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use verona_xml::Element;
use verona_xmpp::dialback::{Dialback, Fault, Kind, Says};
use verona_xmpp::error::{Condition, StreamCondition, StreamError};

use crate::federation::reach::Pair;
use crate::limits::{PAIRS_PER_STREAM_MAX, VERIFY_SECS, VERIFYING_PER_STREAM_MAX};
use crate::server::Server;
use crate::stream::server::failure::{Failure, plain};
use crate::stream::server::ours::is_ours;
use crate::stream::server::pairs::{Pairs, Trust, Verified};
use crate::stream::server::side::Role;
use crate::stream::server::verify::{self, Verdict};

/// Dialback on a stream, and what it has led to.
pub struct Dialbacks {
    /// The pairs that the stream was verified for, by dialback or else.
    pub pairs: Pairs,
    server: Arc<Server>,
    stream: About,
    /// Pairs that we have sent a key for.
    asked: Vec<Pair>,
    /// Keys of the peer that are being verified.
    checking: Vec<(Dialback, BoxFuture<'static, Verdict>)>,
}

/// What dialback needs to know of a stream.
#[derive(Clone, Debug)]
pub struct About {
    /// Which side this server is.
    pub role: Role,
    /// Its id.
    pub id: Box<str>,
    /// Whether it is encrypted.
    pub secure: bool,
    /// Whether stanzas may flow both ways.
    pub bidi: bool,
    /// Where the peer is.
    pub peer: IpAddr,
    /// The certificates that the peer has shown.
    pub chain: Arc<Vec<Vec<u8>>>,
    /// How sure it is who was called, on a stream that this server opened.
    pub trust: Trust,
}

/// What comes of an element.
#[derive(Debug, Default)]
pub struct Heard {
    /// What the peer is told.
    pub say: String,
    /// What has changed for a pair.
    pub change: Option<Change>,
    /// The stream is closed behind that, without an error (XEP-0220 §2.2.1).
    pub ends: bool,
}

/// What has changed for a pair.
#[derive(Debug, Eq, PartialEq)]
pub enum Change {
    /// The peer may send stanzas of it, and on a bidirectional stream we too.
    MayReceive(Pair),
    /// We may send stanzas of it, and on a bidirectional stream the peer too.
    MaySend(Pair),
    /// We may not.
    Refused(Pair, Failure),
}

impl Heard {
    fn say(element: &Dialback) -> Self {
        Self { say: element.to_xml(), ..Self::default() }
    }
}

impl Dialbacks {
    /// Dialback on a stream that no pair was verified for yet.
    pub fn new(server: Arc<Server>, stream: About) -> Self {
        let (asked, checking) = (Vec::new(), Vec::new());
        Self { pairs: Pairs::default(), server, stream, asked, checking }
    }

    /// What is known of the stream.
    pub fn stream(&self) -> &About {
        &self.stream
    }

    /// XEP-0288 §2.2: stanzas may flow both ways from now on.
    pub fn set_bidi(&mut self) {
        self.stream.bidi = true;
    }

    /// RFC 6120 §4.7.3: the stream has begun anew, under another id.
    pub fn set_id(&mut self, id: Box<str>) {
        self.stream.id = id;
    }

    /// XEP-0220 §2.1.1: asks to be let send stanzas of one more pair, and gives what is to be sent for
    /// it. The remote domain has to be one that the stream was opened for. None when it was asked for
    /// already, or for too many.
    pub fn ask(&mut self, pair: &Pair) -> Option<String> {
        let full = self.asked.len().saturating_add(self.pairs.len()) >= PAIRS_PER_STREAM_MAX;
        if full || self.asked.contains(pair) {
            return None;
        }
        self.asked.push(pair.clone());
        let key = self.server.streams.secret.key(&pair.remote, &pair.local, &self.stream.id);
        let says = Says::Key(key.into());
        let (from, to) = (pair.local.clone(), pair.remote.clone());
        Some(Dialback { kind: Kind::Result, from, to, says }.to_xml())
    }

    /// Whether keys of the peer are being verified.
    pub fn is_checking(&self) -> bool {
        !self.checking.is_empty()
    }

    /// Takes an element of the namespace of dialback. An error ends the stream.
    pub fn hear(&mut self, element: Element<'_>) -> Result<Heard, StreamError> {
        let element = Dialback::read(element)?;
        match (&element.kind, &element.says) {
            (Kind::Verify(id), Says::Key(key)) => {
                let says = self.judge(&element, id, key)?;
                Ok(Heard::say(&element.answer(says)))
            }
            // §3.1: this server asks on streams of its own, which end with the answer.
            (Kind::Verify(_), _) => Err(unsolicited()),
            (Kind::Result, Says::Key(_)) => self.begin_checking(element),
            (Kind::Result, _) => self.answered(element),
        }
    }

    /// Waits for keys of the peer that are being verified; pending for ever when there are none.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Heard> {
        for at in 0..self.checking.len() {
            let Some((_, check)) = self.checking.get_mut(at) else { break };
            if let Poll::Ready(verdict) = check.as_mut().poll(context) {
                let (element, _) = self.checking.swap_remove(at);
                return Poll::Ready(self.conclude(&element, verdict));
            }
        }
        Poll::Pending
    }

    /// XEP-0220 §2.2: only who may send stanzas on the stream asks for something on it.
    fn may_ask(&self) -> Result<(), StreamError> {
        match self.stream.role == Role::Receiving || self.stream.bidi {
            true => Ok(()),
            false => Err(StreamError::new(StreamCondition::NotAuthorized)
                .text("dialback is for the server that opened the stream")),
        }
    }

    /// XEP-0220 §2.2.2, as the authoritative server: whether a key is one of ours. Who asks need not
    /// be known, since the answer is of use to nobody but the server that the key was made for.
    fn judge(&self, element: &Dialback, id: &str, key: &str) -> Result<Says, StreamError> {
        self.may_ask()?;
        if !is_ours(&self.server, &element.to) {
            return Ok(Says::Error(Fault::new("item-not-found")));
        }
        if let Some(fault) = self.lacks_tls() {
            return Ok(Says::Error(fault));
        }
        let fits = self.server.streams.secret.fits(key, &element.from, &element.to, id);
        if !fits {
            tracing::warn!(
                stream = %self.stream.id, peer = %self.stream.peer, by = %element.from,
                "somebody has shown another server a dialback key that is none of ours"
            );
        }
        Ok(if fits { Says::Valid } else { Says::Invalid })
    }

    fn lacks_tls(&self) -> Option<Fault> {
        let lacks = !self.stream.secure && self.server.streams.rules().require_tls;
        lacks.then(|| Fault::new("policy-violation").text("TLS comes first"))
    }

    /// XEP-0220 §2.2.1, as the receiving server: begins to verify a key of the peer.
    fn begin_checking(&mut self, element: Dialback) -> Result<Heard, StreamError> {
        self.may_ask()?;
        let pair = Pair { local: element.to.clone(), remote: element.from.clone() };
        if let Some(fault) = self.refuses(&pair) {
            tracing::info!(stream = %self.stream.id, %pair, %fault, "dialback refused");
            return Ok(Heard::say(&element.answer(Says::Error(fault))));
        }
        if self.pairs.find(&pair).is_some_and(|known| known.receives) {
            return Ok(Heard::say(&element.answer(Says::Valid)));
        }
        let place = match self.has_room(&element) {
            true => self.server.streams.begin_verifying(self.stream.peer),
            false => None,
        };
        let (Some(place), Says::Key(key)) = (place, &element.says) else {
            let fault = Fault::new("resource-constraint");
            return Ok(Heard::say(&element.answer(Says::Error(fault))));
        };
        let (server, id) = (self.server.clone(), self.stream.id.clone());
        let (chain, key) = (self.stream.chain.clone(), key.clone());
        let check = Box::pin(async move {
            let limit = Duration::from_secs(VERIFY_SECS);
            let check = verify::check(&server, &pair, &chain, (&id, &key));
            let verdict = tokio::time::timeout(limit, check).await;
            drop(place);
            let late = || Verdict::Unknown(Fault::new("remote-server-timeout"));
            verdict.unwrap_or_else(|_| late())
        });
        self.checking.push((element, check));
        Ok(Heard::default())
    }

    /// Why a pair is not even looked at (XEP-0220 §2.5).
    fn refuses(&self, pair: &Pair) -> Option<Fault> {
        if !is_ours(&self.server, &pair.local) {
            return Some(Fault::new("item-not-found"));
        }
        // Ours is here, so who speaks for it elsewhere is somebody else.
        if is_ours(&self.server, &pair.remote) {
            return Some(Fault::new("not-acceptable").text("that domain is served here"));
        }
        if !self.server.streams.rules().admits(pair) {
            return Some(Fault::new("policy-violation").text("not federated with"));
        }
        self.lacks_tls()
    }

    fn has_room(&self, element: &Dialback) -> bool {
        let twice =
            |(other, _): &(Dialback, _)| other.from == element.from && other.to == element.to;
        self.pairs.len() < PAIRS_PER_STREAM_MAX
            && self.checking.len() < VERIFYING_PER_STREAM_MAX
            && !self.checking.iter().any(twice)
    }

    fn conclude(&mut self, element: &Dialback, verdict: Verdict) -> Heard {
        let pair = Pair { local: element.to.clone(), remote: element.from.clone() };
        match verdict {
            Verdict::Valid(trust) => {
                tracing::info!(stream = %self.stream.id, %pair, ?trust, "pair verified");
                let sends = self.stream.bidi;
                self.pairs.add(Verified { pair: pair.clone(), trust, sends, receives: true });
                let heard = Heard::say(&element.answer(Says::Valid));
                Heard { change: Some(Change::MayReceive(pair)), ..heard }
            }
            Verdict::Invalid => {
                tracing::warn!(
                    stream = %self.stream.id, peer = %self.stream.peer, %pair,
                    "wrong dialback key: a forgery, or two servers of a domain with two secrets"
                );
                // §2.2.1: the first pair of a stream takes it with it.
                let ends = self.pairs.is_empty();
                let forbidden = Says::Error(Fault::new("forbidden"));
                let says = if ends { Says::Invalid } else { forbidden };
                Heard { ends, ..Heard::say(&element.answer(says)) }
            }
            Verdict::Unknown(fault) => {
                tracing::info!(stream = %self.stream.id, %pair, %fault, "pair not verified");
                Heard::say(&element.answer(Says::Error(fault)))
            }
        }
    }

    /// XEP-0220 §2.1.1, as the initiating server: the answer to a key of ours. §3.1: it counts only
    /// on the stream that we asked on, and only once.
    fn answered(&mut self, element: Dialback) -> Result<Heard, StreamError> {
        let pair = Pair { local: element.to.clone(), remote: element.from.clone() };
        let Some(at) = self.asked.iter().position(|asked| *asked == pair) else {
            return Err(unsolicited());
        };
        self.asked.swap_remove(at);
        let change = match &element.says {
            Says::Valid => {
                let (trust, receives) = (self.stream.trust, self.stream.bidi);
                self.pairs.add(Verified { pair: pair.clone(), trust, sends: true, receives });
                Change::MaySend(pair)
            }
            Says::Error(fault) => {
                let why = plain(&fault.to_string());
                let cause = format!("{} cannot verify {}: {why}", pair.remote, pair.local);
                let retry = &*fault.condition != "item-not-found";
                let condition = Condition::RemoteServerTimeout;
                Change::Refused(pair, Failure::new(condition, retry, vec![cause]))
            }
            Says::Invalid | Says::Key(_) => {
                let cause = format!(
                    "{} was told that the dialback key of {} is wrong: another server answers for \
                     it, see its SRV records",
                    pair.remote, pair.local
                );
                let condition = Condition::InternalServerError;
                Change::Refused(pair, Failure::new(condition, true, vec![cause]))
            }
        };
        Ok(Heard { change: Some(change), ..Heard::default() })
    }
}

/// XEP-0220 §3.1: an answer to what was not asked on this stream. RFC 6120 §4.9.3.9 fits: its `from` is
/// not validated.
fn unsolicited() -> StreamError {
    StreamError::new(StreamCondition::InvalidFrom).text("nobody has asked for this dialback answer")
}
