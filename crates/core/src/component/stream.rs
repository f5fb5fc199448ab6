//! XEP-0114 §3: a component's stream from its first byte to the handshake, whoever has connected.

use std::sync::Arc;
use std::time::Duration;

use verona_xmpp::component::{handshake, proves};
use verona_xmpp::error::StreamCondition;
use verona_xmpp::jid::Jid;
use verona_xmpp::stream::{Content, Header, Opening};

use crate::component::connected::Component;
use crate::component::session::Session;
use crate::link::Link;
use crate::server::Server;
use crate::stream::login::note_failure;
use crate::stream::open::{End, Incoming, Open};
use crate::stream::wire::Wire;
use crate::token;

/// Serves the connection of a component until it ends. `known` is called when it has proven the
/// secret.
pub async fn serve(server: Arc<Server>, wire: Box<dyn Wire>, known: Box<dyn FnOnce() + Send>) {
    let peer = wire.peer();
    let open = Open::with_component(server, wire, Content::Component);
    let session = Box::pin(negotiate(Negotiation { open, domain: None }, peer)).await;
    if let Some(session) = session {
        known();
        session.run().await;
    }
}

/// Serves a connection that this server has made to a component, until it ends. True: the component
/// had proven to be there.
pub async fn serve_called(server: Arc<Server>, component: Jid, wire: Box<dyn Wire>) -> bool {
    let peer = wire.peer();
    let open = Open::with_component(server, wire, Content::ComponentConnect);
    let negotiation = Negotiation { open, domain: Some(component) };
    let session = Box::pin(negotiate(negotiation, peer)).await;
    match session {
        Some(session) => {
            session.run().await;
            true
        }
        None => false,
    }
}

async fn negotiate(mut stream: Negotiation, peer: std::net::IpAddr) -> Option<Session> {
    let called = stream.domain.is_some();
    let entered = if called { stream.call().await } else { stream.answer().await };
    let Negotiation { mut open, domain } = stream;
    match entered {
        Ok((component, link, number)) => {
            let id = open.id.clone();
            let jid = &component.jid;
            tracing::info!(stream = %id, component = %jid, %peer, called, "component is connected");
            open.wire.settle();
            let unread = open.take_unread();
            let content = if called { Content::ComponentConnect } else { Content::Component };
            Some(Session {
                server: open.server,
                component,
                link,
                number,
                wire: open.wire,
                scanner: open.scanner,
                unread,
                content,
                stream: id,
            })
        }
        Err(end) => {
            if let End::Error(error) = &end {
                let component = domain.as_ref().map(Jid::as_str).unwrap_or("?");
                tracing::warn!(stream = %open.id, %component, %peer, %error, "component is refused");
            }
            open.finish(end, domain.as_ref(), peer).await;
            None
        }
    }
}

struct Negotiation {
    open: Open,
    /// The component's domain: as its header said, or as we call it.
    domain: Option<Jid>,
}

type Entered = (Arc<Component>, Arc<Link>, u64);

impl Negotiation {
    /// The component has connected.
    async fn answer(&mut self) -> Result<Entered, End> {
        let secs = self.open.server.policy().limits.first_byte_secs;
        let header = tokio::time::timeout(Duration::from_secs(secs), self.header());
        let header =
            header.await.unwrap_or_else(|_| Err(StreamCondition::ConnectionTimeout.into()))?;
        // The header says who wants to be served, not where.
        let to = header.to.ok_or_else(|| End::from(StreamCondition::HostUnknown))?;
        let component = self.open.server.components.find(to.domain());
        let component = component.ok_or_else(|| End::from(StreamCondition::HostUnknown))?;
        self.domain = Some(to.clone());
        let id = token::random();
        let reply = Opening {
            content: Content::Component,
            from: Some(&to),
            to: None,
            id: Some(&id),
            version: None,
            dialback: false,
        };
        self.open.answer_header(&reply);
        let element = self.open.element().await?;
        let root = element.root();
        let right = root.is("handshake", Content::Component.ns())
            && proves(&root.text(), &id, &component.settings().secret);
        if !right {
            // Not even what the component wants to say is looked at before.
            note_failure(&self.open.server, self.open.wire.peer()).await;
            return Err(StreamCondition::NotAuthorized.into());
        }
        self.enter(component, true).await
    }

    /// We have connected to the component.
    async fn call(&mut self) -> Result<Entered, End> {
        let domain = self.domain.clone().ok_or(End::Gone)?;
        let component = self.open.server.components.named(&domain).ok_or(End::Gone)?;
        // §3, note 2: here it is `from` that names the component.
        let opening = Opening {
            content: Content::ComponentConnect,
            from: Some(&domain),
            to: None,
            id: None,
            version: None,
            dialback: false,
        };
        self.open.send_header(&opening).await?;
        let header = self.header().await?;
        let id = header.id.ok_or_else(|| End::from(StreamCondition::InvalidXml))?;
        self.open.id.clone_from(&id);
        // §3, note 3: who has connected proves the secret.
        let proof = handshake(&id, &component.settings().secret);
        let ns = Content::ComponentConnect.ns();
        self.open
            .send_with(|w| {
                w.start("handshake", ns).text(&proof).end();
            })
            .await?;
        let element = self.open.element().await?;
        if !element.root().is("handshake", ns) {
            return Err(StreamCondition::NotAuthorized.into());
        }
        self.enter(component, false).await
    }

    async fn header(&mut self) -> Result<Header, End> {
        match self.open.next().await? {
            Incoming::Header(header) => header.map_err(End::Error),
            Incoming::Element(_) => Err(StreamCondition::InvalidXml.into()),
            Incoming::Close => Err(End::Closed),
        }
    }

    /// A place among the component's connections; `conflict` when all are taken.
    async fn enter(&mut self, component: Arc<Component>, answer: bool) -> Result<Entered, End> {
        let link = Arc::new(Link::new(component.jid.clone(), self.open.server.clock.uptime_secs()));
        let Some((number, must_tend)) = component.enter(&link) else {
            return Err(StreamCondition::Conflict.into());
        };
        if must_tend {
            tokio::spawn(self.open.server.clone().tend_queue(component.clone()));
        }
        if answer && let Err(end) = self.open.send("<handshake/>").await {
            let left = self.open.server.component_left(&component, number);
            self.open.server.settle_left(&component, left).await;
            return Err(end);
        }
        Ok((component, link, number))
    }
}
