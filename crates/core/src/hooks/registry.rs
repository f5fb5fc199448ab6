//! Where modules act: filled once per host at start, read for every stanza.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hashbrown::Equivalent;
use verona_xml::Writer;
use verona_xmpp::error::StanzaError;
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{IqType, Kind, Stanza};

use crate::account::state::{Part, PartSpec};
use crate::hooks::command::{Command, Execution, Outcome};
use crate::hooks::decision::{Direction, Phase, Standing, Verdict};
use crate::hooks::place::{Stage, Target};
use crate::hooks::reply::{Answer, IqResult};
use crate::hooks::vouch::{Asking, Voucher};
use crate::server::{
    Answering, BeforeLogin, Bounding, Change, Commanding, ComponentEvent, Host, HostMessage,
    Inline, Key, Listed, Login, Nested, Offering, Passage, Registering, Registry, Request, Seat,
    Server, Telling,
};
use crate::store::shape::Table;
use crate::trail::Kept;

/// A key that is looked for; it hashes as the key does.
#[derive(Hash)]
struct Wanted<'a> {
    target: Target,
    set: bool,
    ns: &'a str,
    name: &'a str,
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.target, self.set, self.ns, self.name) == (key.target, key.set, key.ns, key.name)
    }
}

/// What a module uses to say where it acts.
pub struct Hooks<'a, M> {
    registry: &'a mut Registry,
    module: Arc<M>,
    loaded: &'static [Table],
}

impl<'a, M: Send + Sync + 'static> Hooks<'a, M> {
    pub(crate) fn new(
        registry: &'a mut Registry,
        module: Arc<M>,
        loaded: &'static [Table],
    ) -> Self {
        Self { registry, module, loaded }
    }

    /// The instance, for hooks that depend on its settings.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// Answers IQs of type get with this element.
    pub fn iq_get<F>(
        &mut self,
        target: Target,
        ns: &'static str,
        name: &'static str,
        answer: fn(Arc<M>, Request) -> F,
    ) where
        F: Future<Output = IqResult> + Send + 'static,
    {
        self.iq(Key { target, set: false, ns, name }, answer);
    }

    /// Answers IQs of type set with this element; the result must come after the commit.
    pub fn iq_set<F>(
        &mut self,
        target: Target,
        ns: &'static str,
        name: &'static str,
        answer: fn(Arc<M>, Request) -> F,
    ) where
        F: Future<Output = IqResult> + Send + 'static,
    {
        self.iq(Key { target, set: true, ns, name }, answer);
    }

    fn iq<F>(&mut self, key: Key, answer: fn(Arc<M>, Request) -> F)
    where
        F: Future<Output = IqResult> + Send + 'static,
    {
        let module = self.module.clone();
        let boxed: Answering = Box::new(move |request| Box::pin(answer(module.clone(), request)));
        let twice = self.registry.answers.insert(key, boxed).is_some();
        debug_assert!(!twice, "two modules answer the same element");
    }

    /// May stop stanzas; runs before anything else.
    pub fn guard(&mut self, direction: Direction, guard: fn(&M, &mut Passage<'_>) -> Verdict) {
        let module = self.module.clone();
        let list = &mut self.registry.guards[direction as usize];
        list.push(Box::new(move |passage| guard(&module, passage)));
    }

    /// Watches messages in a phase after the guards.
    pub fn message(&mut self, direction: Direction, phase: Phase, watch: fn(&M, &mut Passage<'_>)) {
        let module = self.module.clone();
        let place = match phase {
            Phase::Guard | Phase::Stamp => 0,
            Phase::Keep => 1,
            Phase::Copy => 2,
        };
        let list = &mut self.registry.watchers[direction as usize][place];
        list.push(Box::new(move |passage| watch(&module, passage)));
    }

    /// Hears when a resource's availability changes, and when an available one is resumed.
    pub fn change(&mut self, watch: fn(&M, &mut Change<'_>)) {
        let module = self.module.clone();
        self.registry.changes.push(Box::new(move |change| watch(&module, change)));
    }

    /// Adds a stream feature (RFC 6120 §4.3.2) at a stage of the stream.
    pub fn advertise(&mut self, stage: Stage, write: fn(&M, &mut Offering<'_>)) {
        let module = self.module.clone();
        self.registry.advertised.push((stage, Box::new(move |offering| write(&module, offering))));
    }

    /// Answers IQs with an element of this namespace on streams that are not yet logged in.
    pub fn before_login<F>(&mut self, ns: &'static str, answer: fn(Arc<M>, BeforeLogin) -> F)
    where
        F: Future<Output = IqResult> + Send + 'static,
    {
        let module = self.module.clone();
        let boxed: Registering = Box::new(move |request| Box::pin(answer(module.clone(), request)));
        self.registry.before_login.push((ns, boxed));
    }

    /// Does something for the host from time to time, some minutes apart.
    pub fn chore<F>(&mut self, chore: fn(Arc<M>, Arc<Server>, Arc<Host>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let module = self.module.clone();
        self.registry
            .chores
            .push(Box::new(move |server, host| Box::pin(chore(module.clone(), server, host))));
    }

    /// Offers a command of the host (XEP-0050) to those whom `allow` names.
    pub fn command<F>(
        &mut self,
        command: Command,
        allow: fn(&M, &Host, &Jid) -> bool,
        execute: fn(Arc<M>, Request) -> F,
    ) where
        F: Future<Output = Result<Outcome, StanzaError>> + Send + 'static,
    {
        let (asked, module) = (self.module.clone(), self.module.clone());
        self.registry.commands.push(Commanding {
            command,
            allow: Box::new(move |host, jid| allow(&asked, host, jid)),
            execute: Box::new(move |request| Box::pin(execute(module.clone(), request))),
        });
    }

    /// May vouch for who asks an account for a subscription (RFC 6121 §3.1.3).
    pub fn vouch<F>(&mut self, vouch: fn(Arc<M>, Asking) -> F)
    where
        F: Future<Output = Option<Voucher>> + Send + 'static,
    {
        let module = self.module.clone();
        self.registry
            .vouching
            .push(Box::new(move |asking| Box::pin(vouch(module.clone(), asking))));
    }

    /// Adds identities or forms to the answer to disco#info (XEP-0030 §3.1, XEP-0128 §2).
    pub fn describe(&mut self, target: Target, write: fn(&M, &mut Writer)) {
        let module = self.module.clone();
        self.registry.described.push((target, Box::new(move |writer| write(&module, writer))));
    }

    /// Hears an element of a bound stream that is no stanza, in its place between the stanzas.
    pub fn nonza(&mut self, ns: &'static str, name: &'static str, hear: fn(&M, &Seat)) {
        let module = self.module.clone();
        self.registry.nonzas.push((ns, name, Box::new(move |seat| hear(&module, seat))));
    }

    /// Turns something on that a client may ask for as it binds its resource, with this element
    /// (XEP-0386 §3.1, §3.2). The namespace is announced as the feature.
    pub fn inline(
        &mut self,
        ns: &'static str,
        name: &'static str,
        enable: fn(&M, &mut Inline<'_>),
    ) {
        let module = self.module.clone();
        self.registry.inline.push((ns, name, Box::new(move |asked| enable(&module, asked))));
    }

    /// Tells a client more about its account when it has bound its resource by XEP-0386 (§3.2.1).
    pub fn bound<F>(&mut self, tell: fn(Arc<M>, Arc<Server>, Seat) -> F)
    where
        F: Future<Output = IqResult> + Send + 'static,
    {
        let module = self.module.clone();
        let boxed: Bounding =
            Box::new(move |server, seat| Box::pin(tell(module.clone(), server, seat)));
        self.registry.bound.push(boxed);
    }

    /// Says whether who asks an account for something does so in the account's place.
    pub fn stand_in(&mut self, judge: fn(&M, &Request) -> Standing) {
        let module = self.module.clone();
        self.registry.stand_ins.push(Box::new(move |request| judge(&module, request)));
    }

    /// May answer a request in place of the module that would: hears of each before that.
    pub fn replace(&mut self, answer: fn(&Arc<M>, &Request) -> Option<Answer>) {
        let module = self.module.clone();
        self.registry.replacements.push(Box::new(move |request| answer(&module, request)));
    }

    /// Takes messages to the host that have this child. An error goes back to who sent it.
    pub fn told<F>(
        &mut self,
        ns: &'static str,
        name: &'static str,
        hear: fn(Arc<M>, HostMessage) -> F,
    ) where
        F: Future<Output = Result<Vec<Kept>, StanzaError>> + Send + 'static,
    {
        let module = self.module.clone();
        let boxed: Telling = Box::new(move |told| Box::pin(hear(module.clone(), told)));
        self.registry.told.push((ns, name, boxed));
    }

    /// Sees presence of others for accounts, available and unavailable, after the guards; also for
    /// accounts of which nobody is online.
    pub fn presence(&mut self, watch: fn(&M, &mut Passage<'_>)) {
        let module = self.module.clone();
        self.registry.presences.push(Box::new(move |passage| watch(&module, passage)));
    }

    /// Hears of changed roster items; what it puts into the list is routed when the turn is over.
    pub fn roster(&mut self, list: fn(&M, &Listed<'_>, &mut Vec<Stanza>)) {
        let module = self.module.clone();
        self.registry.rosters.push(Box::new(move |listed, sends| list(&module, listed, sends)));
    }

    /// Tells in place of all modules what is to be known of some namespaces (XEP-0030 §3.1). `version`
    /// changes when that does.
    pub fn nest(&mut self, version: fn(&M) -> u64, nest: fn(&M, Target) -> Vec<Nested>) {
        let (module, same) = (self.module.clone(), self.module.clone());
        let version = Box::new(move || version(&module));
        self.registry.nestings.push((version, Box::new(move |target| nest(&same, target))));
    }

    /// Says what a component is told on behalf of the host when it connects: the content of a message.
    /// It is asked again when the config has changed, and what is new is sent; `true` says that the
    /// component was told something before.
    pub fn announce(&mut self, say: fn(&M, &Jid, bool) -> Option<String>) {
        let module = self.module.clone();
        let boxed = move |component: &Jid, again| say(&module, component, again);
        self.registry.announcements.push(Box::new(boxed));
    }

    /// Hears of components that come and go.
    pub fn component<F>(&mut self, meet: fn(Arc<M>, ComponentEvent) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let module = self.module.clone();
        let boxed =
            move |event| -> BoxFuture<'static, ()> { Box::pin(meet(module.clone(), event)) };
        self.registry.meetings.push(Box::new(boxed));
    }

    /// Hears of a login by a client that says who it is (XEP-0388 §2.3).
    pub fn login(&mut self, greet: fn(&M, &Login<'_>)) {
        let module = self.module.clone();
        self.registry.logins.push(Box::new(move |login| greet(&module, login)));
    }

    /// Keeps a value in memory with each account, made from the entries of the manifest's `loaded`
    /// tables; an account without entries has none.
    pub fn part<P: Part>(&mut self) {
        self.registry.parts.push(PartSpec {
            tables: self.loaded,
            load: |entries| Box::new(P::load(entries)) as Box<dyn Any + Send>,
        });
    }
}

impl Registry {
    /// Asks the module that answers this element; None when there is none.
    pub fn answer(&self, target: Target, request: Request) -> Option<Answer> {
        let Some(IqType::Get | IqType::Set) = request.iq.iq_type() else { return None };
        let child = request.iq.payload()?;
        let (ns, name) = (child.ns, child.name);
        let set = request.is_set();
        let found = self.answers.get(&Wanted { target, set, ns, name });
        found.map(|answering| answering(request))
    }

    /// The answer of a module that takes the place of another.
    pub fn replace(&self, request: &Request) -> Option<Answer> {
        self.replacements.iter().find_map(|answer| answer(request))
    }

    /// In whose place somebody asks an account.
    pub fn standing(&self, request: &Request) -> Standing {
        let judged = self.stand_ins.iter().map(|judge| judge(request));
        judged
            .into_iter()
            .find(|standing| !matches!(standing, Standing::Own))
            .unwrap_or(Standing::Own)
    }

    /// What a module does about a message to the host; None when none takes it. Errors are nobody's.
    pub fn tell(
        &self,
        told: HostMessage,
    ) -> Option<BoxFuture<'static, Result<Vec<Kept>, StanzaError>>> {
        if told.stanza.is_answer() {
            return None;
        }
        let has =
            |of: &&(&'static str, &'static str, Telling)| told.stanza.child(of.1, of.0).is_some();
        let (_, _, hear) = self.told.iter().find(has)?;
        Some(hear(told))
    }

    /// Whether a module sees presence also for accounts of which nobody is online.
    pub fn watches_presence(&self) -> bool {
        !self.presences.is_empty()
    }

    /// Shows presence of others to who watches it.
    pub fn see(&self, passage: &mut Passage<'_>) {
        self.presences.iter().for_each(|watch| watch(passage));
    }

    /// Tells of a changed roster item.
    pub fn listed(&self, listed: &Listed<'_>, sends: &mut Vec<Stanza>) {
        self.rosters.iter().for_each(|list| list(listed, sends));
    }

    /// What others tell of some namespaces in this host's place.
    pub fn nested(&self, target: Target) -> Vec<Nested> {
        self.nestings.iter().flat_map(|(_, nest)| nest(target)).collect()
    }

    /// A number that changes when [`Registry::nested`] does.
    pub fn nested_version(&self) -> u64 {
        self.nestings.iter().fold(0, |sum, (version, _)| sum.wrapping_add(version()))
    }

    /// Runs the guards of a direction.
    pub fn guard(&self, passage: &mut Passage<'_>) -> Verdict {
        for guard in &self.guards[passage.direction as usize] {
            match guard(passage) {
                Verdict::Pass => {}
                verdict => return verdict,
            }
        }
        Verdict::Pass
    }

    /// Runs the watchers of messages in a phase.
    pub fn watch(&self, phase: Phase, passage: &mut Passage<'_>) {
        let Kind::Message(_) = passage.stanza.kind() else { return };
        let place = match phase {
            Phase::Guard | Phase::Stamp => 0,
            Phase::Keep => 1,
            Phase::Copy => 2,
        };
        for watch in &self.watchers[passage.direction as usize][place] {
            watch(passage);
        }
    }

    /// Tells the watchers of a change of availability.
    pub fn changed(&self, change: &mut Change<'_>) {
        for watch in &self.changes {
            watch(change);
        }
    }

    /// Writes the stream features that modules add at a stage.
    pub fn advertise(&self, offering: &mut Offering<'_>) {
        let stage = offering.stage;
        for (_, write) in self.advertised.iter().filter(|(of, _)| *of == stage) {
            write(offering);
        }
    }

    /// The answer to an IQ on a stream that is not logged in; None when no module gives one.
    pub fn before_login(&self, request: BeforeLogin) -> Option<Answer> {
        let ns = request.iq.payload()?.ns;
        let (_, answer) = self.before_login.iter().find(|(of, _)| *of == ns)?;
        Some(answer(request))
    }

    /// The features that a client may turn on as it binds its resource, each once.
    pub fn inline_features(&self) -> Vec<&'static str> {
        let mut features: Vec<_> = self.inline.iter().map(|(ns, _, _)| *ns).collect();
        features.sort_unstable();
        features.dedup();
        features
    }

    /// Turns on what an element asks for; what no module knows is passed over.
    pub fn inline(&self, asked: &mut Inline<'_>) {
        let request = asked.request;
        if let Some((_, _, enable)) = self.inline.iter().find(|of| request.is(of.1, of.0)) {
            enable(asked);
        }
    }

    /// What modules tell a client that has bound its resource.
    pub fn bound(&self, server: &Arc<Server>, seat: &Seat) -> Vec<Answer> {
        self.bound.iter().map(|tell| tell(server.clone(), seat.clone())).collect()
    }

    /// The commands that somebody may give a host.
    pub fn commands<'a>(
        &'a self,
        host: &'a Host,
        jid: &'a Jid,
    ) -> impl Iterator<Item = Command> + 'a {
        let allowed = self.commands.iter().filter(move |known| (known.allow)(host, jid));
        allowed.map(|known| known.command)
    }

    /// Whether there is a command of this node, whoever may give it.
    pub fn has_command(&self, node: &str) -> bool {
        self.commands.iter().any(|known| known.command.node == node)
    }

    /// Executes a command, or a stage of it; None when there is none that the asker may give.
    pub fn execute(&self, node: &str, request: Request) -> Option<Execution> {
        let known = self.commands.iter().find(|known| known.command.node == node)?;
        (known.allow)(&request.host, &request.from).then(|| (known.execute)(request))
    }

    /// Whether somebody vouches for who asks an account for a subscription.
    pub async fn vouch(&self, asking: impl Fn() -> Asking) -> Option<Voucher> {
        for vouch in &self.vouching {
            if let Some(voucher) = vouch(asking()).await {
                return Some(voucher);
            }
        }
        None
    }

    /// Tells the modules of a login.
    pub fn logged_in(&self, login: &Login<'_>) {
        for greet in &self.logins {
            greet(login);
        }
    }

    /// Writes what modules add to disco#info.
    pub fn describe(&self, target: Target, writer: &mut Writer) {
        for (_, write) in self.described.iter().filter(|(of, _)| *of == target) {
            write(writer);
        }
    }

    /// Tells the module that knows an element which is no stanza; false when there is none.
    pub fn nonza(&self, ns: &str, name: &str, seat: &Seat) -> bool {
        let known = self.nonzas.iter().find(|known| (known.0, known.1) == (ns, name));
        if let Some((_, _, hear)) = known {
            hear(seat);
        }
        known.is_some()
    }
}
