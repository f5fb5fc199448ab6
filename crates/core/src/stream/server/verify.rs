//! Whether a server that shows a dialback key may speak for a domain: by its certificate, or by asking
//! the domain's authoritative server on a connection of its own (XEP-0220 §2.1.2, XEP-0344).

use std::sync::Arc;

use verona_xmpp::dialback::{Dialback, Fault, Kind, Says};
use verona_xmpp::error::Condition;

use crate::federation::reach::Pair;
use crate::server::Server;
use crate::stream::open::End;
use crate::stream::server::calling::{Called, call};
use crate::stream::server::pairs::Trust;

/// What comes of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The peer may speak for the domain.
    Valid(Trust),
    /// It may not.
    Invalid,
    /// Nobody could tell.
    Unknown(Fault),
}

/// Judges a key (`stream` is the id of its stream, and the key) of a peer with these certificates.
pub async fn check(
    server: &Arc<Server>,
    pair: &Pair,
    chain: &[Vec<u8>],
    stream: (&str, &str),
) -> Verdict {
    let distrust = match server.streams.reach() {
        // XEP-0344 §2.4: a certificate that proves the domain spares the way to its server.
        Some(reach) if !chain.is_empty() => {
            match reach.judge(chain, pair.remote.domain(), None).await {
                Ok(proof) => return Verdict::Valid(proof.into()),
                Err(distrust) => distrust.to_string(),
            }
        }
        _ => "no certificate was shown".to_owned(),
    };
    if server.streams.rules().require_certificate {
        return Verdict::Unknown(Fault::new("not-authorized").text(distrust));
    }
    let called = match call(server, pair, None).await {
        Ok(called) => called,
        Err(failure) => {
            tracing::info!(%pair, steps = ?failure.steps, "authoritative server not reached");
            // XEP-0220 §2.5.
            return Verdict::Unknown(Fault::new(match failure.condition {
                Condition::RemoteServerNotFound => "remote-server-not-found",
                _ => "remote-connection-failed",
            }));
        }
    };
    if is_same(server, &called, chain) {
        let trust = called.trust;
        leave(called);
        return Verdict::Valid(trust);
    }
    ask(called, stream).await
}

/// XEP-0344 §2.6: whether the peer and the authoritative server have shown one certificate, which is
/// for the domain. Both have its key, so they are one, and the dialback key need not be asked about.
fn is_same(server: &Server, called: &Called, chain: &[Vec<u8>]) -> bool {
    let domain = called.pair.remote.domain();
    !chain.is_empty()
        && called.open.wire.peer_chain().first() == chain.first()
        && server.streams.reach().is_some_and(|reach| reach.names(chain, domain))
}

/// XEP-0220 §2.1.2: asks whether a key is right, and leaves with the answer.
async fn ask(mut called: Called, (id, key): (&str, &str)) -> Verdict {
    let question = Dialback {
        kind: Kind::Verify(id.into()),
        from: called.pair.local.clone(),
        to: called.pair.remote.clone(),
        says: Says::Key(key.into()),
    };
    let answer = async {
        called.open.send(&question.to_xml()).await?;
        let tree = called.element().await?;
        Dialback::read(tree.root()).map_err(End::Error)
    };
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(end) => {
            let failure = called.fail(end).await;
            tracing::info!(steps = ?failure.steps, "authoritative server gave no answer");
            return Verdict::Unknown(Fault::new("remote-server-timeout"));
        }
    };
    // §2.1.2, §3.1: it has to be the answer to this very question.
    let fits =
        answer.kind == question.kind && answer.from == question.to && answer.to == question.from;
    let verdict = match answer.says {
        Says::Valid if fits => Verdict::Valid(called.trust),
        Says::Invalid if fits => Verdict::Invalid,
        // §2.5: whatever goes wrong there.
        _ => Verdict::Unknown(Fault::new("remote-server-not-found")),
    };
    leave(called);
    verdict
}

/// Nobody waits for the end of the stream.
fn leave(called: Called) {
    tokio::spawn(called.open.finish(End::Closed, None, called.pair.remote));
}
