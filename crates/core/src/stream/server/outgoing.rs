//! A stream to another server as the initiating entity: from a pair of domains to a stream on which
//! its stanzas may be sent.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Tree;
use verona_xmpp::error::{Condition, StreamCondition};
use verona_xmpp::ns;
use verona_xmpp::sasl::mechanism::Mechanism;

use crate::federation::reach::Pair;
use crate::limits::{CALL_SECS, REDIRECTS_MAX, VERIFY_SECS};
use crate::server::Server;
use crate::stream::management::Managed;
use crate::stream::open::End;
use crate::stream::server::calling::{Called, call};
use crate::stream::server::dialback::{About, Change, Dialbacks};
use crate::stream::server::established::Established;
use crate::stream::server::failure::{Failure, plain};
use crate::stream::server::features::ask_bidi;
use crate::stream::server::managing::{self, Command, ENABLE};
use crate::stream::server::pairs::Verified;
use crate::stream::server::side::Role;

/// What comes of an attempt: without a stream, the counters of the former one come back.
pub type Attempt = Result<Established, (Failure, Option<Box<Managed>>)>;

/// Establishes a stream over which a pair's stanzas may be sent. `former` are the counters of the
/// stream before, which is resumed if the peer can.
pub async fn establish(
    server: &Arc<Server>,
    pair: &Pair,
    mut former: Option<Box<Managed>>,
) -> Attempt {
    if !server.streams.rules().admits(pair) {
        let steps = vec![format!("{} is not federated with", pair.remote)];
        let condition = Condition::NotAllowed;
        return Err((Failure::new(condition, false, steps), former));
    }
    // What negotiates is large, and ends before the long-lived part begins.
    let negotiated = Box::pin(negotiate(server, pair, &mut former));
    match tokio::time::timeout(Duration::from_secs(CALL_SECS), negotiated).await {
        Ok(Ok(established)) => Ok(Established { former, ..established }),
        Ok(Err(failure)) => Err((failure, former)),
        Err(_) => {
            let steps = vec!["it takes too long to negotiate".to_owned()];
            let condition = Condition::RemoteServerTimeout;
            Err((Failure::new(condition, true, steps), former))
        }
    }
}

async fn negotiate(
    server: &Arc<Server>,
    pair: &Pair,
    former: &mut Option<Box<Managed>>,
) -> Result<Established, Failure> {
    let (mut steps, mut elsewhere) = (Vec::new(), None::<Box<str>>);
    for _ in 0..=REDIRECTS_MAX {
        match negotiate_at(server, pair, elsewhere.as_deref(), former).await {
            Ok(mut established) => {
                steps.append(&mut established.steps);
                return Ok(Established { steps, ..established });
            }
            Err(mut failure) => {
                steps.append(&mut failure.steps);
                elsewhere = failure.elsewhere.take();
                if elsewhere.is_none() {
                    return Err(Failure { steps, ..failure });
                }
            }
        }
    }
    steps.push("it was one redirection too many".to_owned());
    Err(Failure::new(Condition::RemoteServerTimeout, true, steps))
}

async fn negotiate_at(
    server: &Arc<Server>,
    pair: &Pair,
    elsewhere: Option<&str>,
    former: &mut Option<Box<Managed>>,
) -> Result<Established, Failure> {
    let called = call(server, pair, elsewhere).await?;
    let about = About {
        role: Role::Initiating,
        id: called.open.id.clone(),
        secure: called.open.wire.is_secure(),
        bidi: false,
        peer: called.open.wire.peer(),
        // Only who may ask something is judged by it (XEP-0288 §2.2).
        chain: Arc::new(if called.offer.bidi { called.open.wire.peer_chain() } else { Vec::new() }),
        trust: called.trust,
    };
    let dialbacks = Dialbacks::new(server.clone(), about);
    let mut caller = Caller { called, dialbacks, early: Vec::new() };
    match caller.verify_and_manage(former).await {
        Ok((managed, resumed)) => Ok(caller.establish(managed, resumed)),
        Err(Stop::End(end)) => Err(caller.called.fail(end).await),
        Err(Stop::Refused(failure)) => Err(caller.refused(failure).await),
    }
}

/// Why a stream is not gone on with.
enum Stop {
    End(End),
    /// The peer will not have us.
    Refused(Failure),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

struct Caller {
    called: Called,
    dialbacks: Dialbacks,
    early: Vec<Tree>,
}

impl Caller {
    async fn verify_and_manage(
        &mut self,
        former: &mut Option<Box<Managed>>,
    ) -> Result<(Option<Box<Managed>>, bool), Stop> {
        let external = self.called.offer.external && self.external().await?;
        if !external {
            self.dialback().await?;
        }
        self.called.open.authenticated();
        Ok(self.manage(former).await?)
    }

    /// XEP-0288 §2.2: asked for before the authentication, in the same breath.
    fn bidi(&mut self) -> String {
        if self.dialbacks.stream().bidi || !self.called.offer.bidi {
            return String::new();
        }
        self.dialbacks.set_bidi();
        ask_bidi(&self.called.open.server.policy().limits)
    }

    /// RFC 6120 §6, XEP-0178 §3: authenticates by certificate. False when the peer does not take it,
    /// but may yet take dialback.
    async fn external(&mut self) -> Result<bool, End> {
        let mut text = self.bidi();
        // XEP-0178 §3 (10): "=", since we act as who the header is from and as nobody else.
        text.push_str("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='");
        text.push_str(Mechanism::External.name());
        text.push_str("'>=</auth>");
        self.called.open.send(&text).await?;
        let answer = self.called.element().await?;
        let answer = answer.root();
        if answer.is("failure", ns::SASL) {
            let why = answer.children().find(|child| child.name() != "text");
            let why = plain(why.map_or("no reason given", |why| why.name()));
            self.called.steps.push(format!("it does not take our certificate: {why}"));
            return Ok(false);
        }
        if !answer.is("success", ns::SASL) {
            return Err(StreamCondition::NotAuthorized.into());
        }
        self.called.steps.push("authenticated by our certificate".to_owned());
        let (pair, trust) = (self.called.pair.clone(), self.called.trust);
        let receives = self.dialbacks.stream().bidi;
        self.dialbacks.pairs.add(Verified { pair, trust, sends: true, receives });
        // RFC 6120 §6.4.6.
        self.called.open.restart_keeping();
        self.called.greet().await?;
        self.dialbacks.set_id(self.called.open.id.clone());
        Ok(true)
    }

    /// XEP-0220 §2.1.1 over TLS (XEP-0344).
    async fn dialback(&mut self) -> Result<(), Stop> {
        let pair = self.called.pair.clone();
        if !self.called.offer.dialback {
            let cause = "it offers neither EXTERNAL nor dialback: it wants a certificate that it \
                         trusts";
            let condition = Condition::RemoteServerTimeout;
            return Err(Stop::Refused(Failure::new(condition, true, vec![cause.to_owned()])));
        }
        // The peer has a server of ours to ask first.
        self.called.open.wait_for(VERIFY_SECS.saturating_add(5));
        let mut text = self.bidi();
        text.push_str(&self.dialbacks.ask(&pair).unwrap_or_default());
        self.called.open.send(&text).await?;
        loop {
            let tree = self.called.element().await?;
            if tree.root().ns() != ns::DIALBACK {
                return Err(End::from(StreamCondition::NotAuthorized).into());
            }
            let heard = self.dialbacks.hear(tree.root()).map_err(End::Error)?;
            self.called.open.send(&heard.say).await?;
            match heard.change {
                Some(Change::MaySend(_)) => {
                    self.called.steps.push("verified by dialback".to_owned());
                    return Ok(());
                }
                Some(Change::Refused(_, failure)) => return Err(Stop::Refused(failure)),
                _ => {}
            }
        }
    }

    /// XEP-0198 §3, §5: resumes the stream before this, or has this one managed.
    async fn manage(
        &mut self,
        former: &mut Option<Box<Managed>>,
    ) -> Result<(Option<Box<Managed>>, bool), End> {
        if !self.called.offer.managed {
            return Ok((None, false));
        }
        if let Some(managed) = former.as_mut().filter(|former| !former.id.is_empty()) {
            match self.resume(managed).await {
                Ok(true) => return Ok((former.take(), true)),
                // The stream was lost, the counters were not.
                Err(End::Gone) => return Err(End::Gone),
                outcome => {
                    managed.id = Box::default();
                    outcome?;
                }
            }
        }
        self.called.open.send(ENABLE).await?;
        Ok((Some(Box::new(Managed::new(Box::default(), 0))), false))
    }

    async fn resume(&mut self, managed: &mut Managed) -> Result<bool, End> {
        self.called.open.send(&managing::resume(managed)).await?;
        loop {
            let tree = self.called.element().await?;
            let element = tree.root();
            if element.ns() == ns::DIALBACK {
                let heard = self.dialbacks.hear(element).map_err(End::Error)?;
                self.called.open.send(&heard.say).await?;
                continue;
            }
            if element.ns() == ns::SERVER && self.dialbacks.stream().bidi {
                self.early.push(tree);
                continue;
            }
            if element.ns() != ns::SM {
                return Err(StreamCondition::UnsupportedStanzaType.into());
            }
            match Command::read_tree(element) {
                Command::Resumed(Some((previd, h))) if previd == managed.id => {
                    managed.acknowledged(h).map_err(End::Error)?;
                    self.called.steps.push("resumed".to_owned());
                    return Ok(true);
                }
                Command::Failed(handled) => {
                    // §5: what was handled until then is known all the same.
                    if let Some(h) = handled {
                        let _ = managed.acknowledged(h);
                    }
                    self.called.steps.push("the stream before is not known there".to_owned());
                    return Ok(false);
                }
                // Of who cannot count yet, an answer may be asked for.
                Command::Request => continue,
                _ => return Err(StreamCondition::UnsupportedStanzaType.into()),
            }
        }
    }

    async fn refused(self, failure: Failure) -> Failure {
        let Self { mut called, .. } = self;
        let (condition, retry) = (failure.condition, failure.retry);
        called.steps.extend(failure.steps);
        let cause = called.steps.pop().unwrap_or_default();
        Failure { condition, ..called.give_up(cause, retry).await }
    }

    fn establish(self, managed: Option<Box<Managed>>, resumed: bool) -> Established {
        let Self { called, dialbacks, early } = self;
        let Called { mut open, takes, target, steps, .. } = called;
        open.wire.settle();
        let unread = open.take_unread();
        tracing::info!(stream = %open.id, pair = %called.pair, ?steps, "stream established");
        Established {
            wire: open.wire,
            scanner: open.scanner,
            unread,
            id: open.id,
            role: Role::Initiating,
            bidi: dialbacks.stream().bidi,
            dialbacks,
            managed,
            resumed,
            former: None,
            early,
            takes,
            target: Some(target),
            steps,
        }
    }
}
