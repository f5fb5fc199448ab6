//! XEP-0355: Namespace Delegation, in admin mode. The operator lets components answer requests of some
//! namespaces in place of this server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use verona_core::hooks::{
    Answer, ComponentEvent, ConfigError, Hooks, HostSettings, Key, Manifest, Module, Nested,
    Presence, Reply, Request, Settings, Spec, Target,
};
use verona_core::limits::FEATURES_BYTES_MAX;
use verona_core::server::{Host, Server};
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::{CLIENT, DISCO_INFO, DISCO_ITEMS, FORM, FORWARD};
use verona_xmpp::stanza::{IqType, Stanza};

const NS: &str = "urn:xmpp:delegation:2";

/// Questions about what accounts are, on nodes that are not ours (§7.2.4).
const BARE_INFO: &str = "urn:xmpp:delegation:2:bare:disco#info:*";

/// Questions about what belongs to accounts (§7.2.5).
const BARE_ITEMS: &str = "urn:xmpp:delegation:2:bare:disco#items:*";

/// A namespace and who manages it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The namespace.
    pub namespace: String,
    /// The component's domain.
    pub component: String,
    /// The hosts for which it holds; empty for all.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Attributes that the element must have, or else the server answers itself.
    #[serde(default)]
    pub attributes: Vec<String>,
}

/// What the operator may set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who manages which namespace.
    #[serde(default)]
    pub namespaces: Vec<Rule>,
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[Key {
        name: "namespaces",
        doc: "Requests that components answer in place of this server, a section \
              `[[modules.delegation.namespaces]]` each: `namespace`; `component`, its domain; `hosts`, \
              for which it holds, all when it is left out; `attributes` that the element must have, or \
              else the server answers. `urn:xmpp:delegation:2:bare:disco#info:*` and \
              `urn:xmpp:delegation:2:bare:disco#items:*` stand for questions about accounts on nodes \
              that the server does not know.",
    }];
}

/// The module.
pub struct Delegation {
    rules: Vec<(Jid, Rule)>,
    nested: Mutex<BTreeMap<(String, bool), Arc<str>>>,
    version: AtomicU64,
}

impl Module for Delegation {
    const MANIFEST: Manifest = Manifest {
        name: "delegation",
        specs: &[Spec("XEP-0355", "0.5")],
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, host: &HostSettings) -> Result<Self, ConfigError> {
        let mut rules: Vec<(Jid, Rule)> = Vec::new();
        for rule in config.namespaces {
            let wrong = |what: &str, message: &str| {
                ConfigError::of("namespaces", format!("{what:?} {message}"))
            };
            // §8 rule 5.
            if rule.namespace == NS || rule.namespace.is_empty() {
                return Err(wrong(&rule.namespace, "cannot be delegated"));
            }
            let jid = Jid::parse(&rule.component).ok().filter(Jid::is_domain);
            let jid =
                jid.ok_or_else(|| wrong(&rule.component, "is not the domain of a component"))?;
            if !rule.hosts.is_empty() && !rule.hosts.iter().any(|of| host.domain == of.as_str()) {
                continue;
            }
            if rules.iter().any(|(_, known)| known.namespace == rule.namespace) {
                return Err(wrong(&rule.namespace, "is delegated twice for one host"));
            }
            rules.push((jid, rule));
        }
        Ok(Self { rules, nested: Mutex::default(), version: AtomicU64::new(0) })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.announce(Self::announce);
        if on.module().rules.is_empty() {
            return;
        }
        on.replace(Self::replace);
        on.nest(Self::version, Self::nest);
        on.component(Self::meet);
    }
}

impl Delegation {
    /// §4.2: what the component manages; nothing, once all was taken back.
    fn announce(&self, component: &Jid, again: bool) -> Option<String> {
        let mut own = self.rules.iter().filter(|(jid, _)| jid == component).peekable();
        if own.peek().is_none() && !again {
            return None;
        }
        let mut writer = Writer::new(CLIENT);
        writer.start("delegation", NS);
        for (_, rule) in own {
            writer.start("delegated", NS).attr("namespace", &rule.namespace);
            for attribute in &rule.attributes {
                writer.start("attribute", NS).attr("name", attribute).end();
            }
            writer.end();
        }
        writer.end();
        Some(writer.finish())
    }

    /// §4.3: a request of a delegated namespace, to the host or to a bare JID, is forwarded.
    fn replace(self: &Arc<Self>, request: &Request) -> Option<Answer> {
        let component = self.manager(request)?.clone();
        // §4.3.1: what the managing entity itself asks is answered as ever.
        if request.from.domain() == component.domain() {
            return None;
        }
        let (server, host) = (request.server.clone(), request.host.clone());
        let iq = request.iq.clone();
        Some(Box::pin(async move {
            // §9 rule 3: the asker's stream does not wait. It ends with the question, whose number and
            // time are bounded.
            tokio::spawn(async move {
                let answer = match forward(&server, &host, &component, &iq).await {
                    Some(payload) => Some(iq.result(&payload)),
                    // §4.3 N.B. 1 and 2.
                    None => iq.error_answer(&StanzaError::new(Condition::ServiceUnavailable)),
                };
                server.send(answer.into_iter().collect()).await;
            });
            Ok(Reply::written())
        }))
    }

    /// The component that manages what is asked.
    fn manager(&self, request: &Request) -> Option<&Jid> {
        let payload = request.iq.payload()?;
        let of = |ns: &str| self.rules.iter().find(|(_, rule)| rule.namespace == ns);
        let bare = request.iq.to().is_none_or(|to| to.local().is_some());
        let special = match payload.ns {
            DISCO_INFO => of(BARE_INFO).filter(|_| bare).map(|found| (found, true)),
            DISCO_ITEMS => of(BARE_ITEMS).filter(|_| bare).map(|found| (found, false)),
            _ => None,
        };
        if let Some(((jid, _), needs_node)) = special {
            // §7.2.4: none of the nodes of accounts is our own.
            let has_node = || request.tree().is_ok_and(|tree| tree.root().attr("node").is_some());
            if request.iq.iq_type() == Some(IqType::Get) && (!needs_node || has_node()) {
                return Some(jid);
            }
        }
        let (jid, rule) = of(payload.ns)?;
        if !rule.attributes.is_empty() {
            // §4.3 N.B. 3.
            let tree = request.tree().ok()?;
            rule.attributes.iter().all(|name| tree.root().attr(name).is_some()).then_some(())?;
        }
        Some(jid)
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// §7.2.1, §7.2.2: what the managing entities tell of their namespaces. Of who is away nothing is
    /// told: what is asked is refused then.
    fn nest(&self, target: Target) -> Vec<Nested> {
        let bare = target != Target::Host;
        let nested = self.nested.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.rules.iter().filter(|(_, rule)| !is_special(&rule.namespace));
        own.map(|(_, rule)| Nested {
            ns: rule.namespace.as_str().into(),
            content: nested.get(&(rule.namespace.clone(), bare)).cloned().unwrap_or_default(),
        })
        .collect()
    }

    /// §9 rule 2: what the managing entity tells is asked for when it comes, and kept while it is there.
    async fn meet(self: Arc<Self>, event: ComponentEvent) {
        let own = self
            .rules
            .iter()
            .filter(|(jid, rule)| *jid == event.component && !is_special(&rule.namespace));
        for (_, rule) in own {
            for (bare, separator) in [(false, "::"), (true, ":bare:")] {
                let told = match event.presence {
                    Presence::Gone => None,
                    Presence::Came { .. } => {
                        let node = [NS, separator, &rule.namespace].concat();
                        info(&event, &node).await
                    }
                };
                self.set((rule.namespace.clone(), bare), told);
            }
        }
    }

    fn set(&self, key: (String, bool), told: Option<Arc<str>>) {
        let mut nested = self.nested.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some(told) => nested.insert(key, told),
            None => nested.remove(&key),
        };
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

fn is_special(namespace: &str) -> bool {
    [BARE_INFO, BARE_ITEMS].contains(&namespace)
}

/// Identities, features and forms (§7.2.3) that the managing entity has on a node.
async fn info(event: &ComponentEvent, node: &str) -> Option<Arc<str>> {
    let mut writer = Writer::new(CLIENT);
    writer.start("query", DISCO_INFO).attr("node", node).end();
    let question = writer.finish();
    let answer = event.server.inquire(&event.host.jid, &event.component, &question).await?;
    let tree = answer.payload_tree()?;
    let mut writer = Writer::new(DISCO_INFO);
    let is_told = |child: &Element<'_>| {
        child.is("identity", DISCO_INFO) || child.is("feature", DISCO_INFO) || child.is("x", FORM)
    };
    tree.root().children().filter(is_told).for_each(|child| child.write(&mut writer));
    let text = writer.finish();
    (text.len() <= FEATURES_BYTES_MAX).then(|| text.into())
}

/// §4.3: forwards a request, and takes the result out of the answer when it is one to that request.
async fn forward(
    server: &Arc<Server>,
    host: &Arc<Host>,
    component: &Jid,
    iq: &Stanza,
) -> Option<String> {
    let mut writer = Writer::new(CLIENT);
    writer.start("delegation", NS).start("forwarded", FORWARD);
    writer.raw_element(iq.text(), CLIENT).end().end();
    let question = writer.finish();
    let answer = server.put_question((&host.jid, component), "set", &question).await?;
    if answer.iq_type() != Some(IqType::Result) {
        return None;
    }
    let tree = answer.payload_tree()?;
    let result = tree.root().child("forwarded", FORWARD)?.child("iq", CLIENT)?;
    let asked = iq.tree()?;
    let asked = asked.root();
    let jid = |element: Element<'_>, name: &str| match element.attr(name) {
        Some(text) => Jid::parse(text).ok().map(Some),
        None => Some(None),
    };
    let fits = tree.root().is("delegation", NS)
        && result.attr("type") == Some("result")
        && result.attr("id") == asked.attr("id")
        && jid(result, "to") == jid(asked, "from")
        && came_from(jid(result, "from")?, iq);
    if !fits {
        tracing::warn!(%component, "the answer of a managing entity does not fit its question");
        return None;
    }
    let mut writer = Writer::new(CLIENT);
    result.children().for_each(|child| child.write(&mut writer));
    Some(writer.finish())
}

/// Whether a result has the address that was asked; who asked without one asked the own account.
fn came_from(from: Option<Jid>, iq: &Stanza) -> bool {
    match (from, iq.to()) {
        (from, Some(to)) => from.as_ref() == Some(to),
        (None, None) => true,
        (Some(from), None) => iq.from().is_some_and(|asker| from == asker.bare()),
    }
}

#[cfg(test)]
mod tests {
    use verona_testkit::memory::Tables;

    use crate::install::configured;
    use crate::testing::settings;

    fn refused(rules: &str) -> Option<String> {
        let tables =
            Tables::read(&format!("[modules.delegation]\nnamespaces = [{rules}]")).unwrap();
        configured(settings("capulet.lit"), &tables).err()
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let right = "{ namespace = 'urn:a', component = 'a.lit', attributes = ['node'] }";
        assert_eq!(refused(right), None);
        let other = "{ namespace = 'urn:a', component = 'b.lit', hosts = ['montague.lit'] }";
        assert_eq!(refused(&[right, other].join(", ")), None);
        for (wrong, why) in [
            // XEP-0355 §8 rule 5.
            ("{ namespace = 'urn:xmpp:delegation:2', component = 'a.lit' }", "cannot be delegated"),
            ("{ namespace = '', component = 'a.lit' }", "cannot be delegated"),
            ("{ namespace = 'urn:a', component = 'a.lit/x' }", "not the domain"),
            (&[right, "{ namespace = 'urn:a', component = 'b.lit' }"].join(", "), "twice"),
            ("{ namespace = 'urn:a' }", "missing field"),
        ] {
            let told = refused(wrong).unwrap_or_default();
            assert!(told.contains(why), "{wrong}: {told}");
        }
    }
}
