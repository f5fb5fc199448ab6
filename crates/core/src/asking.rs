//! How the server asks entities something, on behalf of an address that it serves.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Writer;
use verona_xmpp::error::StanzaError;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::limits::QUESTION_SECS;
use crate::server::Server;

/// What became of a request.
#[derive(Debug)]
pub enum Told {
    /// The result.
    Result(Box<Stanza>),
    /// An error came, from who was asked or from who stands between.
    Refused(StanzaError),
    /// Nothing came in time, or too much is being asked already.
    Nothing,
}

impl Server {
    /// Asks an entity with an IQ of type get, from one of our addresses; `payload` is XML that the
    /// server wrote. The result, or None: an error came, nothing came in time, or too much is being
    /// asked already.
    pub async fn inquire(
        self: &Arc<Self>,
        asker: &Jid,
        asked: &Jid,
        payload: &str,
    ) -> Option<Stanza> {
        match self.ask_for((asker, asked), "get", payload).await {
            Told::Result(answer) => Some(*answer),
            Told::Refused(_) | Told::Nothing => None,
        }
    }

    /// Sends an entity an IQ of type set, from one of our addresses, and waits for what becomes of
    /// it; `payload` is XML that the server wrote.
    pub async fn demand(self: &Arc<Self>, asker: &Jid, asked: &Jid, payload: &str) -> Told {
        self.ask_for((asker, asked), "set", payload).await
    }

    async fn ask_for(self: &Arc<Self>, pair: (&Jid, &Jid), kind: &str, payload: &str) -> Told {
        let Some(answer) = self.put_question(pair, kind, payload).await else {
            return Told::Nothing;
        };
        if answer.iq_type() == Some(IqType::Result) {
            return Told::Result(Box::new(answer));
        }
        let error = answer.child("error", ns::CLIENT).and_then(|error| error.tree());
        match error {
            Some(error) => Told::Refused(StanzaError::read(error.root())),
            None => Told::Nothing,
        }
    }

    /// Asks an entity with an IQ, from one of our addresses to it; `payload` is XML that the server
    /// wrote. The answer, a result or an error, or None: nothing came in time, or too much is being
    /// asked already.
    pub async fn put_question(
        self: &Arc<Self>,
        (asker, asked): (&Jid, &Jid),
        kind: &str,
        payload: &str,
    ) -> Option<Stanza> {
        let mut question = self.questions.open(asker, asked)?;
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("iq", ns::CLIENT).attr("to", asked.as_str()).attr("from", asker.as_str());
        writer.attr("id", &question.id).attr("type", kind).raw(payload).end();
        let request = Stanza::parse(&writer.finish()).ok()?;
        self.send(vec![request]).await;
        let patience = Duration::from_secs(QUESTION_SECS);
        tokio::time::timeout(patience, question.answer()).await.ok()?
    }
}
