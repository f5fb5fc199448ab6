//! The table of all keys: name, type, default and what it does. Reading, `config show` and the
//! reference are derived from it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use verona_core::federation::terms::Terms;
use verona_core::host::Registration;
use verona_core::limits::Limits;

use crate::config::names::{BareJid, ComponentDomain, Domain, Endpoint, Location};
use crate::config::reader::Reader;
use crate::config::value::{Bounds, LogFilter, LogFormat, Secret, StorageUrl, Value};

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it takes, in words.
    pub expected: fn() -> String,
    /// Its default as TOML; none when it must be set.
    pub default: fn() -> Option<String>,
    /// What it does, line by line.
    pub doc: &'static [&'static str],
}

/// A section: a struct with one field a key.
pub trait Section: Sized {
    /// How it begins in the file: `[limits]`, `[[host]]`, or nothing for the keys at the top.
    const HEADER: &'static str;
    /// What it is about, line by line.
    const DOC: &'static [&'static str];
    /// Its keys, in the order of the reference.
    const KEYS: &'static [Key];

    /// Reads all keys; `None` when one that must be set is missing or wrong.
    fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Self>;

    /// The values as TOML, in the order of the keys.
    fn shown(&self) -> Vec<String>;
}

/// Describes the keys of a struct: reading and showing follow from it.
macro_rules! keys {
    (@some) => { None };
    (@some $default:expr) => { Some($default) };
    (@shown $kind:ty,) => { None };
    (@shown $kind:ty, $default:expr) => {{
        let default: $kind = $default;
        Some(default.show())
    }};
    (@bounds) => { Bounds::ANY };
    (@bounds $min:literal $max:literal) => { Bounds { min: $min, max: $max } };
    (
        $(#[doc = $about:literal])+
        $header:literal $name:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $kind:ty $(= $default:expr)? $(, $min:literal..=$max:literal)?;
        )*}
    ) => {
        impl Section for $name {
            const HEADER: &'static str = $header;
            const DOC: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [Key] = &[$(Key {
                name: stringify!($key),
                expected: || <$kind as Value>::expected(keys!(@bounds $($min $max)?)),
                default: || keys!(@shown $kind, $($default)?),
                doc: &[$($doc),+],
            }),*];

            fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Self> {
                $(let $key = reader.value(
                    stringify!($key),
                    keys!(@some $($default)?),
                    keys!(@bounds $($min $max)?),
                );)*
                Some(Self { $($key: $key?),* })
            }

            fn shown(&self) -> Vec<String> {
                vec![$(self.$key.show()),*]
            }
        }
    };
}

/// Makes a struct of its keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $header:literal $name:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $kind:ty $(= $default:expr)? $(, $min:literal..=$max:literal)?;
        )*}
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {$(
            $(#[doc = $doc])+
            pub $key: $kind,
        )*}

        keys! {
            $(#[doc = $about])+
            $header $name {$(
                $(#[doc = $doc])+
                $key: $kind $(= $default)? $(, $min..=$max)?;
            )*}
        }
    };
}

fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

fn terms() -> Terms {
    Terms::default()
}

fn here(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]
}

section! {
    /// The keys at the top of the file.
    "" Top {
        /// The directory with everything that is kept: the store, the certificates, the control socket.
        /// Relative to the directory of the config file.
        data_dir: PathBuf = "verona-data".into();
    }
}

section! {
    /// One section for each domain that is served. Without any, the domain is `localhost`.
    /// The certificate is `data_dir/certs/DOMAIN/fullchain.pem` with `privkey.pem`; without one, a
    /// self-signed certificate is made. `[host.modules.NAME]` behind it holds for this domain in place
    /// of `[modules.NAME]`.
    "[[host]]" Host {
        /// The domain, as in `juliet@example.org`.
        domain: Domain;
        /// The accounts that may administer this domain.
        admins: Vec<BareJid> = Vec::new();
        /// Who may make an account: nobody, who has an invitation (`verona invite`), or everybody.
        registration: Registration = Registration::Closed;
        /// The domains to federate with, each with all below it; `[]` means all.
        federate_with: Vec<Domain> = Vec::new();
        /// Domains not to federate with, each with all below it; they count more than `federate_with`.
        federate_not_with: Vec<Domain> = Vec::new();
        /// Where clients should come back to resume a session (XEP-0198), as in
        /// `one.example.org:5222`, where the domain leads to several servers; empty: to wherever they
        /// find the domain.
        resume_at: Location = Location(None);
    }
}

section! {
    /// The addresses to listen on, each a list; `[]` switches one off. `[::]` means all addresses,
    /// those of IPv4 too.
    "[listen]" Listen {
        /// Clients, beginning in plaintext with STARTTLS.
        c2s: Vec<SocketAddr> = everywhere(5222);
        /// Clients, with TLS from the first byte (XEP-0368).
        c2s_tls: Vec<SocketAddr> = everywhere(5223);
        /// Other servers, beginning in plaintext with STARTTLS.
        s2s: Vec<SocketAddr> = everywhere(5269);
        /// Other servers, with TLS from the first byte (XEP-0368).
        s2s_tls: Vec<SocketAddr> = everywhere(5270);
        /// HTTP without TLS, for a reverse proxy on the same machine. Not opened by this version yet.
        http: Vec<SocketAddr> = here(5280);
        /// HTTP with TLS: WebSocket, BOSH, uploads. Not opened by this version yet.
        https: Vec<SocketAddr> = everywhere(5443);
        /// External components (XEP-0114). The protocol has no TLS, so these should be addresses that
        /// only this machine or a trusted network reaches.
        component: Vec<SocketAddr> = here(5347);
    }
}

section! {
    /// Where everything is kept.
    "[storage]" Storage {
        /// `sqlite:FILE`, relative to the data directory, or `postgres://USER:PASSWORD@HOST/DATABASE`,
        /// which this version cannot use yet.
        /// `memory:` keeps nothing longer than the process lives, for tests.
        url: StorageUrl = StorageUrl::Sqlite("verona.db".into());
    }
}

/// The bounds are those of the core, which also knows their defaults.
fn safe() -> Limits {
    Limits::default()
}

keys! {
    /// Every bound, by name. The defaults are safe on the open internet. What a client exceeds is
    /// answered as its RFC says; what it does too fast waits.
    "[limits]" Limits {
        /// Lifts rates, failed logins and connections per address, never sizes or depth. For
        /// benchmarks and tests only.
        unlimited: bool = safe().unlimited;

        /// Largest element before the login, in bytes.
        login_element_bytes_max: usize = safe().login_element_bytes_max, 10_000..=1_048_576;
        /// Most bytes before the login, all elements together, TLS not counted.
        login_bytes_max: usize = safe().login_bytes_max, 10_000..=16_777_216;
        /// Most elements before the login, in all.
        login_elements_max: u32 = safe().login_elements_max, 8..=10_000;
        /// Deepest nesting before the login.
        login_depth_max: u16 = safe().login_depth_max, 8..=1024;
        /// Seconds from the connection to its first byte.
        first_byte_secs: u64 = safe().first_byte_secs, 1..=3600;
        /// Seconds that a TLS handshake may take.
        tls_secs: u64 = safe().tls_secs, 1..=3600;
        /// Seconds from the connection to a bound resource.
        bind_secs: u64 = safe().bind_secs, 1..=3600;

        /// Largest stanza of a client, in bytes as received; advertised (XEP-0478). RFC 6120 §13.12
        /// allows no less than 10,000.
        stanza_bytes_max: usize = safe().stanza_bytes_max, 10_000..=16_777_216;
        /// Largest stanza of another server, in bytes as received; advertised (XEP-0478).
        server_stanza_bytes_max: usize = safe().server_stanza_bytes_max, 10_000..=16_777_216;
        /// Deepest nesting of elements in a stanza.
        depth_max: u16 = safe().depth_max, 16..=1024;
        /// Most attributes of one element.
        attributes_max: u16 = safe().attributes_max, 16..=1024;
        /// Most namespace declarations in scope at one element.
        namespaces_max: u16 = safe().namespaces_max, 8..=1024;
        /// Most elements in one stanza.
        elements_max: u32 = safe().elements_max, 100..=1_000_000;

        /// Bytes a second that a session may send; reading pauses, nothing is dropped.
        rate_bytes_per_sec: u64 = safe().rate_bytes_per_sec, 1024..=1_073_741_824;
        /// Bytes that a session may send at once before the rate holds.
        rate_burst_bytes: u64 = safe().rate_burst_bytes, 10_000..=1_073_741_824;
        /// Stanzas a second that a session may send; reading pauses, nothing is dropped.
        rate_stanzas_per_sec: u64 = safe().rate_stanzas_per_sec, 1..=1_000_000;
        /// Distinct addresses that a session may send to in a minute; what goes to more is refused.
        recipients_per_minute: usize = safe().recipients_per_minute, 1..=1_000_000;

        /// Failed logins on one connection, then it is closed. RFC 6120 §6.4.5 asks for 2 to 5.
        failed_logins_per_connection: u32 = safe().failed_logins_per_connection, 2..=100;
        /// Failed logins from one address within the window, then each answer is delayed. No account
        /// is ever locked.
        failed_logins_per_address: u32 = safe().failed_logins_per_address, 1..=1_000_000;
        /// The window for failed logins, in seconds.
        failed_logins_window_secs: u32 = safe().failed_logins_window_secs, 1..=86_400;
        /// The longest delay of an answer, in seconds.
        failed_login_delay_secs_max: u32 = safe().failed_login_delay_secs_max, 1..=3600;

        /// Connections that have not logged in, from one address.
        unauthenticated_per_address: u32 = safe().unauthenticated_per_address, 1..=1_000_000;
        /// Connections from one address, logged in or not. Many people may share an address.
        connections_per_address: u32 = safe().connections_per_address, 1..=1_000_000;
        /// New connections a second from one address.
        connections_per_sec_per_address: u32 = safe().connections_per_sec_per_address, 1..=1_000_000;
        /// Connected resources of one account.
        resources_per_account: usize = safe().resources_per_account, 1..=10_000;
        /// Seconds of silence after which a client is asked whether it is still there. RFC 6120
        /// §4.6.4 asks for no less than 300.
        idle_probe_secs: u32 = safe().idle_probe_secs, 30..=86_400;
        /// Seconds without any answer to what was sent, after which a connection counts as lost. A
        /// session that can be resumed waits for its client then. Another server has 30 at most.
        unanswered_secs: u32 = safe().unanswered_secs, 2..=3600;
        /// Seconds that others wait for a session that does not read what is sent to it, before it is
        /// ended.
        slow_reader_secs: u64 = safe().slow_reader_secs, 1..=3600;
        /// Longest time that a session whose connection is gone waits for its client to resume it
        /// (XEP-0198), in seconds; 0: none does.
        resume_secs_max: u32 = safe().resume_secs_max, 0..=86_400;

        /// Messages that wait for an account which is away; more go back to their senders.
        offline_messages_max: u64 = safe().offline_messages_max, 0..=100_000;
        /// Bytes of such messages.
        offline_bytes_max: u64 = safe().offline_bytes_max, 0..=104_857_600;
        /// Subscription requests that wait for one account's answer; more are passed over.
        pending_requests_max: usize = safe().pending_requests_max, 1..=2_000;

        /// Memory that the process may use, in bytes; 0: 70 % of what the machine or its container
        /// has. From 80 % of that on nobody new is let in, from 90 % on the sessions end for which most
        /// waits.
        memory_bytes_max: u64 = safe().memory_bytes_max;
    }
}

section! {
    /// What may be weaker than the default. Each is logged at start and reported by `verona check`.
    "[security]" Security {
        /// No login without TLS. `false` allows plaintext logins, and only from this machine.
        require_tls: bool = true;
        /// The login of old clients (jabber:iq:auth, XEP-0078).
        legacy_auth: bool = false;
        /// How often a new password is hashed. More makes a stolen store harder to guess, and each
        /// login slower for clients.
        password_iterations: u32 = 10_000, 10_000..=10_000_000;
    }
}

section! {
    /// One section for each external component (XEP-0114): a gateway, a bot, any service with an
    /// address of its own. What it may do beside that is said in `[modules.privilege]` and
    /// `[modules.delegation]`.
    "[[component]]" Component {
        /// The domain of the component, as in `irc.example.org`; `*.irc.example.org` is that domain
        /// with all domains below it.
        domain: ComponentDomain;
        /// The secret that the component proves to know.
        secret: Secret;
        /// Its name, for people who look at what belongs to the host.
        name: String = String::new();
        /// Where to connect to the component, instead of waiting for it to connect
        /// (jabber:component:connect). Several addresses are several connections.
        connect: Vec<SocketAddr> = Vec::new();
        /// Connections that the component may have at a time. With several, all that one address
        /// sends goes to the same; one too many is refused with `conflict`.
        connections_max: usize = 1, 1..=64;
        /// Seconds that messages wait for the component while it is away, then they are sent back. 0
        /// sends them back at once.
        wait_secs: u64 = 3_600, 0..=2_592_000;
        /// Largest stanza of the component, in bytes.
        stanza_bytes_max: usize = 524_288, 10_000..=16_777_216;
        /// Bytes a second that a connection of the component may send; reading pauses, nothing is
        /// dropped.
        rate_bytes_per_sec: u64 = 16_777_216, 1024..=1_073_741_824;
        /// Stanzas a second that a connection of the component may send; reading pauses.
        rate_stanzas_per_sec: u64 = 10_000, 1..=1_000_000;
    }
}

section! {
    /// Other servers.
    "[s2s]" S2s {
        /// Where to connect for a domain instead of asking DNS, for tests and private networks:
        /// `{ "montague.lit" = "10.0.0.2:5269" }`. With `tls://` before the place, TLS begins with the
        /// first byte (XEP-0368).
        hosts: BTreeMap<Domain, Endpoint> = BTreeMap::new();
        /// Files with certificate authorities to trust beside those of the system, relative to the
        /// directory of the config file.
        trust: Vec<PathBuf> = Vec::new();
        /// `true`: a server must have a valid certificate. `false`: without one, dialback over TLS.
        require_certificate: bool = false;
        /// Seconds for which a message waits for a server that cannot be reached. Then it goes back to
        /// its sender with the error `remote-server-timeout`.
        queue_secs: u64 = terms().queue_secs, 1..=604_800;
        /// Stanzas that may wait for one domain.
        queue_stanzas_max: usize = terms().queue_stanzas_max, 10..=1_000_000;
        /// Bytes that may wait for one domain.
        queue_bytes_max: usize = terms().queue_bytes_max, 10_000..=1_073_741_824;
        /// Bytes that may wait for all domains together.
        queue_total_bytes_max: usize = terms().queue_total_bytes_max, 100_000..=17_179_869_184;
        /// Longest pause between two tries to reach a server, in seconds.
        retry_secs_max: u64 = terms().retry_secs_max, 1..=86_400;
        /// Seconds after which a stream without stanzas is closed.
        idle_secs: u64 = terms().idle_secs, 60..=604_800;
    }
}

section! {
    /// How names are looked up.
    "[dns]" Dns {
        /// The DNS servers to ask; empty means those of the system.
        servers: Vec<SocketAddr> = Vec::new();
        /// Whether signatures of answers are checked, as far as the DNS servers pass them on. Then a
        /// domain can prove its server by its own DNS (DANE), and forged answers are refused.
        /// `false` helps where private names live below signed ones.
        dnssec: bool = true;
    }
}

section! {
    /// What is logged, to the standard error.
    "[log]" Log {
        /// `text` for people, `json` for collectors.
        format: LogFormat = LogFormat::Text;
        /// What to log: `error`, `warn`, `info`, `debug` or `trace`, also by part:
        /// `info,verona_core=debug`. The environment variable VERONA_LOG goes before it.
        filter: LogFilter = LogFilter::default();
    }
}
