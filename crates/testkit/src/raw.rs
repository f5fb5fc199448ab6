//! A connection for attacks: any bytes out, and the reaction that must follow.

use crate::address::Address;
use crate::node::{NS_CLIENT, NS_STREAM, Node, escape};
use crate::place::{Link, Place, Security};
use crate::reader::Item;
use crate::sasl;
use crate::wire::{PATIENCE, Trouble, Wire};

const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const NS_PING: &str = "urn:xmpp:ping";

/// A connection on which nothing has been said yet.
pub struct Raw {
    wire: Wire,
    domain: String,
    security: Security,
}

impl Raw {
    /// Connects; direct TLS is up when this returns, a stream is not.
    pub async fn connect(place: &impl Place, address: &Address) -> Result<Self, Trouble> {
        Self::over(place.connect(address).await?, address).await
    }

    /// Takes over a connection.
    pub async fn over(link: Link, address: &Address) -> Result<Self, Trouble> {
        let security = link.security;
        let wire = Wire::new(link, &address.domain, PATIENCE).await?;
        Ok(Self { wire, domain: address.domain.clone(), security })
    }

    /// Opens a stream, does STARTTLS if that is the way, and gives back the features.
    pub async fn open(&mut self) -> Result<Node, Trouble> {
        self.wire.open(&self.domain, self.security).await
    }

    /// Opens a stream, goes no further and gives back the features.
    pub async fn open_plain(&mut self) -> Result<Node, Trouble> {
        self.wire.open(&self.domain, Security::None).await
    }

    /// Asks for STARTTLS and shakes hands; no stream is open behind that.
    pub async fn start_tls(&mut self) -> Result<(), Trouble> {
        self.wire.start_tls(&self.domain).await
    }

    /// Opens the stream anew on the same connection, as after a login.
    pub async fn reopen(&mut self) -> Result<Node, Trouble> {
        self.wire.open_stream(&self.domain).await
    }

    /// Takes what comes next for the beginning of a document, as behind STARTTLS and a login.
    pub fn begin_anew(&mut self) {
        self.wire.begin_anew();
    }

    /// Logs in on a stream with these features, up to the success.
    pub async fn authenticate(
        &mut self,
        features: &Node,
        name: &str,
        password: &str,
    ) -> Result<(), Trouble> {
        sasl::authenticate(&mut self.wire, features, name, password).await
    }

    /// Binds a resource, or with an empty one what the server chooses; gives back the full JID.
    pub async fn bind(&mut self, resource: &str) -> Result<String, Trouble> {
        let wish = match resource {
            "" => String::new(),
            resource => format!("<resource>{}</resource>", escape(resource)),
        };
        let request =
            format!("<iq type='set' id='bind'><bind xmlns='{NS_BIND}'>{wish}</bind></iq>");
        self.send(request.as_bytes()).await?;
        let answer = self.answer("bind").await?;
        let jid = answer.child("bind", NS_BIND).and_then(|bind| bind.child("jid", NS_BIND));
        match jid {
            Some(jid) => Ok(jid.text()),
            None => Err(Trouble::Unexpected("a resource".to_owned(), Box::new(answer))),
        }
    }

    /// Sends a ping to somebody and waits for its answer.
    pub async fn ping(&mut self, to: &str) -> Result<(), Trouble> {
        let answer = self.ask(to, "get", &format!("<ping xmlns='{NS_PING}'/>")).await?;
        match answer.attr("type") {
            Some("result") => Ok(()),
            _ => Err(Trouble::Unexpected("an answer to a ping".to_owned(), Box::new(answer))),
        }
    }

    /// Sends a request and waits for its answer; what comes before it is passed over.
    pub async fn ask(&mut self, to: &str, kind: &str, payload: &str) -> Result<Node, Trouble> {
        let to = match to {
            "" => String::new(),
            to => format!(" to='{}'", escape(to)),
        };
        self.send(format!("<iq type='{kind}' id='asked'{to}>{payload}</iq>").as_bytes()).await?;
        self.answer("asked").await
    }

    /// Waits for the answer with this id; what comes before it is passed over.
    pub async fn answer(&mut self, id: &str) -> Result<Node, Trouble> {
        loop {
            let node = self.element().await?;
            if node.is("error", NS_STREAM) {
                return Err(Trouble::Unexpected(format!("the answer {id}"), Box::new(node)));
            }
            if node.is("iq", NS_CLIENT) && node.attr("id") == Some(id) {
                return Ok(node);
            }
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.wire.send(bytes).await
    }

    /// Waits for the next element.
    pub async fn element(&mut self) -> Result<Node, Trouble> {
        self.wire.element("an element").await
    }

    /// Waits for the next item: a header, an element or the close.
    pub async fn item(&mut self) -> Result<Item, Trouble> {
        self.wire.item("anything").await
    }

    /// All that comes up to the end of the connection.
    pub async fn rest(&mut self) -> Result<Vec<Item>, Trouble> {
        let mut items = Vec::new();
        loop {
            match self.item().await {
                Ok(item) => items.push(item),
                Err(Trouble::Closed(_)) => return Ok(items),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Waits for this stream error, before which only header and features may come, and for the end
    /// of the connection (RFC 6120 §4.9.1.1, §4.9.1.2).
    pub async fn expect_stream_error(&mut self, condition: &str) -> Result<(), Trouble> {
        let what = format!("the stream error <{condition}/>");
        loop {
            let node = match self.wire.item(&what).await? {
                Item::Open(node) | Item::Element(node) => node,
                Item::Close => return Err(Trouble::Closed(what)),
            };
            if node.is("stream", NS_STREAM) || node.is("features", NS_STREAM) {
                continue;
            }
            if !node.is("error", NS_STREAM) || node.child(condition, NS_STREAMS).is_none() {
                return Err(Trouble::Unexpected(what, Box::new(node)));
            }
            return self.expect_closed().await;
        }
    }

    /// Waits for the end of the connection; nothing may come before it.
    pub async fn expect_closed(&mut self) -> Result<(), Trouble> {
        self.wire.expect_end().await
    }

    /// Waits longer, or less long, for whatever comes from now on.
    pub fn set_patience(&mut self, patience: std::time::Duration) {
        self.wire.set_patience(patience);
    }
}
