//! A connection for attacks: any bytes out, and the reaction that must follow.

use crate::address::Address;
use crate::node::{NS_STREAM, Node};
use crate::place::{Place, Security};
use crate::wire::{PATIENCE, Trouble, Wire};

const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// A connection on which nothing has been said yet.
pub struct Raw {
    wire: Wire,
    domain: String,
    security: Security,
}

impl Raw {
    /// Connects; direct TLS is up when this returns, a stream is not.
    pub async fn connect(place: &impl Place, address: &Address) -> Result<Self, Trouble> {
        let link = place.connect(address).await?;
        let security = link.security;
        let wire = Wire::new(link, &address.domain, PATIENCE).await?;
        Ok(Self { wire, domain: address.domain.clone(), security })
    }

    /// Opens a stream, does STARTTLS if that is the way, and gives back the features.
    pub async fn open(&mut self) -> Result<Node, Trouble> {
        self.wire.open(&self.domain, self.security).await
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.wire.send(bytes).await
    }

    /// Waits for the next element.
    pub async fn element(&mut self) -> Result<Node, Trouble> {
        self.wire.element("an element").await
    }

    /// Waits for this stream error, before which only header and features may come, and for the end
    /// of the connection (RFC 6120 §4.9.1.1, §4.9.1.2).
    pub async fn expect_stream_error(&mut self, condition: &str) -> Result<(), Trouble> {
        let what = format!("the stream error <{condition}/>");
        loop {
            let node = match self.wire.item(&what).await? {
                crate::reader::Item::Open(node) | crate::reader::Item::Element(node) => node,
                crate::reader::Item::Close => return Err(Trouble::Closed(what)),
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
}
