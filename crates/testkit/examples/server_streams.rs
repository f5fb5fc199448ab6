//! Load for streams between servers, on two that run (`bench/start-pair.sh`, `bench/servers.sh`).
//!
//! `chat FROM TO [pairs=250] [window=2] [secs=6] [warm=2] [kind=chat] [pids=1,2]`: users of one server
//! write to users of the other, each as many messages at a time as the window has, each the next when
//! one has come. Checks that what was sent came once and in order, and tells the CPU that each process
//! needed for a message. FROM and TO are `domain@address`, the address that of direct TLS for clients;
//! the kind is `chat` (kept until the other server has it), `headline` (kept by nobody) or `no-store`.
//!
//! `idle FROM TO [opens=from] [domains=1000] [pids=1,2] [hold=15]`: a user of FROM asks h1.TO, h2.TO and
//! so on, or with `opens=to` a user of each asks FROM; with `opens=both` all do at once, so that there
//! are two streams for a domain. Tells by how much each process has grown when nothing has happened for
//! as many seconds as `hold` says.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use verona_testkit::tls::{Wish, wrap_as};
use verona_xml::{Event, Frame, Limits, Scanner};

const BODY: &str = "The fool doth think he is wise, but the wise man knows himself to be a fool. What \
    is in a name? That which we call a rose by any other name would smell as sweet; so Romeo would, \
    were he not Romeo called, keep it";
const PATIENCE: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 25;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plain: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    let options = words.iter().filter_map(|word| word.split_once('=')).collect();
    let options = Options(options);
    let local = LocalSet::new();
    let done = match plain[..] {
        [what, from, to] if what == "chat" => {
            local.run_until(chat((Server::read(from)?, Server::read(to)?), options)).await
        }
        [what, from, to] if what == "idle" => {
            local.run_until(idle((Server::read(from)?, Server::read(to)?), options)).await
        }
        _ => Err(io::Error::other("chat FROM TO or idle FROM TO, and options")),
    };
    done.map_err(|error| io::Error::other(format!("{words:?}: {error}")))
}

struct Options<'a>(HashMap<&'a str, &'a str>);

impl Options<'_> {
    fn number(&self, key: &str, usual: u64) -> u64 {
        self.0.get(key).map_or(usual, |text| text.parse().expect("a number"))
    }

    fn text<'a>(&'a self, key: &str, usual: &'a str) -> &'a str {
        self.0.get(key).copied().unwrap_or(usual)
    }

    fn pids(&self) -> Vec<u32> {
        let text = self.text("pids", "");
        text.split(',').filter_map(|pid| pid.parse().ok()).collect()
    }
}

#[derive(Clone)]
struct Server {
    domain: String,
    address: SocketAddr,
}

impl Server {
    fn read(text: &str) -> io::Result<Self> {
        let parts = text.split_once('@');
        let parts = parts.and_then(|(domain, at)| Some((domain, at.parse().ok()?)));
        let (domain, address) = parts.ok_or_else(|| io::Error::other("not domain@address"))?;
        Ok(Self { domain: domain.to_owned(), address })
    }
}

// ---- messages under load

/// What all pairs share.
struct Count {
    going: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    wrong: AtomicU64,
}

async fn chat((from, to): (Server, Server), options: Options<'_>) -> io::Result<()> {
    let (pairs, secs) = (options.number("pairs", 250), options.number("secs", 6));
    let kind = options.text("kind", "chat");
    // Both ends are there before anybody writes. Where both are at one server, they need two names.
    let first = if from.domain == to.domain { 10_000 } else { 0 };
    let senders = log_in_all(pairs, |n| (from.clone(), first + n)).await?;
    let receivers = log_in_all(pairs, |n| (to.clone(), n)).await?;
    let count = Arc::new(Count {
        going: AtomicBool::new(true),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for (n, (sender, receiver)) in senders.into_iter().zip(receivers).enumerate() {
        let pair = Pair {
            sender,
            receiver,
            text: Text::new(&format!("u{n}@{}", to.domain), kind),
            window: options.number("window", 2),
            count: count.clone(),
            next: 0,
            due: 0,
        };
        tasks.spawn_local(pair.run());
    }
    sleep(Duration::from_secs(options.number("warm", 2))).await;
    let pids = options.pids();
    let (began, before) = (Instant::now(), count.received.load(Relaxed));
    let cpu: Vec<f64> = pids.iter().map(|pid| cpu_secs(*pid)).collect();
    sleep(Duration::from_secs(secs)).await;
    let took = began.elapsed().as_secs_f64();
    let after: Vec<f64> = pids.iter().map(|pid| cpu_secs(*pid)).collect();
    let messages = (count.received.load(Relaxed) - before) as f64;
    count.going.store(false, Relaxed);
    while let Some(done) = timeout(PATIENCE, tasks.join_next()).await? {
        done??;
    }
    let (sent, received) = (count.sent.load(Relaxed), count.received.load(Relaxed));
    let wrong = count.wrong.load(Relaxed);
    let each: Vec<f64> = after.iter().zip(&cpu).map(|(b, a)| (b - a) * 1e6 / messages).collect();
    let busy: Vec<f64> = after.iter().zip(&cpu).map(|(b, a)| (b - a) * 100.0 / took).collect();
    println!(
        "{} -> {} {kind}: {:.0}/s, CPU {each:.2?} us a message ({busy:.0?} %), sent {sent}, \
         received {received}, wrong {wrong}",
        from.domain,
        to.domain,
        messages / took
    );
    if sent != received || wrong > 0 || messages == 0.0 {
        return Err(io::Error::other("not all came once and in order"));
    }
    Ok(())
}

/// A message but for its number.
struct Text {
    head: String,
    tail: String,
}

impl Text {
    fn new(to: &str, kind: &str) -> Self {
        let shown = if kind == "headline" { "headline" } else { "chat" };
        let hint = if kind == "no-store" { "<no-store xmlns='urn:xmpp:hints'/>" } else { "" };
        let body: String = BODY.chars().cycle().take(200).collect();
        Self {
            head: format!("<message to='{to}' type='{shown}' id='"),
            tail: format!(
                "'><body>{body}</body><thread>e0ffe42b28561960c6b12b944a092794b9683a38</thread>\
                 <active xmlns='http://jabber.org/protocol/chatstates'/>{hint}</message>"
            ),
        }
    }
}

struct Pair {
    sender: Client,
    receiver: Client,
    text: Text,
    window: u64,
    count: Arc<Count>,
    /// The number of the next message that is sent, and of the one that has to come.
    next: u64,
    due: u64,
}

impl Pair {
    async fn run(mut self) -> io::Result<()> {
        self.send(self.window).await?;
        let (mut theirs, mut ours) = (vec![0; 16 * 1024], vec![0; 4 * 1024]);
        while self.count.going.load(Relaxed) || self.due < self.next {
            tokio::select! {
                read = self.receiver.pipe.read(&mut theirs) => {
                    let came = self.take(theirs.get(..read?).unwrap_or_default())?;
                    if self.count.going.load(Relaxed) {
                        self.send(came).await?;
                    }
                }
                // Nothing but errors comes to who only writes.
                read = self.sender.pipe.read(&mut ours) => {
                    let text = String::from_utf8_lossy(ours.get(..read?).unwrap_or_default());
                    return Err(io::Error::other(format!("the sender hears: {text}")));
                }
                // The last one may have come before the end was said.
                () = sleep(PATIENCE) => break,
            }
        }
        Ok(())
    }

    async fn send(&mut self, count: u64) -> io::Result<()> {
        let mut text = String::new();
        for _ in 0..count {
            let _ = write!(text, "{}{}{}", self.text.head, self.next, self.text.tail);
            self.next += 1;
        }
        self.count.sent.fetch_add(count, Relaxed);
        self.sender.pipe.write_all(text.as_bytes()).await?;
        self.sender.pipe.flush().await
    }

    /// Takes what was read; how many messages that were.
    fn take(&mut self, bytes: &[u8]) -> io::Result<u64> {
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (due, count) = (&mut self.due, &self.count);
        let before = *due;
        self.receiver.hear(bytes, |frame| {
            if frame.name() != "message" {
                return;
            }
            let number = frame.attr("id").and_then(|id| id.parse().ok());
            let is_good = number == Some(*due) && frame.attr("type").as_deref() != Some("error");
            if !is_good || frame.child("body", frame.ns()).is_none() {
                count.wrong.fetch_add(1, Relaxed);
            }
            *due += 1;
        })?;
        count.received.fetch_add(*due - before, Relaxed);
        Ok(*due - before)
    }
}

// ---- domains that rest

async fn idle((from, to): (Server, Server), options: Options<'_>) -> io::Result<()> {
    let (domains, opens) = (options.number("domains", 1_000), options.text("opens", "from"));
    let host = |n: u64| format!("h{}.{}", n + 1, to.domain);
    let mut asking: Vec<(Client, Vec<String>)> = Vec::new();
    if opens != "from" {
        let server = |n| Server { domain: host(n), ..to.clone() };
        for client in log_in_all(domains, |n| (server(n), 0)).await? {
            asking.push((client, vec![from.domain.clone()]));
        }
    }
    if opens != "to" {
        asking.push((Client::log_in(&from, 0).await?, (0..domains).map(host).collect()));
    }
    sleep(Duration::from_secs(2)).await;
    let pids = options.pids();
    let before: Vec<f64> = pids.iter().map(|pid| rss_kb(*pid)).collect();
    // From the last on, so that the one who asks all is not late.
    for (client, domains) in asking.iter_mut().rev() {
        let ask = |text: String, domain: &String| {
            text + &format!("<iq type='get' id='1' to='{domain}'>{PING}</iq>")
        };
        let text = domains.iter().fold(String::new(), ask);
        client.pipe.write_all(text.as_bytes()).await?;
        client.pipe.flush().await?;
    }
    for (client, domains) in &mut asking {
        let mut answers = 0;
        while answers < domains.len() {
            answers += timeout(PATIENCE, client.answers()).await??;
        }
    }
    sleep(Duration::from_secs(options.number("hold", 15))).await;
    for (pid, before) in pids.iter().zip(before) {
        let now = rss_kb(*pid);
        let each = (now - before) / domains as f64;
        println!("idle, opens={opens}: {before} KB, then {now} KB, {each:.1} KB a domain");
    }
    Ok(())
}

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

// ---- clients

struct Client {
    pipe: TlsStream<TcpStream>,
    scanner: Scanner,
}

/// Logs in some users, some of them at a time; `who` tells where each is, and its number.
async fn log_in_all(count: u64, who: impl Fn(u64) -> (Server, u64)) -> io::Result<Vec<Client>> {
    let mut clients: Vec<(u64, Client)> = Vec::new();
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let (server, number) = who(n);
        tasks.spawn_local(async move { Client::log_in(&server, number).await.map(|c| (n, c)) });
        if tasks.len() >= AT_ONCE {
            clients.extend(tasks.join_next().await.transpose()?.transpose()?);
        }
    }
    while let Some(done) = tasks.join_next().await {
        clients.push(done??);
    }
    clients.sort_by_key(|(n, _)| *n);
    Ok(clients.into_iter().map(|(_, client)| client).collect())
}

impl Client {
    /// Makes an account, if there is none yet, and goes online with it.
    async fn log_in(server: &Server, number: u64) -> io::Result<Self> {
        let done = timeout(PATIENCE, Self::negotiate(server, number)).await?;
        done.map_err(|error| io::Error::other(format!("u{number}@{}: {error}", server.domain)))
    }

    async fn negotiate(server: &Server, number: u64) -> io::Result<Self> {
        let tcp = TcpStream::connect(server.address).await?;
        tcp.set_nodelay(true)?;
        let pipe = wrap_as(tcp, Wish::usual(&server.domain, true)).await?;
        let mut client = Self { pipe, scanner: Scanner::stream(Limits::NONE) };
        let header = format!(
            "<stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            server.domain
        );
        client.say(&header, "</stream:features>").await?;
        let account = format!(
            "<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>u{number}</username>\
             <password>secret</password></query></iq>"
        );
        // Somebody may have made it before.
        client.say(&account, "id='r'").await?;
        let plain = STANDARD.encode(format!("\0u{number}\0secret"));
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        );
        client.say(&auth, "<success").await?;
        client.say(&header, "</stream:features>").await?;
        let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        client.say(bind, "</jid>").await?;
        client.say("<presence/>", "<presence").await?;
        // From here on it reads stanzas.
        client.scanner = Scanner::elements(Limits::NONE, "jabber:client");
        Ok(client)
    }

    /// Sends something and waits for what has this in it. Where the last of several things may follow
    /// in a second read, it is read later and means nothing.
    async fn say(&mut self, text: &str, until: &str) -> io::Result<()> {
        self.pipe.write_all(text.as_bytes()).await?;
        self.pipe.flush().await?;
        let (mut heard, mut buffer) = (String::new(), [0; 4 * 1024]);
        while !heard.contains(until) || !heard.ends_with('>') {
            let read = self.pipe.read(&mut buffer).await?;
            heard += &String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
            if read == 0 || heard.contains("<failure") || heard.contains("<stream:error") {
                return Err(io::Error::other(format!("to {text}: {heard}")));
            }
        }
        Ok(())
    }

    /// Reads once: how many answers came.
    async fn answers(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = self.pipe.read(&mut buffer).await?;
        let (mut count, mut refused) = (0, None);
        self.hear(buffer.get(..read).unwrap_or_default(), |frame| {
            if frame.name() == "iq" {
                count += 1;
                if frame.attr("type").as_deref() == Some("error") {
                    refused = frame.standalone("jabber:client").ok();
                }
            }
        })?;
        match refused {
            None if read > 0 => Ok(count),
            refused => Err(io::Error::other(refused.unwrap_or_else(|| "the end".to_owned()))),
        }
    }

    fn hear(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        let mut input = bytes;
        loop {
            match self.scanner.next(&mut input).map_err(io::Error::other)? {
                Some(Event::Element(frame)) => each(frame),
                Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => return Ok(()),
            }
        }
    }
}

// ---- processes

/// Seconds of CPU that a process has used; clock ticks of Linux are hundredths of a second.
fn cpu_secs(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have spaces.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn rss_kb(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}
