//! What an account is made of while it is in memory.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::Stanza;

use crate::account::roster::Roster;
use crate::account::shared::Shared;
use crate::account::waiting::LogState;
use crate::link::Link;
use crate::store::shape::{Entry, Table};
use crate::stream::user_agent::UserAgent;

/// An account's state, changed only within its turns.
#[derive(Debug, Default)]
pub struct State {
    /// Its contacts (RFC 6121 §2).
    pub roster: Roster,
    /// Its connected resources, oldest first.
    pub resources: SmallVec<[Resource; 1]>,
    /// What modules keep with it.
    parts: Vec<Box<dyn Any + Send>>,
    /// Its message log.
    pub log: LogState,
    /// What several sessions have and no log has.
    pub shared: Shared,
    /// The account was removed while somebody held it: everything is refused.
    pub gone: bool,
    /// The operator lets nobody log in.
    pub disabled: bool,
    /// Microseconds since the epoch when it was made: another one of its name was made at another time.
    pub created_micros: u64,
    /// Microseconds since the epoch when its last available resource left; 0 for never.
    pub last_seen_micros: u64,
    /// The same as it was last written to the store.
    pub last_seen_saved_micros: u64,
}

/// A connected resource.
#[derive(Debug)]
pub struct Resource {
    /// Its session.
    pub link: Arc<Link>,
    /// Its last broadcast presence; None while it is not available.
    pub presence: Option<Box<Stanza>>,
    /// Its priority (RFC 6121 §4.7.2.3); meaningless while it is not available.
    pub priority: i8,
    /// Whether it asked for the roster and so gets pushes (RFC 6121 §2.2).
    pub interested: bool,
    /// To whom it sent directed presence (RFC 6121 §4.6).
    pub directed: Vec<Jid>,
    /// What its client told of itself, for the account's owner alone.
    pub agent: Option<Box<UserAgent>>,
    /// What modules have noted of it, by name.
    marks: SmallVec<[Cow<'static, str>; 1]>,
}

/// A value that a module keeps in memory with an account.
pub trait Part: Any + Send {
    /// Makes it from the entries of the module's loaded tables.
    fn load(entries: &[Entry]) -> Self;
}

/// How a part is made.
#[derive(Clone, Copy)]
pub struct PartSpec {
    /// The tables it is made from.
    pub tables: &'static [Table],
    /// Makes it.
    pub load: fn(&[Entry]) -> Box<dyn Any + Send>,
}

impl State {
    /// What a module keeps with the account; None when the account has nothing of the kind.
    pub fn part<P: Part>(&self) -> Option<&P> {
        self.parts.iter().find_map(|part| part.downcast_ref())
    }

    /// Changes what a module keeps with the account, starting from the default.
    pub fn part_mut<P: Part + Default>(&mut self) -> &mut P {
        let place = self.parts.iter().position(|part| part.is::<P>()).unwrap_or_else(|| {
            self.parts.push(Box::new(P::default()));
            self.parts.len().saturating_sub(1)
        });
        let found = self.parts.get_mut(place).and_then(|part| part.downcast_mut());
        // The place was found by this type or has just been filled with it.
        found.expect("a part of this type is at its place")
    }

    /// Adds a part that was made from the store.
    pub(crate) fn add_part(&mut self, part: Box<dyn Any + Send>) {
        self.parts.push(part);
    }

    /// The resource of a session.
    pub fn resource_of(&self, link: &Arc<Link>) -> Option<&Resource> {
        self.resources.iter().find(|resource| Arc::ptr_eq(&resource.link, link))
    }

    /// The resource of a session, to be changed.
    pub fn resource_of_mut(&mut self, link: &Arc<Link>) -> Option<&mut Resource> {
        self.resources.iter_mut().find(|resource| Arc::ptr_eq(&resource.link, link))
    }

    /// The place of the resource with this resourcepart.
    pub fn place_of(&self, resourcepart: &str) -> Option<usize> {
        self.resources.iter().position(|resource| resource.name() == resourcepart)
    }

    /// The resources that are available (RFC 6121 §4.2), with their places.
    pub fn available(&self) -> impl Iterator<Item = (usize, &Resource)> {
        self.resources.iter().enumerate().filter(|(_, resource)| resource.is_available())
    }

    /// Whether this entity may see the account's presence: by subscription, or because one of its
    /// resources sent it directed presence (RFC 6121 §8.5.3.1). An account may see itself.
    pub fn shares_presence_with(&self, own: &Jid, other: &Jid) -> bool {
        other.same_bare(own)
            || self.roster.may_see(other)
            || self.resources.iter().any(|resource| resource.has_directed_to(other))
    }
}

impl Resource {
    /// A resource that has just been bound.
    pub fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            presence: None,
            priority: 0,
            interested: false,
            directed: Vec::new(),
            agent: None,
            marks: SmallVec::new(),
        }
    }

    /// Its resourcepart.
    pub fn name(&self) -> &str {
        self.link.jid.resource().unwrap_or_default()
    }

    /// Whether it has sent initial presence and not become unavailable since.
    pub fn is_available(&self) -> bool {
        self.presence.is_some()
    }

    /// Whether it sent directed presence to this entity, by its bare or this full JID.
    pub fn has_directed_to(&self, other: &Jid) -> bool {
        self.directed.iter().any(|to| to == other || (to.is_bare() && to.same_bare(other)))
    }

    /// Whether a module has noted this of the resource.
    pub fn marked(&self, mark: &str) -> bool {
        self.marks.iter().any(|of| of == mark)
    }

    /// All that modules have noted of it.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().map(|mark| &**mark)
    }

    /// Notes or forgets something about the resource.
    pub fn mark(&mut self, mark: impl Into<Cow<'static, str>>, on: bool) {
        let mark = mark.into();
        self.marks.retain(|of| *of != mark);
        if on {
            self.marks.push(mark);
        }
    }
}
