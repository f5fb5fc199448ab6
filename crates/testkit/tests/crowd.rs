//! A restart under a crowd of live sessions, on the built binary. All resume; each gets again what it
//! had not acknowledged and nothing else; nobody sees anybody leave or come.
//!
//! `VERONA_CROWD` is how many there are, 2,000 if it is not said. 15,000 come over TLS and by token,
//! all at once, and have to be back within 45 s: meant for release builds of both, on two cores.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use verona_testkit::address::Address;
use verona_testkit::client::{Client, register};
use verona_testkit::node::{NS_CLIENT, Node};
use verona_testkit::place::{Link, Place, Security};
use verona_testkit::running::{RunningServer, Wanted};
use verona_testkit::script::Setup;
use verona_testkit::wire::Trouble;

/// Sessions when nobody says how many.
const USUAL: usize = 2_000;
/// From here on it is about the time that all take to be back.
const MANY: usize = 10_000;
const BACK_WITHIN: Duration = Duration::from_secs(45);

/// Sessions of one account, which see each other's presence.
const EACH: usize = 5;
const PASSWORD: &str = "p4rt1ng";
const DOMAIN: &str = "localhost";
/// How long anything may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many log in at a time before the restart; behind it nobody waits for anybody.
const AT_ONCE: usize = 100;
/// Attempts to come back: handshakes that take too long are cut off, as they are on any server.
const TRIES_MAX: usize = 20;
/// The most messages that one session has not acknowledged when the server ends.
const TAIL_MAX: usize = 3;

/// The members are busy with each other, and leave requests for acknowledgements unanswered.
const CONFIG: &str = "[limits]\nunlimited = true\nunanswered_secs = 3600\n";

const NS_SM: &str = "urn:xmpp:sm:3";

fn main() {
    let count = std::env::var("VERONA_CROWD").ok().and_then(|text| text.parse().ok());
    let Some(binary) = RunningServer::binary() else {
        println!("no verona binary: nothing is tried (name one with VERONA_BIN)");
        return;
    };
    raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let story = crowd(binary, count.unwrap_or(USUAL));
    runtime.block_on(story).unwrap_or_else(|why| panic!("{why}"));
}

async fn crowd(binary: std::path::PathBuf, count: usize) -> Result<(), String> {
    let transport = if count >= MANY { Security::Tls } else { Security::None };
    let setup = Setup {
        registration: Some("open".to_owned()),
        config: CONFIG.to_owned(),
        ..Setup::default()
    };
    let storage = "sqlite:verona.db".to_owned();
    let mut server = RunningServer::start(Wanted { binary, storage, transport, setup }).await?;
    let place = Arc::new(Entrance { address: server.address(), security: transport });

    let members: Vec<Member> = (0..count).map(|number| Member::new(number, &place)).collect();
    let accounts = members.iter().step_by(EACH).map(|member| member.address.clone()).collect();
    let began = Instant::now();
    make_accounts(&place, accounts).await?;
    let made = began.elapsed();
    let members = at_once(members, AT_ONCE, Member::enter).await?;
    let entered = began.elapsed() - made;
    // Behind this everybody has all that was said when the others came.
    let mut members = at_once(members, AT_ONCE, Member::settle).await?;
    let names: Vec<String> = members.iter().map(|member| member.address.full()).collect();
    for member in &mut members {
        member.meet(&names);
    }
    let members = at_once(members, AT_ONCE, Member::write).await?;

    let began = Instant::now();
    server.end().await.map_err(|why| tell(&server, &why))?;
    let ended = began.elapsed();
    let began = Instant::now();
    server.begin_again().await?;
    let begun = began.elapsed();
    let outcome = at_once(members, count, Member::resume).await;
    let back = began.elapsed();
    let members = outcome.map_err(|why| tell(&server, &why))?;
    let tries: usize = members.iter().map(|member| member.tries).sum();
    let tail: usize = (0..members.len()).map(tail_of).sum();
    // And all go on: each writes to the next, everybody gets it once.
    let members = at_once(members, AT_ONCE, Member::write_on).await?;
    let members = at_once(members, AT_ONCE, Member::hear).await?;
    println!(
        "note: {} sessions entered in {entered:.1?} (accounts {made:.1?}), server ended in \
         {ended:.1?}, began in {begun:.1?}, all were back {back:.1?} behind its start with {tail} \
         stanzas sent again, in {tries} attempts",
        members.len()
    );
    if count >= MANY && back > BACK_WITHIN {
        return Err(format!("{count} sessions were back only after {back:?}"));
    }
    println!("test a_restart_under_live_sessions_goes_unnoticed ... ok");
    Ok(())
}

/// How many messages come to a session of the crowd and are not acknowledged when the server ends.
/// Those with odd numbers get them, from those before them, which get none.
fn tail_of(number: usize) -> usize {
    if number % 2 == 1 { number / 2 % (TAIL_MAX + 1) } else { 0 }
}

fn tail_ids(number: usize) -> Vec<String> {
    (0..tail_of(number)).map(|n| format!("tail-{number}-{n}")).collect()
}

fn tell(server: &RunningServer, why: &str) -> String {
    format!("{why}\n--- the server said\n{}", server.log())
}

/// A door of the server; clients come from many addresses, as one has not enough ports for all.
struct Entrance {
    address: SocketAddr,
    security: Security,
}

impl Entrance {
    async fn link(&self, number: usize) -> std::io::Result<Link> {
        let socket = TcpSocket::new_v4()?;
        let net = u8::try_from(number % 40).unwrap_or_default();
        socket.bind((Ipv4Addr::new(127, 0, 1, 1 + net), 0).into())?;
        let pipe = socket.connect(self.address).await?;
        pipe.set_nodelay(true)?;
        Ok(Link { pipe: Box::new(pipe), security: self.security })
    }
}

/// A session of the crowd.
struct Member {
    number: usize,
    place: Arc<Entrance>,
    address: Address,
    client: Option<Client>,
    token: String,
    id: String,
    /// Stanzas that have come since its stream is managed.
    received: u32,
    /// To whom it writes.
    next: String,
    tries: usize,
}

impl Member {
    fn new(number: usize, place: &Arc<Entrance>) -> Self {
        let address = Address {
            local: format!("user{}", number / EACH),
            domain: DOMAIN.to_owned(),
            resource: String::new(),
        };
        Self {
            number,
            place: place.clone(),
            address,
            client: None,
            token: String::new(),
            id: String::new(),
            received: 0,
            next: String::new(),
            tries: 0,
        }
    }

    fn agent(&self) -> String {
        let number = self.number;
        format!("<user-agent xmlns='urn:xmpp:sasl:2' id='d4565fa7-4d72-4749-b3d3-{number:012x}'/>")
    }

    /// Not of `self`, which would have to be shared between threads for that.
    fn connect(&self) -> impl Future<Output = Result<Client, Trouble>> + Send + use<> {
        let (place, number, address) = (self.place.clone(), self.number, self.address.clone());
        async move {
            let link = place.link(number).await?;
            Client::connect(link, &address, PATIENCE).await
        }
    }

    /// Logs in, with a session that can be resumed and a token for the next time.
    async fn enter(mut self) -> Result<Self, Trouble> {
        let mut client = self.connect().await?;
        let wishes = self.agent()
            + "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>\
               <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
        client.log_in_at_once((PASSWORD, None), &wishes).await?;
        let success = client.element("a success").await?;
        let name = success.child("authorization-identifier", "urn:xmpp:sasl:2").map(Node::text);
        let name = name.as_deref().and_then(Address::parse);
        let bound = success.child("bound", "urn:xmpp:bind:0");
        let enabled = bound.and_then(|bound| bound.child("enabled", NS_SM));
        let token = success.child("token", "urn:xmpp:fast:0").and_then(|node| node.attr("token"));
        let (Some(name), Some(id), Some(token)) =
            (name, enabled.and_then(|node| node.attr("id")), token)
        else {
            return Err(Trouble::Unexpected("session and token".to_owned(), Box::new(success)));
        };
        (self.address, self.id, self.token) = (name, id.to_owned(), token.to_owned());
        client.send("<presence/>").await?;
        self.client = Some(client);
        Ok(self)
    }

    /// Takes all that has come so far.
    async fn settle(mut self) -> Result<Self, Trouble> {
        self.stanzas().await?;
        Ok(self)
    }

    /// All stanzas up to the answer to a question of its own.
    async fn stanzas(&mut self) -> Result<Vec<Node>, Trouble> {
        let client = self.client.as_mut().ok_or(Trouble::Closed("a session".to_owned()))?;
        if !client.round_trip().await? {
            return Err(Trouble::Closed(format!("what {} is sent", self.address)));
        }
        let mut stanzas = Vec::new();
        while let Some(node) = client.take(|_| true) {
            if ["message", "presence", "iq"].iter().any(|name| node.is(name, NS_CLIENT)) {
                stanzas.push(node);
            }
        }
        // With the answer itself.
        let count = u32::try_from(stanzas.len()).unwrap_or(u32::MAX);
        self.received = self.received.wrapping_add(count).wrapping_add(1);
        Ok(stanzas)
    }

    fn meet(&mut self, names: &[String]) {
        self.next.clone_from(&names[(self.number + 1) % names.len()]);
    }

    /// Writes the tail of the next one, who does not look at it any more.
    async fn write(mut self) -> Result<Self, Trouble> {
        let tail = tail_ids(self.number + 1);
        for id in &tail {
            self.say(id).await?;
        }
        if !tail.is_empty() {
            self.stanzas().await?;
        }
        Ok(self)
    }

    async fn say(&mut self, id: &str) -> Result<(), Trouble> {
        let to = &self.next;
        let text =
            format!("<message to='{to}' id='{id}' type='chat'><body>Good night</body></message>");
        let client = self.client.as_mut().ok_or(Trouble::Closed("a session".to_owned()))?;
        client.send(&text).await
    }

    /// Comes back when the server does, however often that takes.
    async fn resume(mut self) -> Result<Self, Trouble> {
        self.client = None;
        loop {
            self.tries += 1;
            match self.try_to_resume().await {
                Ok(()) => return Ok(self),
                // It may have no place for us yet.
                Err(Trouble::Io(_) | Trouble::Closed(_)) if self.tries < TRIES_MAX => {
                    let wait = 200 + (self.number as u64 * 7_919) % 800;
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn try_to_resume(&mut self) -> Result<(), Trouble> {
        let mut client = self.connect().await?;
        let wishes = format!(
            "{}<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{}'/><fast xmlns='urn:xmpp:fast:0'/>",
            self.agent(),
            self.id,
            self.received
        );
        client.log_in_at_once(("", Some(&self.token)), &wishes).await?;
        let success = client.element("a success").await?;
        if success.child("resumed", NS_SM).is_none() {
            return Err(Trouble::Unexpected("its session".to_owned(), Box::new(success)));
        }
        self.client = Some(client);
        let sent_again = self.stanzas().await?;
        let ids: Vec<&str> = sent_again.iter().filter_map(|node| node.attr("id")).collect();
        let tail = tail_ids(self.number);
        if ids != tail || sent_again.len() != ids.len() {
            let what = format!("the tail {} of {}", tail.join(" "), self.address);
            let first = sent_again.into_iter().next();
            return Err(match first {
                Some(first) => Trouble::Unexpected(what, Box::new(first)),
                None => Trouble::Late(what),
            });
        }
        Ok(())
    }

    async fn write_on(mut self) -> Result<Self, Trouble> {
        let id = format!("on-{}", self.number);
        self.say(&id).await?;
        Ok(self)
    }

    /// The message of the one before, and nothing else: no presence of anybody either.
    async fn hear(mut self) -> Result<Self, Trouble> {
        let mut seen = BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        while seen.is_empty() && Instant::now() < deadline {
            for stanza in self.stanzas().await? {
                let id = stanza.attr("id").unwrap_or_default().to_owned();
                if !stanza.is("message", NS_CLIENT)
                    || !id.starts_with("on-")
                    || !seen.insert(id.clone())
                {
                    let what = format!("one message to {}", self.address);
                    return Err(Trouble::Unexpected(what, Box::new(stanza)));
                }
            }
        }
        match seen.len() {
            1 => Ok(self),
            count => Err(Trouble::Late(format!("one message to {}, not {count}", self.address))),
        }
    }
}

async fn make_accounts(place: &Arc<Entrance>, accounts: Vec<Address>) -> Result<(), String> {
    let made = at_once(accounts, AT_ONCE, {
        let (place, number) = (place.clone(), Arc::new(AtomicUsize::new(0)));
        move |account: Address| {
            let (place, number) = (place.clone(), number.fetch_add(1, Ordering::Relaxed));
            async move {
                let link = place.link(number).await?;
                register(link, &account, PASSWORD, PATIENCE).await
            }
        }
    });
    made.await.map(drop)
}

/// Does something with each of many, some of them at a time; the order stays.
async fn at_once<T: Send + 'static, R: Send + 'static, F>(
    them: Vec<T>,
    at_once: usize,
    work: impl Fn(T) -> F,
) -> Result<Vec<R>, String>
where
    F: Future<Output = Result<R, Trouble>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (number, one) in them.into_iter().enumerate() {
        let (places, work) = (places.clone(), work(one));
        tasks.spawn(async move {
            let _place = places.acquire().await;
            (number, work.await)
        });
    }
    let mut results = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (number, result) = done.map_err(|error| error.to_string())?;
        results.push((number, result.map_err(|trouble| trouble.to_string())?));
    }
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// As many connections as there may be.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
