//! Plays a script at a place.
//!
//! What one character does is done before the next one begins: when another speaks or listens, those
//! who have sent something first make a round trip to their server, and to others that may be slower. At
//! the end everybody does, and whatever has come that the script does not know of fails the conversation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::client::Client;
use crate::compare::compare;
use crate::failure::Failure;
use crate::node::{NS_CLIENT, Node};
use crate::place::{Place, SECRET};
use crate::script::{Act, Script, Step};
use crate::template::{Captures, Template};
use crate::wire::{PATIENCE, Trouble};

const NS_SM: &str = "urn:xmpp:sm:3";

/// Plays a script and tells where it failed.
pub async fn play(script: &str, place: &impl Place) -> Result<(), Failure> {
    let script = Script::parse(script).map_err(|error| Failure {
        line: error.line,
        what: error.what,
        so_far: Vec::new(),
        log: String::new(),
    })?;
    perform(&script, place, PATIENCE).await
}

/// Plays a script that was read before, with its own patience.
pub async fn perform(
    script: &Script,
    place: &impl Place,
    patience: Duration,
) -> Result<(), Failure> {
    let mut stage = Stage::new(script, place, patience);
    let mut line = 0;
    let result = stage.perform(&mut line).await;
    result.map_err(|what| Failure { line, what, so_far: stage.so_far, log: place.log() })
}

/// Plays a script on a runtime of its own and panics with the reason if it fails, for unit tests.
pub fn blocking(script: &str, place: &impl Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map(|runtime| runtime.block_on(play(script, place)));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => panic!("{failure}"),
        Err(error) => panic!("no runtime: {error}"),
    }
}

/// One character during the play.
#[derive(Default)]
pub(crate) struct Actor {
    pub(crate) client: Option<Client>,
    /// Has sent something that the server may still be busy with.
    spoke: bool,
    /// What came before the connection ended and was not asked for.
    left: Vec<Node>,
}

/// A conversation that is going on.
pub(crate) struct Stage<'a, P> {
    pub(crate) script: &'a Script,
    pub(crate) place: &'a P,
    pub(crate) patience: Duration,
    pub(crate) actors: Vec<Actor>,
    /// By bare JID.
    passwords: BTreeMap<String, String>,
    known: Captures,
    so_far: Vec<String>,
}

impl<'a, P: Place> Stage<'a, P> {
    fn new(script: &'a Script, place: &'a P, patience: Duration) -> Self {
        let actors = script.cast.iter().map(|_| Actor::default()).collect();
        let passwords = script
            .cast
            .iter()
            .map(|c| match c.address.is_component() {
                true => (c.address.bare(), SECRET.to_owned()),
                false => (c.address.bare(), format!("{}, wherefore?", c.address.local)),
            })
            .collect();
        let (known, so_far) = (Captures::new(), Vec::new());
        Self { script, place, patience, actors, passwords, known, so_far }
    }

    async fn perform(&mut self, line: &mut usize) -> Result<(), String> {
        self.set_the_stage().await?;
        for step in &self.script.steps {
            *line = step.line;
            let name = &self.script.cast[step.who].name;
            self.step(step).await.map_err(|what| format!("{name}: {what}"))?;
        }
        self.end().await
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let who = step.who;
        self.settle(Some(who)).await?;
        match &step.act {
            Act::Connect => self.connect(who).await.map_err(|trouble| trouble.to_string())?,
            Act::Authenticate => {
                self.authenticate(who).await.map_err(|trouble| trouble.to_string())?;
            }
            Act::LogInAtOnce { token, wishes } => {
                self.log_in_at_once(who, token.as_deref(), wishes).await?;
            }
            Act::LogIn => self.log_in(who).await.map_err(|trouble| trouble.to_string())?,
            Act::CannotLogIn(condition) => self.fail_to_log_in(who, condition.as_ref()).await?,
            Act::ComeOnline { priority } => self.come_online(who, *priority).await?,
            Act::Password(password) => {
                let bare = self.script.cast[who].address.bare();
                self.passwords.insert(bare, password.clone());
            }
            Act::LogOut => self.log_out(who).await?,
            Act::Disconnect => self.disconnect(who)?,
            Act::Send(text) => {
                let template = Template::parse(text)?;
                let text = template.fill(&self.known);
                self.send(who, &text).await?;
            }
            Act::SendRaw(text) => self.send(who, text).await?,
            Act::Receive { elements, any_order: false } => self.receive(who, elements).await?,
            Act::Receive { elements, any_order: true } => {
                self.receive_in_any_order(who, elements).await?;
            }
            Act::ReceiveNothing => self.receive_nothing(who).await?,
            Act::SeeStreamError(condition) => self.see_stream_error(who, condition).await?,
            Act::SeeFeature { feature, there } => self.see_feature(who, feature, *there)?,
        }
        Ok(())
    }

    /// Waits until the servers have handled what the others have sent.
    async fn settle(&mut self, except: Option<usize>) -> Result<(), String> {
        for (who, actor) in self.actors.iter_mut().enumerate() {
            let Some(client) = actor.client.as_mut().filter(|_| actor.spoke) else { continue };
            if Some(who) == except || !client.is_bound() {
                continue;
            }
            let character = &self.script.cast[who];
            let made = round_trips(client, self.place.elsewhere(&character.address)).await;
            made.map_err(|trouble| format!("{}: {trouble}", character.name))?;
            actor.spoke = false;
        }
        Ok(())
    }

    async fn connect(&mut self, who: usize) -> Result<(), Trouble> {
        let address = &self.script.cast[who].address;
        let link = self.place.connect(address).await?;
        let client = Client::connect(link, address, self.patience).await?;
        let actor = &mut self.actors[who];
        if let Some(before) = actor.client.replace(client) {
            actor.left.extend(before.inbox().cloned());
        }
        self.note(who, "connects");
        Ok(())
    }

    /// Connects, if that has not happened, and authenticates, if that has not happened.
    async fn authenticate(&mut self, who: usize) -> Result<(), Trouble> {
        let is_open = self.actors[who].client.as_ref().is_some_and(|client| !client.is_bound());
        if !is_open {
            self.connect(who).await?;
        }
        let password = self.password(&self.script.cast[who].address);
        if let Some(client) = &mut self.actors[who].client {
            client.authenticate(&password).await?;
        }
        self.note(who, "authenticates");
        Ok(())
    }

    async fn log_in(&mut self, who: usize) -> Result<(), Trouble> {
        self.authenticate(who).await?;
        if let Some(client) = &mut self.actors[who].client {
            client.bind().await?;
        }
        self.note(who, "binds");
        Ok(())
    }

    async fn log_in_at_once(
        &mut self,
        who: usize,
        token: Option<&str>,
        wishes: &str,
    ) -> Result<(), String> {
        let is_open = self.actors[who].client.as_ref().is_some_and(|client| !client.is_bound());
        if !is_open {
            self.connect(who).await.map_err(|trouble| trouble.to_string())?;
        }
        let wishes = Template::parse(wishes)?.fill(&self.known);
        let password = self.password(&self.script.cast[who].address);
        let token = token.map(Template::parse).transpose()?.map(|token| token.fill(&self.known));
        let secret = (password.as_str(), token.as_deref());
        let login = self.client(who)?.log_in_at_once(secret, &wishes).await;
        login.map_err(|trouble| trouble.to_string())?;
        self.note(who, "logs in at once");
        Ok(())
    }

    async fn fail_to_log_in(&mut self, who: usize, wanted: Option<&Node>) -> Result<(), String> {
        let result = self.log_in(who).await;
        self.actors[who].client = None;
        match result {
            Ok(()) => Err("the login succeeded".to_owned()),
            Err(Trouble::Refused(failure)) => match wanted {
                Some(node) if failure.child(&node.name, &node.ns).is_none() => {
                    Err(format!("the login was refused for another reason\n{}", failure.pretty(4)))
                }
                _ => Ok(()),
            },
            Err(trouble) => Err(trouble.to_string()),
        }
    }

    pub(crate) async fn come_online(
        &mut self,
        who: usize,
        priority: Option<i8>,
    ) -> Result<(), String> {
        let name = &self.script.cast[who].name;
        self.log_in(who).await.map_err(|trouble| format!("{name}: {trouble}"))?;
        if self.script.cast[who].address.is_component() {
            return Ok(());
        }
        let presence = match priority {
            None => "<presence/>".to_owned(),
            Some(priority) => format!("<presence><priority>{priority}</priority></presence>"),
        };
        self.send(who, &presence).await?;
        // RFC 6121 §4.2.2: the resource receives its own presence. Whether it does is for a script
        // about presence to say; here it is only taken away.
        let address = &self.script.cast[who].address;
        let (full, elsewhere) = (address.full(), self.place.elsewhere(address));
        let client = self.client(who)?;
        round_trips(client, elsewhere).await.map_err(|trouble| trouble.to_string())?;
        client.take(|node| node.is("presence", NS_CLIENT) && node.attr("from") == Some(&full));
        Ok(())
    }

    async fn log_out(&mut self, who: usize) -> Result<(), String> {
        let full = self.script.cast[who].address.full();
        let client = self.client(who)?;
        client.log_out().await.map_err(|trouble| trouble.to_string())?;
        // RFC 6121 §4.5.2: it may hear of its own leaving.
        let own = |node: &Node| node.is("presence", NS_CLIENT) && node.attr("from") == Some(&full);
        client.take(|node| own(node) && node.attr("type") == Some("unavailable"));
        self.disconnect(who)
    }

    fn disconnect(&mut self, who: usize) -> Result<(), String> {
        let actor = &mut self.actors[who];
        let client = actor.client.take().ok_or("is not connected")?;
        actor.left.extend(client.inbox().cloned());
        actor.spoke = false;
        self.note(who, "leaves");
        Ok(())
    }

    async fn send(&mut self, who: usize, text: &str) -> Result<(), String> {
        self.client(who)?.send(text).await.map_err(|trouble| trouble.to_string())?;
        self.actors[who].spoke = true;
        self.note(who, &format!("sends\n{text}"));
        Ok(())
    }

    async fn receive(&mut self, who: usize, elements: &[(usize, Node)]) -> Result<(), String> {
        for (line, expected) in elements {
            let shown = format!("expected (line {line})\n{}", expected.pretty(4));
            let element = self.element(who, is_ack(expected)).await;
            let actual = element.map_err(|trouble| format!("{shown}\n{trouble}"))?;
            self.note(who, &format!("receives\n{}", actual.pretty(0)));
            let address = &self.script.cast[who].address;
            compare(expected, &actual, Some(address), &mut self.known).map_err(|difference| {
                format!("{shown}\nreceived\n{}\n{difference}", actual.pretty(4))
            })?;
        }
        Ok(())
    }

    /// The next element; acks may come at any time (XEP-0198 §4), and count only when asked for.
    async fn element(&mut self, who: usize, acks: bool) -> Result<Node, String> {
        loop {
            let element = self.client(who)?.element("the next element").await;
            let node = element.map_err(|trouble| trouble.to_string())?;
            if acks || !is_ack(&node) {
                return Ok(node);
            }
        }
    }

    async fn receive_in_any_order(
        &mut self,
        who: usize,
        elements: &[(usize, Node)],
    ) -> Result<(), String> {
        let mut actual = Vec::new();
        let acks = elements.iter().any(|(_, node)| is_ack(node));
        for (missing, _) in elements.iter().enumerate() {
            match self.element(who, acks).await {
                Ok(node) => {
                    self.note(who, &format!("receives\n{}", node.pretty(0)));
                    actual.push(node);
                }
                Err(trouble) => {
                    let total = elements.len();
                    return Err(format!("only {missing} of {total} came: {trouble}"));
                }
            }
        }
        let address = &self.script.cast[who].address;
        let expected: Vec<&Node> = elements.iter().map(|(_, node)| node).collect();
        match assign(&expected, &actual, address, &self.known) {
            Some(known) => {
                self.known = known;
                Ok(())
            }
            None => {
                let show = |nodes: Vec<&Node>| -> String {
                    nodes.iter().map(|node| node.pretty(4) + "\n").collect()
                };
                let (expected, actual) = (show(expected), show(actual.iter().collect()));
                Err(format!("expected in any order\n{expected}received\n{actual}"))
            }
        }
    }

    async fn receive_nothing(&mut self, who: usize) -> Result<(), String> {
        self.settle(None).await?;
        let client = self.client(who)?;
        if !client.is_bound() {
            return Err("only who is logged in can make sure that nothing comes".to_owned());
        }
        client.round_trip().await.map_err(|trouble| trouble.to_string())?;
        match client.inbox().find(|node| !is_ack(node)) {
            None => Ok(()),
            Some(node) => Err(format!("received\n{}", node.pretty(4))),
        }
    }

    async fn see_stream_error(&mut self, who: usize, condition: &Node) -> Result<(), String> {
        let result = self.client(who)?.stream_error().await;
        let error = result.map_err(|trouble| trouble.to_string())?;
        self.note(who, &format!("sees\n{}", error.pretty(0)));
        if error.child(&condition.name, &condition.ns).is_none() {
            return Err(format!("expected <{}/>, received\n{}", condition.name, error.pretty(4)));
        }
        self.disconnect(who)
    }

    fn see_feature(&mut self, who: usize, feature: &Node, wanted: bool) -> Result<(), String> {
        let known = self.known.clone();
        let features = self.client(who)?.features().clone();
        let there = features
            .children()
            .any(|child| compare(feature, child, None, &mut known.clone()).is_ok());
        match (there, wanted) {
            (true, false) => Err(format!("it is among\n{}", features.pretty(4))),
            (false, true) => Err(format!("it is not among\n{}", features.pretty(4))),
            _ => Ok(()),
        }
    }

    /// Everybody makes a round trip, twice, since what one round trip brought to light may have sent
    /// something to another; then nothing may be left.
    async fn end(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            for (who, actor) in self.actors.iter_mut().enumerate() {
                let Some(client) = actor.client.as_mut().filter(|c| c.is_bound()) else { continue };
                let character = &self.script.cast[who];
                let made = round_trips(client, self.place.elsewhere(&character.address)).await;
                made.map_err(|trouble| format!("{}: {trouble}", character.name))?;
            }
        }
        let mut left = String::new();
        for (actor, character) in self.actors.iter().zip(&self.script.cast) {
            let waiting = actor.client.iter().flat_map(Client::inbox);
            for node in actor.left.iter().chain(waiting).filter(|node| !is_ack(node)) {
                left += &format!("\n{} received\n{}", character.name, node.pretty(4));
            }
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("at the end, this had come and was not expected:{left}")),
        }
    }

    fn client(&mut self, who: usize) -> Result<&mut Client, String> {
        self.actors[who].client.as_mut().ok_or_else(|| "is not connected".to_owned())
    }

    pub(crate) fn password(&self, address: &Address) -> String {
        self.passwords.get(&address.bare()).cloned().unwrap_or_default()
    }

    fn note(&mut self, who: usize, what: &str) {
        self.so_far.push(format!("{} {what}", self.script.cast[who].name));
    }
}

/// A round trip to the own server and to others, to these twice: what one brought to light may have
/// been answered, and the answer may have had an effect there.
pub(crate) async fn round_trips(client: &mut Client, elsewhere: &[&str]) -> Result<(), Trouble> {
    client.round_trip().await?;
    for domain in elsewhere.iter().chain(elsewhere) {
        client.round_trip_to(domain).await?;
    }
    Ok(())
}

/// `<r/>` and `<a/>` of stream management.
fn is_ack(node: &Node) -> bool {
    node.is("r", NS_SM) || node.is("a", NS_SM)
}

/// Finds who is who: each expected element takes one of the others, so that all are taken.
///
/// The recursion goes over what the author of a script wrote in one block.
fn assign(
    expected: &[&Node],
    actual: &[Node],
    receiver: &Address,
    known: &Captures,
) -> Option<Captures> {
    let Some((first, rest)) = expected.split_first() else { return Some(known.clone()) };
    actual.iter().enumerate().find_map(|(taken, node)| {
        let mut found = known.clone();
        compare(first, node, Some(receiver), &mut found).ok()?;
        let others: Vec<Node> = actual
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != taken)
            .map(|(_, node)| node.clone())
            .collect();
        assign(rest, &others, receiver, &found)
    })
}
