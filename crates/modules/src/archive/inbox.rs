//! XEP-0430: Inbox. The conversations of an account with what is unread in each, from its log; markers
//! (XEP-0333) that it sends tell how far it has read.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::account::log::{ARCHIVE, LOG};
use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, IqResult, Manifest, Module, Passage, Phase, Reply,
    Request, Spec, Target,
};
use verona_core::link::Link;
use verona_core::mailbox::Put;
use verona_core::router::wait_for_reader;
use verona_core::server::Server;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Record, Slice};
use verona_xml::{Element, Writer};
use verona_xmpp::date;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;
use verona_xmpp::rsm::{self, Page, Response};
use verona_xmpp::stanza::{Kind, MessageType, Stanza};

use crate::archive::conversations::{self, Conversation};
use crate::archive::unread::{self, READ, Search, Unread};

const NS: &str = "urn:xmpp:inbox:1";
const NS_MARKERS: &str = "urn:xmpp:chat-markers:0";

/// Conversations in an answer at most (§3.1).
const PAGE_MAX: usize = 50;

/// The module.
pub struct Inbox;

impl Module for Inbox {
    const MANIFEST: Manifest = Manifest {
        name: "inbox",
        specs: &[Spec("XEP-0430", "0.2.0")],
        account_features: &[NS],
        tables: &[READ],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Own, NS, "inbox", Self::read);
        on.iq_get(Target::Account, NS, "inbox", Self::refuse);
        on.message(Direction::Inbound, Phase::Copy, Self::note_received);
        on.message(Direction::Outbound, Phase::Copy, Self::note_sent);
    }
}

impl Inbox {
    /// §3.1: an entry for each conversation, the latest first, and then the result.
    async fn read(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let Some(link) = &request.link else { return Err(Condition::Forbidden.into()) };
        let tree = request.iq.tree().ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        let query = Query::read(request.tree()?.root(), tree.root().attr("id"))?;
        let all = conversations::all(&request.server, account).await?;
        let totals = Totals::of(&all);
        let meant: Vec<Conversation> =
            all.into_iter().filter(|of| !query.unread_only || of.unread > 0).collect();
        let range = query.range(&request.server, &meant)?;
        let index = range.start;
        let mut ends: Option<(String, String)> = None;
        for conversation in meant.get(range).unwrap_or_default() {
            let place = (&*request.server, &**account);
            let Some(entry) = Entry::find(place, conversation).await? else { continue };
            let id = request.server.ids.of(entry.words.epoch, entry.words.seq);
            send((&request.server, link), &entry.write(place, link, &query)).await?;
            let first = ends.take().map_or_else(|| id.clone(), |(first, _)| first);
            ends = Some((first, id));
        }
        Ok(Reply::with(|writer| {
            writer.start("fin", NS).attr("total", &totals.conversations.to_string());
            writer.attr("unread", &totals.unread_conversations.to_string());
            writer.attr("all-unread", &totals.unread.to_string());
            let response = Response {
                ends: ends.map(|(first, last)| (first.into(), last.into())),
                index: u64::try_from(index).ok(),
                count: u64::try_from(meant.len()).ok(),
            };
            response.write(writer);
            writer.end();
        }))
    }

    /// Another's inbox; the same answer whether there is such an account or not.
    async fn refuse(self: Arc<Self>, _: Request) -> IqResult {
        Err(StanzaError::new(Condition::Forbidden))
    }

    /// §4: an instant message always starts unread, but for one's own.
    fn note_received(&self, passage: &mut Passage<'_>) {
        if !passage.keep.archive || !passage.keep.instant {
            return;
        }
        let Some(from) = passage.stanza.from().cloned() else { return };
        let seq = passage.state.log.last_seq;
        let unread = passage.state.part_mut::<Unread>();
        match from.same_bare(&passage.account.jid) {
            true => unread.sent(from.bare_str()),
            false => unread.received(from.bare_str(), passage.stanza, seq),
        }
    }

    /// §4: one's own words, and a marker, say that all before was read.
    fn note_sent(&self, passage: &mut Passage<'_>) {
        let Some(to) = passage.stanza.to().cloned() else { return };
        if passage.keep.archive && passage.keep.instant {
            passage.state.part_mut::<Unread>().sent(to.bare_str());
        }
        let Some(id) = marked(passage.stanza) else { return };
        let unread = passage.state.part_mut::<Unread>();
        if let Some(seq) = unread.read_to_the_end(to.bare_str(), &id) {
            unread::write(passage.server, passage.account, to.bare_str(), seq);
        } else if unread.begin_search() {
            let search = Search {
                server: passage.server.clone(),
                account: passage.account.clone(),
                peer: to.bare_str().into(),
                id,
            };
            tokio::spawn(search.run());
        }
    }
}

/// The message up to which a marker says that all was read.
fn marked(stanza: &Stanza) -> Option<String> {
    let Kind::Message(MessageType::Chat | MessageType::Normal) = stanza.kind() else { return None };
    let marker = stanza
        .children()
        .find(|child| child.ns == NS_MARKERS && matches!(child.name, "displayed" | "acknowledged"));
    Some(marker?.tree()?.root().attr("id")?.to_owned())
}

/// What is asked for.
struct Query {
    /// The id of the request, by which its results are known.
    id: Option<String>,
    unread_only: bool,
    messages: bool,
    page: rsm::Request,
}

impl Query {
    fn read(inbox: Element<'_>, id: Option<&str>) -> Result<Self, StanzaError> {
        let flag = |name, default| match inbox.attr(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(StanzaError::new(Condition::BadRequest).text("neither true nor false")),
        };
        Ok(Self {
            id: id.map(str::to_owned),
            unread_only: flag("unread-only", false)?,
            messages: flag("messages", true)?,
            page: rsm::Request::find(inbox)?.unwrap_or_default(),
        })
    }

    /// The part of the conversations that is asked for. A page ends with a message: where the
    /// conversation has gone on since, and so has moved, what lies behind is still behind that.
    fn range(
        &self,
        server: &Server,
        meant: &[Conversation],
    ) -> Result<std::ops::Range<usize>, StanzaError> {
        let position = |id: &str| {
            let (_, seq) = server.ids.place(id)?;
            let newer = meant.iter().take_while(|of| of.last > seq).count();
            let is_there = meant.get(newer).is_some_and(|of| of.last == seq);
            match self.page.page {
                Page::After(_) if !is_there => newer.checked_sub(1),
                _ => Some(newer),
            }
        };
        self.page.range(meant.len(), PAGE_MAX, position)
    }
}

/// What is told of the inbox as a whole (§3.1).
struct Totals {
    conversations: usize,
    unread_conversations: usize,
    unread: u64,
}

impl Totals {
    fn of(all: &[Conversation]) -> Self {
        Self {
            conversations: all.len(),
            unread_conversations: all.iter().filter(|of| of.unread > 0).count(),
            unread: all.iter().fold(0, |sum, of| sum.saturating_add(of.unread)),
        }
    }
}

/// A conversation with its last words.
struct Entry<'a> {
    conversation: &'a Conversation,
    words: Record,
    /// The last that the archive has of it, words or not.
    last: Record,
}

impl<'a> Entry<'a> {
    /// None when it has gone meanwhile.
    async fn find(
        (server, account): (&Server, &Account),
        conversation: &'a Conversation,
    ) -> Result<Option<Self>, StoreError> {
        let store = &server.store;
        let words = store.record(LOG, &account.owner, conversation.last).await?;
        let Some(words) = words else { return Ok(None) };
        let of_archive = Slice {
            peer: Some(conversation.peer.clone()),
            flags_any: ARCHIVE,
            from_end: true,
            count_max: 1,
            ..Slice::default()
        };
        let last = store.page(LOG, &account.owner, &of_archive).await?.records.pop();
        let last = last.unwrap_or_else(|| words.clone());
        Ok(Some(Self { conversation, words, last }))
    }

    fn write(&self, (server, account): (&Server, &Account), link: &Link, query: &Query) -> String {
        let id = |record: &Record| server.ids.of(record.epoch, record.seq);
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("message", ns::CLIENT);
        writer.attr("to", link.jid.as_str()).attr("from", account.jid.as_str());
        writer.start("entry", NS).attr("jid", &self.conversation.peer);
        writer.attr("unread", &self.conversation.unread.to_string());
        writer.attr("id", &id(&self.last)).end();
        if query.messages {
            writer.start("result", ns::MAM).attr("id", &id(&self.words));
            if let Some(query) = &query.id {
                writer.attr("queryid", query);
            }
            let time = date::write(i64::try_from(self.words.seq).unwrap_or(i64::MAX));
            writer.start("forwarded", ns::FORWARD);
            writer.start("delay", ns::DELAY).attr("stamp", &time).end();
            writer.raw_element(
                std::str::from_utf8(&self.words.stanza).unwrap_or_default(),
                ns::CLIENT,
            );
            writer.end().end();
        }
        writer.end();
        writer.finish()
    }
}

/// Writes an entry to the asking session, no faster than that reads.
async fn send((server, link): (&Server, &Arc<Link>), entry: &str) -> Result<(), StanzaError> {
    match link.mailbox.put(|out| out.extend_from_slice(entry.as_bytes())) {
        Put::Taken => {}
        Put::Crowded => wait_for_reader(server, link).await,
        Put::Refused | Put::Overslept => {
            return Err(StanzaError::new(Condition::ResourceConstraint));
        }
    }
    Ok(())
}
