//! XEP-0030: Service Discovery. Hosts and accounts tell what they are, what they can do and what
//! belongs to them; of an account only those learn anything who may see its presence.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};
use verona_xml::Writer;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns::{COMMANDS, DISCO_INFO, DISCO_ITEMS, FORM};

use crate::entity::info::{Info, Known};

/// The module. What it answers is made once, of what the modules beside it offer.
#[derive(Default)]
pub struct Disco {
    host: Known,
    account: Known,
}

impl Module for Disco {
    const MANIFEST: Manifest = Manifest {
        name: "disco",
        specs: &[Spec("XEP-0030", "2.5.0"), Spec("XEP-0128", "1.0.1")],
        features: &[DISCO_INFO, DISCO_ITEMS],
        account_features: &[DISCO_INFO, DISCO_ITEMS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Host, DISCO_INFO, "query", Self::host_info);
        on.iq_get(Target::Host, DISCO_ITEMS, "query", Self::host_items);
        on.iq_get(Target::Own, DISCO_INFO, "query", Self::account_info);
        on.iq_get(Target::Own, DISCO_ITEMS, "query", Self::account_items);
        on.iq_get(Target::Account, DISCO_INFO, "query", Self::account_info);
        on.iq_get(Target::Account, DISCO_ITEMS, "query", Self::account_items);
    }
}

impl Disco {
    /// XEP-0030 §3.1; the one node is that of capabilities (XEP-0115 §6.2).
    async fn host_info(self: Arc<Self>, request: Request) -> IqResult {
        let info = self.host.get(&request.host.registry(), Info::of_host);
        match node(&request)? {
            None => Ok(Reply::raw(info.query(None))),
            Some(node) if info.is_caps_node(&node) => Ok(Reply::raw(info.query(Some(&node)))),
            Some(node) if node == COMMANDS => {
                let identity = ("command-list", None);
                Ok(Reply::with(|writer| write_command_info(&node, identity, writer)))
            }
            Some(node) => command_info(&request, &node),
        }
    }

    /// XEP-0030 §4.1: the services that belong to the host. XEP-0050 §2.2: in their own node, the
    /// commands that the asker may give it.
    async fn host_items(self: Arc<Self>, request: Request) -> IqResult {
        match node(&request)? {
            None => {}
            Some(node) if node == COMMANDS => return Ok(command_items(&request)),
            Some(_) => return Err(StanzaError::new(Condition::ItemNotFound)),
        }
        let services = request.host.services();
        let items = services.iter().map(|service| (service.jid.as_str(), service.name.as_deref()));
        Ok(Reply::with(|writer| write_items(items, None, writer)))
    }

    /// XEP-0030 §3.1, §8: who may not see the account's presence cannot tell it from one that does
    /// not exist, whatever the node.
    async fn account_info(self: Arc<Self>, request: Request) -> IqResult {
        if trusted(&request).is_none() {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        if node(&request)?.is_some() {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        let info = self.account.get(&request.host.registry(), Info::of_account);
        Ok(Reply::raw(info.query(None)))
    }

    /// XEP-0030 §4.1, §8: the account sees its resources, whoever sees its presence the available
    /// ones; to all others nothing belongs to it, whatever the node, as to no account at all.
    async fn account_items(self: Arc<Self>, request: Request) -> IqResult {
        let node = node(&request)?;
        let Some(account) = trusted(&request) else {
            let nothing = std::iter::empty();
            return Ok(Reply::with(|writer| write_items(nothing, node.as_deref(), writer)));
        };
        if node.is_some() {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        let own = account.jid.same_bare(&request.from);
        let state = account.turn();
        let shown = state.resources.iter().filter(|resource| own || resource.is_available());
        let items = shown.map(|resource| (resource.link.jid.as_str(), None));
        Ok(Reply::with(|writer| write_items(items, None, writer)))
    }
}

/// XEP-0050 §2.2: the commands that the asker may give the host.
fn command_items(request: &Request) -> Reply {
    let registry = request.host.registry();
    Reply::with(|writer| {
        writer.start("query", DISCO_ITEMS).attr("node", COMMANDS);
        for command in registry.commands(&request.host, &request.from) {
            writer.start("item", DISCO_ITEMS).attr("jid", request.host.jid.as_str());
            writer.attr("node", command.node).attr("name", command.name).end();
        }
        writer.end();
    })
}

/// XEP-0050 §2.2: one command; `forbidden` to who may not give it.
fn command_info(request: &Request, node: &str) -> IqResult {
    let registry = request.host.registry();
    let mut allowed = registry.commands(&request.host, &request.from);
    match allowed.find(|command| command.node == node) {
        Some(command) => {
            let identity = ("command-node", Some(command.name));
            Ok(Reply::with(|writer| write_command_info(node, identity, writer)))
        }
        None if registry.has_command(node) => Err(StanzaError::new(Condition::Forbidden)),
        None => Err(StanzaError::new(Condition::ItemNotFound)),
    }
}

fn write_command_info(node: &str, (kind, name): (&str, Option<&str>), writer: &mut Writer) {
    writer.start("query", DISCO_INFO).attr("node", node);
    writer.start("identity", DISCO_INFO).attr("category", "automation").attr("type", kind);
    if let Some(name) = name {
        writer.attr("name", name);
    }
    writer.end();
    for feature in [COMMANDS, FORM] {
        writer.start("feature", DISCO_INFO).attr("var", feature).end();
    }
    writer.end();
}

/// The account that is asked, if the asker may see its presence: by subscription (§8). That one of
/// its resources has sent directed presence is not enough: it is of that resource alone.
fn trusted(request: &Request) -> Option<&Arc<Account>> {
    let account = request.account.as_ref()?;
    let own = account.jid.same_bare(&request.from);
    (own || account.turn().roster.may_see(&request.from)).then_some(account)
}

/// The node that is asked for (§3.2).
fn node(request: &Request) -> Result<Option<String>, StanzaError> {
    // Most requests have none, and a name of an attribute has only one way to be written.
    if !request.iq.payload().is_some_and(|query| query.text.contains("node")) {
        return Ok(None);
    }
    Ok(request.tree()?.root().attr("node").map(str::to_owned))
}

fn write_items<'a>(
    items: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    node: Option<&str>,
    writer: &mut Writer,
) {
    writer.start("query", DISCO_ITEMS);
    if let Some(node) = node {
        writer.attr("node", node);
    }
    for (jid, name) in items {
        writer.start("item", DISCO_ITEMS).attr("jid", jid);
        if let Some(name) = name {
            writer.attr("name", name);
        }
        writer.end();
    }
    writer.end();
}

#[cfg(test)]
mod tests {
    use verona_core::host::Service;
    use verona_testkit::play::blocking;
    use verona_xmpp::jid::Jid;

    use crate::testing::{memory, play};

    #[test]
    fn own_account_has_all_its_resources_and_subscribers_see_the_available_ones() {
        play(
            "
            romeo is subscribed to juliet
            juliet/chamber logs in
            juliet sends
                <iq type='get' id='own'>
                    <query xmlns='http://jabber.org/protocol/disco#items'/>
                </iq>
            juliet receives
                <iq type='result' id='own'>
                    <query xmlns='http://jabber.org/protocol/disco#items'>{any order}
                        <item jid='juliet@capulet.lit/balcony'/>
                        <item jid='juliet@capulet.lit/chamber'/>
                    </query>
                </iq>
            romeo sends
                <iq type='get' to='juliet@capulet.lit' id='friend'>
                    <query xmlns='http://jabber.org/protocol/disco#items'/>
                </iq>
            romeo receives
                <iq type='result' from='juliet@capulet.lit' id='friend'>
                    <query xmlns='http://jabber.org/protocol/disco#items'>
                        <item jid='juliet@capulet.lit/balcony'/>
                    </query>
                </iq>
            ",
        );
    }

    #[test]
    fn unknown_node_of_an_account_is_not_found_and_nothing_to_strangers() {
        play(
            "
            juliet sends
                <iq type='get' id='i'>
                    <query xmlns='http://jabber.org/protocol/disco#info' node='n'/>
                </iq>
                <iq type='get' id='j'>
                    <query xmlns='http://jabber.org/protocol/disco#items' node='n'/>
                </iq>
            juliet receives
                <iq type='error' id='i'>
                    <error type='cancel'>
                        <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
                    </error>
                </iq>
                <iq type='error' id='j'>
                    <error type='cancel'>
                        <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
                    </error>
                </iq>
            # §8: whatever the node.
            tybalt sends
                <iq type='get' to='juliet@capulet.lit' id='there'>
                    <query xmlns='http://jabber.org/protocol/disco#items' node='n'/>
                </iq>
                <iq type='get' to='rosaline@capulet.lit' id='not-there'>
                    <query xmlns='http://jabber.org/protocol/disco#items' node='n'/>
                </iq>
            tybalt receives
                <iq type='result' from='juliet@capulet.lit' id='there'>
                    <query xmlns='http://jabber.org/protocol/disco#items' node='n'/>
                </iq>
                <iq type='result' from='rosaline@capulet.lit' id='not-there'>
                    <query xmlns='http://jabber.org/protocol/disco#items' node='n'/>
                </iq>
            ",
        );
    }

    #[test]
    fn services_are_the_items_of_their_host() {
        let script = "
            juliet sends
                <iq type='get' to='capulet.lit' id='i'>
                    <query xmlns='http://jabber.org/protocol/disco#items'/>
                </iq>
            juliet receives
                <iq type='result' from='capulet.lit' id='i'>
                    <query xmlns='http://jabber.org/protocol/disco#items'>
                        <item jid='rooms.capulet.lit' name='Rooms &amp; halls'/>
                        <item jid='irc.capulet.lit'/>
                    </query>
                </iq>
        ";
        let place = memory(script);
        let host = place.server.host("capulet.lit").unwrap();
        let service = |jid: &str, name: Option<&str>| Service {
            jid: Jid::parse(jid).unwrap(),
            name: name.map(str::to_owned),
        };
        host.add_service(&service("sms.capulet.lit", None));
        host.add_service(&service("rooms.capulet.lit", Some("Halls")));
        host.add_service(&service("rooms.capulet.lit", Some("Rooms & halls")));
        host.add_service(&service("irc.capulet.lit", None));
        host.remove_service(&Jid::parse("sms.capulet.lit").unwrap());
        blocking(script, &place);
    }

    #[test]
    fn host_tells_what_it_keeps_for_who_is_away() {
        play(
            "
            juliet sends
                <iq type='get' to='capulet.lit' id='i'>
                    <query xmlns='http://jabber.org/protocol/disco#info'/>
                </iq>
            juliet receives
                <iq type='result' from='capulet.lit' id='i'>
                    <query xmlns='http://jabber.org/protocol/disco#info'>
                        <identity category='server' type='im' name='Verona'/>
                        <feature var='msgoffline'/>
                        {and more}
                    </query>
                </iq>
            ",
        );
    }
}
