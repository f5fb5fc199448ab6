//! A component comes or goes: the host lists it, and modules hear of it.

use std::sync::Arc;

use verona_xml::Writer;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::component::connected::Component;
use crate::host::Service;
use crate::server::{ComponentEvent, Host, Presence, Server};
use crate::token;

impl Server {
    /// A component has one connection more.
    pub(crate) fn component_came(self: &Arc<Self>, component: &Arc<Component>) {
        let settings = component.settings().clone();
        let service = Service { jid: component.jid.clone(), name: settings.name.clone() };
        self.hosts_above(&component.jid).iter().for_each(|host| host.add_service(&service));
        self.introduce(component);
    }

    /// A component has no connection any more.
    pub(crate) fn component_gone(self: &Arc<Self>, component: &Arc<Component>) {
        for host in self.hosts() {
            host.remove_service(&component.jid);
            self.meet_component(&host, component, Presence::Gone);
        }
    }

    /// Tells connected components of what has changed for them, when the config was read anew.
    pub fn introduce_components(self: &Arc<Self>) {
        for component in self.components.all() {
            if !component.is_away() {
                self.component_came(&component);
            }
        }
    }

    /// What modules say to the component on behalf of each host.
    fn introduce(self: &Arc<Self>, component: &Arc<Component>) {
        for host in self.hosts() {
            let registry = host.registry();
            let mut news = false;
            for (place, announce) in registry.announcements.iter().enumerate() {
                news |= component.tell((&host.jid, place), |again| {
                    let content = announce(&component.jid, again)?;
                    message(&host.jid, &component.jid, &content)
                });
            }
            self.meet_component(&host, component, Presence::Came { news });
        }
    }

    fn meet_component(
        self: &Arc<Self>,
        host: &Arc<Host>,
        component: &Arc<Component>,
        presence: Presence,
    ) {
        for meet in &host.registry().meetings {
            let event = ComponentEvent {
                server: self.clone(),
                host: host.clone(),
                component: component.jid.clone(),
                presence,
            };
            tokio::spawn(meet(event));
        }
    }

    /// The hosts that list a component: those whose domain is above its own, else all.
    fn hosts_above(&self, component: &Jid) -> Vec<Arc<Host>> {
        let hosts = self.hosts();
        let above = |host: &Arc<Host>| {
            let rest = component.domain().strip_suffix(host.jid.domain());
            rest.is_some_and(|rest| rest.ends_with('.'))
        };
        let own: Vec<_> = hosts.iter().filter(|host| above(host)).cloned().collect();
        if own.is_empty() { hosts } else { own }
    }
}

fn message(from: &Jid, to: &Jid, content: &str) -> Option<Stanza> {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("message", ns::CLIENT).attr("to", to.as_str()).attr("from", from.as_str());
    writer.attr("id", &token::random()).raw(content).end();
    Stanza::parse(&writer.finish()).ok()
}
