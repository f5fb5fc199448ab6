//! RFC 6120 §4.2 to §7: a client's stream from its first byte to a bound resource.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Tree;
use verona_xmpp::error::StreamCondition;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stream::{Content, Header, Opening, Version};

use crate::hooks::notes::Notes;
use crate::server::{Host, Server};
use crate::stream::bind::Entered;
use crate::stream::features::{self, Offers};
use crate::stream::open::{End, Incoming, Open};
use crate::stream::sasl2::{self, Reached};
use crate::stream::session::Session;
use crate::stream::user_agent::UserAgent;
use crate::stream::wire::Wire;
use crate::stream::{bind, legacy, login};
use crate::token;

/// Serves a client's connection until it ends. `known` is called when somebody has logged in.
pub async fn serve(server: Arc<Server>, wire: Box<dyn Wire>, known: Box<dyn FnOnce() + Send>) {
    // What negotiates is large and ends before the long-lived part begins.
    let session = Box::pin(negotiate(server, wire)).await;
    if let Some(session) = session {
        known();
        session.run().await;
    }
}

async fn negotiate(server: Arc<Server>, wire: Box<dyn Wire>) -> Option<Box<Session>> {
    let peer = wire.peer();
    let open = Open::new(server, wire);
    let mut client = Client { open, host: None, notes: Arc::default() };
    let end = match client.reach_session().await {
        Ok(entered) => return Some(Box::new(client.session(entered))),
        Err(end) => end,
    };
    let Client { open, host, .. } = client;
    open.finish(end, host.as_ref().map(|host| &host.jid), peer).await;
    None
}

/// How far a login has brought a client.
enum LoggedIn {
    /// It opens its stream anew (RFC 6120 §6.4.6).
    Anew(Jid),
    /// Its stream goes on (XEP-0388 §2.6.1).
    GoesOn(Jid, Option<UserAgent>),
    /// It has a session.
    Entered(Entered),
}

/// A client that is not bound.
struct Client {
    open: Open,
    /// The host that the stream is to.
    host: Option<Arc<Host>>,
    /// What modules remember of the stream.
    notes: Arc<Notes>,
}

impl Client {
    async fn reach_session(&mut self) -> Result<Entered, End> {
        let header = self.first_header().await?;
        if header.version.major == 0 {
            return self.legacy(header).await;
        }
        let (account, agent) = match self.log_in(header).await? {
            LoggedIn::Anew(account) => {
                self.open_anew(&account).await?;
                (account, None)
            }
            LoggedIn::GoesOn(account, agent) => (account, agent),
            LoggedIn::Entered(entered) => return Ok(entered),
        };
        let host = self.host()?;
        let entered = bind::until_bound(&mut self.open, &host, &account).await?;
        if agent.is_some()
            && let Some(resource) = entered.seat.account.turn().resource_of_mut(&entered.seat.link)
        {
            resource.agent = agent.map(Box::new);
        }
        Ok(entered)
    }

    fn session(self, entered: Entered) -> Session {
        let Self { mut open, .. } = self;
        open.wire.settle();
        let unread = open.take_unread();
        entered.seat.link.on_stream(&open.id);
        Session::new(open.server, entered, open.wire, open.scanner, unread)
    }

    /// The first header must come soon.
    async fn first_header(&mut self) -> Result<Header, End> {
        let secs = self.open.server.policy().limits.first_byte_secs;
        match tokio::time::timeout(Duration::from_secs(secs), self.header()).await {
            Ok(header) => header,
            Err(_) => Err(StreamCondition::ConnectionTimeout.into()),
        }
    }

    /// Reads a header and finds its host (RFC 6120 §4.7.2, §4.9.3.6).
    async fn header(&mut self) -> Result<Header, End> {
        let header = match self.open.next().await? {
            Incoming::Header(header) => header.map_err(End::Error)?,
            Incoming::Element(_) => return Err(StreamCondition::InvalidXml.into()),
            Incoming::Close => return Err(End::Closed),
        };
        let domain = header.to.as_ref().map(Jid::domain);
        let host = domain.and_then(|domain| self.open.server.host(domain));
        let Some(host) = host else {
            return Err(StreamCondition::HostUnknown.into());
        };
        // The host is fixed by the first header: a restart cannot move a login to another.
        if self.host.as_ref().is_some_and(|known| known.jid != host.jid) {
            return Err(StreamCondition::HostUnknown.into());
        }
        self.host = Some(host);
        Ok(header)
    }

    fn host(&self) -> Result<Arc<Host>, End> {
        self.host.clone().ok_or_else(|| StreamCondition::HostUnknown.into())
    }

    fn answer_header(&mut self, header: &Header, version: bool) -> Result<(), End> {
        let host = self.host()?;
        let id = token::random();
        let mut reply = Opening::answer(Some(header), Content::Client, &host.jid, &id);
        // RFC 6120 §4.7.2: only what was protected may be said back.
        reply.to = reply.to.filter(|_| self.open.wire.is_secure());
        reply.version = version.then_some(Version::CURRENT);
        self.open.answer_header(&reply);
        Ok(())
    }

    /// RFC 6120 §5 and §6: features, STARTTLS and SASL until somebody is logged in.
    async fn log_in(&mut self, mut header: Header) -> Result<LoggedIn, End> {
        loop {
            self.answer_header(&header, true)?;
            let host = self.host()?;
            // XEP-0388 §2.1, RFC 6120 §4.9.3.9: an account of another domain is not found here. What
            // was said in plaintext does not count.
            let from = header.from.as_ref().filter(|_| self.open.wire.is_secure());
            if from.is_some_and(|from| from.domain() != host.jid.domain()) {
                return Err(StreamCondition::InvalidFrom.into());
            }
            let offers = Offers::before_login(&self.open, &host, header.from.as_ref());
            self.open.send(&features::before_login(&self.open, &host, &offers)).await?;
            if let Some(logged_in) = self.until_restart(&host, &offers).await? {
                return Ok(logged_in);
            }
            header = self.header().await?;
            if header.version.major == 0 {
                return Err(StreamCondition::UnsupportedVersion.into());
            }
        }
    }

    /// Serves one stream until TLS begins (None) or somebody is logged in.
    async fn until_restart(
        &mut self,
        host: &Arc<Host>,
        offers: &Offers,
    ) -> Result<Option<LoggedIn>, End> {
        loop {
            let tree = self.open.element().await?;
            let element = tree.root();
            if element.is("starttls", ns::TLS) {
                self.start_tls().await?;
                return Ok(None);
            }
            if element.is("auth", ns::SASL) {
                match login::sasl(&mut self.open, &tree, offers).await? {
                    Some(account) => {
                        self.open.restart_keeping();
                        return Ok(Some(LoggedIn::Anew(account)));
                    }
                    None => self.open.failed()?,
                }
            } else if element.is("authenticate", ns::SASL2) {
                match sasl2::authenticate(&mut self.open, &tree, offers, host).await? {
                    Some(Reached::Account(account, agent)) => {
                        return Ok(Some(LoggedIn::GoesOn(account, agent)));
                    }
                    Some(Reached::Session(entered)) => return Ok(Some(LoggedIn::Entered(entered))),
                    None => self.open.failed()?,
                }
            } else if element.is("iq", ns::CLIENT) && offers.may_log_in {
                if let Some(entered) = self.before_login(host, tree).await? {
                    return Ok(Some(LoggedIn::Entered(entered)));
                }
            } else {
                // RFC 6120 §4.9.3.12: nothing else is processed before a login.
                return Err(StreamCondition::NotAuthorized.into());
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let host = self.host()?;
        self.open.start_tls(host.jid.domain()).await?;
        self.host = None;
        self.notes = Arc::default();
        Ok(())
    }

    /// An IQ before a login: one that logs in where that is allowed (XEP-0078), or one that a module
    /// answers, such as registration.
    async fn before_login(&mut self, host: &Arc<Host>, tree: Tree) -> Result<Option<Entered>, End> {
        if self.open.server.policy().legacy_auth {
            match legacy::answer(&mut self.open, host, &tree).await? {
                legacy::Outcome::Bound(seat, answer) => {
                    return Ok(Some(Entered { seat, managed: None, first: answer.into() }));
                }
                legacy::Outcome::Refused => return self.open.failed().map(|()| None),
                legacy::Outcome::Answered => return Ok(None),
                legacy::Outcome::NotAsked => {}
            }
        }
        let (server, peer) = (self.open.server.clone(), self.open.wire.peer());
        match features::answer_before_login((server, peer), host, &tree, &self.notes).await {
            Some(text) => self.open.send(&text).await.map(|()| None),
            None => Err(StreamCondition::NotAuthorized.into()),
        }
    }

    /// RFC 6120 §6.4.6: the stream of who has logged in begins anew.
    async fn open_anew(&mut self, account: &Jid) -> Result<(), End> {
        let header = self.header().await?;
        if header.from.as_ref().is_some_and(|from| !from.same_bare(account)) {
            return Err(StreamCondition::InvalidFrom.into());
        }
        self.answer_header(&header, true)?;
        let host = self.host()?;
        self.open.send(&features::before_bind(&self.open, &host)).await
    }

    /// compat(clients older than XMPP 1.0): a stream without a version, and XEP-0078.
    async fn legacy(&mut self, header: Header) -> Result<Entered, End> {
        if !self.open.server.policy().legacy_auth {
            self.answer_header(&header, true)?;
            return Err(StreamCondition::UnsupportedVersion.into());
        }
        self.answer_header(&header, false)?;
        let host = self.host()?;
        if !Offers::before_login(&self.open, &host, None).may_log_in {
            return Err(StreamCondition::PolicyViolation.into());
        }
        loop {
            let tree = self.open.element().await?;
            if let Some(entered) = self.before_login(&host, tree).await? {
                return Ok(entered);
            }
        }
    }
}
