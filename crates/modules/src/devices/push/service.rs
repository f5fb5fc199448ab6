//! The services that an account has its notifications pushed to, in memory with it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verona_core::account::state::{Part, Resource, State};
use verona_core::limits::{PUSH_SERVICE_BYTES_MAX, PUSHED_MAX};
use verona_core::link::Link;
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Entry, Owner, Table};
use verona_xml::Element;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::form::{Filled, FormType};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::devices::push::content;

/// What was enabled, by address and node.
pub const SERVICES: Table = Table::map("push.services");

/// How often each failed in a row and when it is tried again; only those that did.
pub const FAILURES: Table = Table::map("push.failures");

const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";

/// What a client has enabled (§5), as it is stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Enabled {
    jid: String,
    /// The node to which is published.
    pub node: Option<String>,
    /// The form with what the service wants along with each notification.
    pub options: Option<String>,
    /// The resourcepart of the client that enabled it, and the id of its installation: whether that
    /// client has a session decides whether it is woken.
    resource: String,
    agent: Option<String>,
    /// When that was, in microseconds since the epoch.
    pub since_micros: u64,
}

impl Enabled {
    /// Reads a request; `resource` is the one that makes it.
    pub fn read(
        request: Element<'_>,
        resource: &Resource,
        since_micros: u64,
    ) -> Result<Self, StanzaError> {
        let bad = |text: &'static str| StanzaError::new(Condition::BadRequest).text(text);
        let jid = request.attr("jid").ok_or_else(|| bad("which service?"))?;
        let jid = Jid::parse(jid)?.to_string();
        let node = node_of(request);
        let mut options = None;
        if let Some(form) = request.child("x", ns::FORM) {
            let filled = Filled::read(form)?;
            if filled.kind() != FormType::Submit
                || filled.form_type().as_deref() != Some(PUBLISH_OPTIONS)
            {
                return Err(bad("the form is none of publish options"));
            }
            options = Some(form.to_text(ns::CLIENT));
        }
        let bytes = [Some(&jid), node.as_ref(), options.as_ref()];
        let bytes: usize = bytes.into_iter().flatten().map(String::len).sum();
        if bytes > PUSH_SERVICE_BYTES_MAX {
            let error = StanzaError::new(Condition::NotAcceptable);
            return Err(error.text("address, node and options are too long"));
        }
        let agent = resource.agent.as_ref().and_then(|agent| agent.id.as_deref());
        let (resource, agent) = (resource.name().to_owned(), agent.map(str::to_owned));
        Ok(Self { jid, node, options, resource, agent, since_micros })
    }

    /// Under which it is stored: no address holds a line break.
    pub fn key(&self) -> String {
        match &self.node {
            Some(node) => [&self.jid, "\n", node].concat(),
            None => self.jid.clone(),
        }
    }

    /// Whether this is the same but for the time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { since_micros: self.since_micros, ..other.clone() }
    }
}

/// The node that a request names; an empty one is none.
pub fn node_of(request: Element<'_>) -> Option<String> {
    request.attr("node").filter(|node| !node.is_empty()).map(str::to_owned)
}

/// A service with how it fares.
#[derive(Debug)]
pub struct Service {
    /// What was enabled.
    pub enabled: Enabled,
    /// Its address.
    pub jid: Jid,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again, in seconds since the epoch.
    pub retry_secs: u64,
    /// Messages that its client has not got, since it was last here.
    pub missed: u32,
    /// The last of them, as far as the operator wants it told.
    pub latest: Option<Latest>,
    /// A notification is on its way, or waits for its next attempt.
    pub underway: bool,
    /// There is news that the one on its way does not tell of.
    pub again: bool,
    /// Messages that its client was sent and may not have got.
    pub watched: Option<Watched>,
}

/// The last message.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// Who sent it.
    pub sender: Option<String>,
    /// What it says.
    pub words: Option<String>,
}

/// Messages that were sent to a session which seems to be there.
#[derive(Debug)]
pub struct Watched {
    /// The session.
    pub link: Arc<Link>,
    /// How often its client had been heard when the first of those came, and when the last did.
    pub heard: (u32, u32),
    /// How many came since it was last heard.
    pub count: u32,
}

impl Service {
    fn new(enabled: Enabled) -> Option<Self> {
        let jid = Jid::parse(&enabled.jid).ok()?;
        Some(Self {
            enabled,
            jid,
            failures: 0,
            retry_secs: 0,
            missed: 0,
            latest: None,
            underway: false,
            again: false,
            watched: None,
        })
    }

    /// Whether a resource is the client that enabled it.
    pub fn is_of(&self, resource: &Resource) -> bool {
        let agent = resource.agent.as_ref().and_then(|agent| agent.id.as_deref());
        self.enabled.resource == resource.name()
            || (agent.is_some() && agent == self.enabled.agent.as_deref())
    }

    /// The session of its client, with its place: one that has a stream before one that sleeps.
    pub fn session<'s>(&self, state: &'s State) -> Option<(usize, &'s Resource)> {
        let sessions = state.resources.iter().enumerate().filter(|(_, of)| self.is_of(of));
        sessions.min_by_key(|(_, resource)| resource.link.mailbox.is_asleep())
    }

    /// Goes on publishing, or is done with it; says which.
    pub fn rest_unless(&mut self, goes_on: bool) -> bool {
        self.underway = goes_on;
        goes_on
    }

    /// Whether its client gets what comes by its own stream.
    pub fn is_awake(&self, state: &State) -> bool {
        let session = self.session(state);
        session.is_some_and(|(_, of)| of.is_available() && !of.link.mailbox.is_asleep())
    }
}

/// The services of an account.
#[derive(Debug, Default)]
pub struct Services {
    /// In the order in which they were enabled.
    pub list: Vec<Service>,
    /// A hash of each message that was pushed last.
    pushed: VecDeque<u64>,
}

impl Part for Services {
    fn load(entries: &[Entry]) -> Self {
        let mut services = Self::default();
        for entry in entries.iter().filter(|entry| entry.table == SERVICES) {
            if let Ok(enabled) = serde_json::from_slice(&entry.value) {
                services.put(enabled);
            }
        }
        services.list.sort_by_key(|service| service.enabled.since_micros);
        for entry in entries.iter().filter(|entry| entry.table == FAILURES) {
            if let (Some(service), Some((failures, retry_secs))) =
                (services.get_mut(&entry.key), read_failures(&entry.value))
            {
                service.failures = failures;
                service.retry_secs = retry_secs;
            }
        }
        services
    }
}

impl Services {
    /// The service of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Service> {
        self.list.iter_mut().find(|service| service.enabled.key() == key)
    }

    /// Adds a service, or takes over how it is to be served from now on (§5).
    pub fn put(&mut self, enabled: Enabled) {
        match self.get_mut(&enabled.key()) {
            Some(known) => {
                known.enabled = enabled;
                known.failures = 0;
                known.retry_secs = 0;
            }
            None => self.list.extend(Service::new(enabled)),
        }
    }

    /// Takes a service out.
    pub fn remove(&mut self, key: &str) {
        self.list.retain(|service| service.enabled.key() != key);
    }

    /// Notes that a message is told of; false when it was before. One without an id cannot be known
    /// again.
    pub fn note(&mut self, message: &Stanza) -> bool {
        let Some(id) = message.id_raw() else { return true };
        let mut hasher = DefaultHasher::new();
        (id, message.from(), content::words(message, usize::MAX)).hash(&mut hasher);
        let hash = hasher.finish();
        if self.pushed.contains(&hash) {
            return false;
        }
        if self.pushed.len() >= PUSHED_MAX {
            self.pushed.pop_front();
        }
        self.pushed.push_back(hash);
        true
    }
}

/// The services that a client has enabled, by the id of its installation.
pub fn keys_of(state: &State, agent: &str) -> Vec<String> {
    let services = state.part::<Services>().into_iter().flat_map(|services| &services.list);
    let its = services.filter(|service| service.enabled.agent.as_deref() == Some(agent));
    its.map(|service| service.enabled.key()).collect()
}

/// Writes that services are not enabled any more.
pub fn forget(keys: &[String], owner: &Owner, batch: &mut Batch) {
    for key in keys {
        batch.delete(SERVICES, owner, key);
        batch.delete(FAILURES, owner, key);
    }
}

/// The same in memory, when that is durable.
pub fn forgotten(keys: &[String], state: &mut State) {
    if !keys.is_empty() {
        let services = state.part_mut::<Services>();
        keys.iter().for_each(|key| services.remove(key));
    }
}

/// The form in which failures are stored.
pub fn write_failures(failures: u32, retry_secs: u64) -> String {
    format!("{failures} {retry_secs}")
}

fn read_failures(bytes: &[u8]) -> Option<(u32, u64)> {
    let (failures, retry_secs) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    Some((failures.parse().ok()?, retry_secs.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(node: &str, since_micros: u64) -> Enabled {
        Enabled {
            jid: "push.capulet.lit".to_owned(),
            node: Some(node.to_owned()),
            options: None,
            resource: "phone".to_owned(),
            agent: None,
            since_micros,
        }
    }

    fn entry(table: Table, key: &str, value: impl Into<bytes::Bytes>) -> Entry {
        Entry { table, key: key.into(), value: value.into() }
    }

    #[test]
    fn what_was_stored_is_loaded_in_the_order_in_which_it_was_enabled() {
        let (late, early) = (enabled("a", 2), enabled("b", 1));
        let stored = |of: &Enabled| serde_json::to_vec(of).unwrap();
        let services = Services::load(&[
            entry(SERVICES, &late.key(), stored(&late)),
            entry(SERVICES, &early.key(), stored(&early)),
            entry(SERVICES, "damaged", "{"),
            entry(FAILURES, &late.key(), write_failures(3, 77)),
            entry(FAILURES, "of nobody", write_failures(1, 1)),
        ]);
        let found: Vec<_> =
            services.list.iter().map(|of| (&of.enabled, of.failures, of.retry_secs)).collect();
        assert_eq!(found, [(&early, 0, 0), (&late, 3, 77)]);
    }

    #[test]
    fn a_message_is_noted_once() {
        let message = |id: &str, body: &str| {
            let text = format!(
                "<message from='romeo@montague.lit/orchard' {id}><body>{body}</body></message>"
            );
            Stanza::parse(&text).unwrap()
        };
        let mut services = Services::default();
        assert!(services.note(&message("id='1'", "O")));
        assert!(!services.note(&message("id='1'", "O")));
        assert!(services.note(&message("id='1'", "speak again")));
        assert!(services.note(&message("", "O")) && services.note(&message("", "O")));
        for n in 0..PUSHED_MAX {
            assert!(services.note(&message(&format!("id='of {n}'"), "O")));
        }
        assert!(services.note(&message("id='1'", "O")), "forgotten by now");
        assert_eq!(services.pushed.len(), PUSHED_MAX);
    }
}
