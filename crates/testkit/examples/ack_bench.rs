//! What stream management costs, and how long an acknowledgement takes, on a server that runs:
//! `cargo run --release -p verona-testkit --example ack_bench -- port=25523 pid=PID rate=20000`.
//!
//! Pairs of accounts `u0`, `u1` and so on of `localhost`, with the password `secret`, chat over TLS at a
//! fixed rate. Arguments, all optional but the first, as `name=value`: `port` (TLS from the first
//! byte), `pid` (of the server, for its processor time), `sessions` (500), `rate` (messages a second in
//! all), `secs` (6, behind 2 of warm-up), `managed` (0 or 1: XEP-0198), `ask` (an `<r/>` behind every so
//! many messages), `answer` (an `<a/>` for every so many that came). The time runs from before a
//! message is written until an `<a/>` that covers it was read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use verona_testkit::place::Pipe;
use verona_testkit::sasl::Proof;
use verona_testkit::tls;

const DOMAIN: &str = "localhost";
const WARM: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct Load {
    port: u16,
    pid: u64,
    sessions: u64,
    rate: u64,
    secs: u64,
    managed: bool,
    ask: u64,
    answer: u64,
}

struct Session {
    number: u64,
    writer: Mutex<WriteHalf<Box<dyn Pipe>>>,
    /// When each message that is not acknowledged was written.
    sent: RefCell<VecDeque<Instant>>,
    count: Cell<u64>,
}

#[derive(Default)]
struct Seen {
    is_measured: Cell<bool>,
    delivered: Cell<u64>,
    delays: RefCell<Vec<Duration>>,
}

fn main() {
    let number = |name: &str, otherwise: u64| {
        let found = std::env::args().find_map(|argument| {
            let (key, value) = argument.split_once('=')?;
            (key == name).then(|| value.parse().expect("a number"))
        });
        found.unwrap_or(otherwise)
    };
    let load = Load {
        port: number("port", 5223) as u16,
        pid: number("pid", 0),
        sessions: number("sessions", 500),
        rate: number("rate", 20_000),
        secs: number("secs", 6),
        managed: number("managed", 1) != 0,
        ask: number("ask", 1),
        answer: number("answer", 5),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), run(load));
}

async fn run(load: Load) {
    let seen = Rc::new(Seen::default());
    let mut sessions = Vec::new();
    for number in 0..load.sessions {
        let (reader, session) = enter(&load, number).await;
        let session = Rc::new(session);
        tokio::task::spawn_local(listen(load, reader, session.clone(), seen.clone()));
        sessions.push(session);
    }
    let start = Instant::now();
    let (mut sent, mut busy) = (0_u64, Duration::ZERO);
    let end = WARM + Duration::from_secs(load.secs);
    while start.elapsed() < end {
        if !seen.is_measured.get() && start.elapsed() >= WARM {
            seen.is_measured.set(true);
            busy = processor_time(load.pid);
        }
        let due = start.elapsed().as_micros() as u64 * load.rate / 1_000_000;
        while sent < due {
            let session = &sessions[(sent % load.sessions) as usize];
            session.say(&load).await;
            sent += 1;
            if sent.is_multiple_of(32) {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let busy = processor_time(load.pid).saturating_sub(busy);
    let delivered = seen.delivered.get();
    let mut delays = seen.delays.borrow().clone();
    delays.sort();
    let at = |part: usize| delays.get(delays.len().saturating_sub(1) * part / 1000).copied();
    println!(
        "rate {}, managed {}, ask {}, answer {}: delivered {}/s, server {:.2} us each, {:.0} % of a \
         core; acknowledged after p50 {:?}, p99 {:?}, worst {:?} ({} times)",
        load.rate,
        load.managed,
        load.ask,
        load.answer,
        delivered / load.secs,
        busy.as_secs_f64() * 1e6 / delivered.max(1) as f64,
        busy.as_secs_f64() * 100.0 / load.secs as f64,
        at(500).unwrap_or_default(),
        at(990).unwrap_or_default(),
        at(1000).unwrap_or_default(),
        delays.len()
    );
}

impl Session {
    async fn say(&self, load: &Load) {
        let count = self.count.get() + 1;
        self.count.set(count);
        let text = format!(
            "<message to='u{}@{DOMAIN}/bench' type='chat' id='m{count}'><body>{}</body></message>{}",
            self.number ^ 1,
            "x".repeat(200),
            if load.managed && count.is_multiple_of(load.ask) {
                "<r xmlns='urn:xmpp:sm:3'/>"
            } else {
                ""
            }
        );
        if load.managed {
            self.sent.borrow_mut().push_back(Instant::now());
        }
        self.writer.lock().await.write_all(text.as_bytes()).await.expect("written");
    }
}

/// Logs in, binds a resource and enables stream management.
async fn enter(load: &Load, number: u64) -> (ReadHalf<Box<dyn Pipe>>, Session) {
    let tcp = TcpStream::connect(("127.0.0.1", load.port)).await.expect("a connection");
    tcp.set_nodelay(true).expect("set");
    let mut pipe = tls::wrap(Box::new(tcp), DOMAIN, true).await.expect("TLS");
    let header = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         to='{DOMAIN}' version='1.0'>"
    );
    ask(&mut pipe, &header, "</stream:features>").await;
    let first = format!("n=u{number},r=bench{number}nonce");
    let auth = format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{}</auth>",
        STANDARD.encode(format!("n,,{first}"))
    );
    let challenge = ask(&mut pipe, &auth, "</challenge>").await;
    let challenge = challenge.rsplit_once("</").expect("an end").0;
    let challenge = challenge.rsplit_once('>').expect("a start").1;
    let challenge = String::from_utf8(STANDARD.decode(challenge).expect("base64")).expect("text");
    let proof = Proof::new("secret", &first, &challenge, b"n,,").expect("a challenge");
    let response = format!(
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>",
        STANDARD.encode(proof.response)
    );
    ask(&mut pipe, &response, "</success>").await;
    ask(&mut pipe, &header, "</stream:features>").await;
    let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                <resource>bench</resource></bind></iq>";
    ask(&mut pipe, bind, "</iq>").await;
    ask(&mut pipe, "<presence/>", "<presence").await;
    if load.managed {
        ask(&mut pipe, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled").await;
    }
    let (reader, writer) = tokio::io::split(pipe);
    let (sent, count) = (RefCell::default(), Cell::new(0));
    (reader, Session { number, writer: Mutex::new(writer), sent, count })
}

/// Writes and reads until something has come.
async fn ask(pipe: &mut Box<dyn Pipe>, text: &str, end: &str) -> String {
    pipe.write_all(text.as_bytes()).await.expect("written");
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&read).contains(end) {
        let count = pipe.read(&mut buffer).await.expect("an answer");
        assert!(count > 0, "the stream ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Reads what comes: messages, acknowledgements and requests for them.
async fn listen(load: Load, mut reader: ReadHalf<Box<dyn Pipe>>, own: Rc<Session>, seen: Rc<Seen>) {
    let mut buffer = vec![0; 64 * 1024];
    let (mut held, mut received, mut told, mut acked) = (String::new(), 0_u64, 0_u64, 0_u64);
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        held.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let (mut at, mut is_asked) = (0, false);
        // Of what is counted here nothing has a child but messages.
        while let Some(start) = held[at..].find('<').map(|n| n + at) {
            let end = if held[start..].starts_with("<message") { "</message>" } else { ">" };
            let Some(stop) = held[start..].find(end).map(|n| start + n + end.len()) else { break };
            let element = &held[start..stop];
            at = stop;
            if end == "</message>" {
                received += 1;
                seen.delivered.set(seen.delivered.get() + u64::from(seen.is_measured.get()));
            } else if element.starts_with("<r ") {
                is_asked = true;
            } else if element.starts_with("<a ") {
                let h = element.split("h='").nth(1).and_then(|rest| rest.split('\'').next());
                let h: u64 = h.and_then(|h| h.parse().ok()).expect("a count");
                let mut sent = own.sent.borrow_mut();
                for since in sent.drain(..(h - acked) as usize) {
                    if seen.is_measured.get() {
                        seen.delays.borrow_mut().push(since.elapsed());
                    }
                }
                acked = h;
            }
        }
        held.drain(..at);
        if load.managed && (is_asked || received >= told + load.answer) {
            told = received;
            let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{received}'/>");
            own.writer.lock().await.write_all(answer.as_bytes()).await.expect("written");
        }
    }
}

fn processor_time(pid: u64) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
