//! Every bound of the core, in one place, with the reason for its size.
//!
//! [`Limits`] is what the operator may change, by the same names in the config; the constants are
//! fixed because something else in the code rests on them.

/// The bounds that the operator may change. Sizes hold while bytes arrive.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Lifts rates, failed logins and connections per address; never sizes or depth.
    pub unlimited: bool,
    /// Bytes of one element before login.
    pub login_element_bytes_max: usize,
    /// Bytes before login in all.
    pub login_bytes_max: usize,
    /// Elements before login in all.
    pub login_elements_max: u32,
    /// Depth of elements before login.
    pub login_depth_max: u16,
    /// Seconds until the first byte of a stream.
    pub first_byte_secs: u64,
    /// Seconds for a TLS handshake.
    pub tls_secs: u64,
    /// Seconds until a resource is bound.
    pub bind_secs: u64,
    /// Bytes of one stanza of a client.
    pub stanza_bytes_max: usize,
    /// Bytes of one stanza of another server.
    pub server_stanza_bytes_max: usize,
    /// Depth of elements after login.
    pub depth_max: u16,
    /// Attributes of one element.
    pub attributes_max: u16,
    /// Namespace declarations in scope.
    pub namespaces_max: u16,
    /// Elements in one stanza.
    pub elements_max: u32,
    /// Bytes per second that a session may send over time; the source is paused, nothing dropped.
    pub rate_bytes_per_sec: u64,
    /// Bytes that a session may send at once.
    pub rate_burst_bytes: u64,
    /// Stanzas per second that a session may send over time.
    pub rate_stanzas_per_sec: u64,
    /// Distinct addresses that a session may send to in a minute (RFC 6120 §13.12).
    pub recipients_per_minute: usize,
    /// Failed logins on one connection before it is closed (RFC 6120 §6.4.5).
    pub failed_logins_per_connection: u32,
    /// Failed logins from one address before answers are delayed.
    pub failed_logins_per_address: u32,
    /// Seconds in which failed logins from one address count.
    pub failed_logins_window_secs: u32,
    /// The longest delay of an answer, in seconds.
    pub failed_login_delay_secs_max: u32,
    /// Connections from one address that are not logged in.
    pub unauthenticated_per_address: u32,
    /// Connections from one address, logged in or not (XEP-0205 §4.1).
    pub connections_per_address: u32,
    /// New connections per second from one address.
    pub connections_per_sec_per_address: u32,
    /// Resources one account may have at a time.
    pub resources_per_account: usize,
    /// Seconds of silence after which a session's peer is probed (RFC 6120 §4.6.4).
    pub idle_probe_secs: u32,
    /// Seconds for which a peer may leave a request for an acknowledgement (XEP-0198 §4) or sent bytes
    /// without any answer, before its connection counts as lost. With the time until somebody looks,
    /// a dead one is found within 90 s.
    pub unanswered_secs: u32,
    /// Seconds for which a source waits for a reader that makes no progress before the reader is
    /// detached.
    pub slow_reader_secs: u64,
    /// Seconds for which a session, or the stream of another server, is kept for its client to resume
    /// it (XEP-0198 §5).
    pub resume_secs_max: u32,
    /// Messages kept for an account that is offline (XEP-0160 §3).
    pub offline_messages_max: u64,
    /// Bytes of messages kept for an account that is offline.
    pub offline_bytes_max: u64,
    /// Inbound subscription requests waiting for an answer, per account (RFC 6121 §3.1.3).
    pub pending_requests_max: usize,
    /// Bytes of memory that the process may use; 0: a share of what it has been given.
    pub memory_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unlimited: false,
            login_element_bytes_max: 10_000,
            login_bytes_max: 64 * 1024,
            login_elements_max: 64,
            login_depth_max: 64,
            first_byte_secs: 10,
            tls_secs: 10,
            bind_secs: 30,
            stanza_bytes_max: 256 * 1024,
            server_stanza_bytes_max: 512 * 1024,
            depth_max: 128,
            attributes_max: 64,
            namespaces_max: 32,
            elements_max: 10_000,
            rate_bytes_per_sec: 64 * 1024,
            rate_burst_bytes: 512 * 1024,
            rate_stanzas_per_sec: 200,
            // As many as a roster has entries: a client may ask each of them something.
            recipients_per_minute: ROSTER_ITEMS_MAX,
            failed_logins_per_connection: 5,
            failed_logins_per_address: 20,
            failed_logins_window_secs: 600,
            failed_login_delay_secs_max: 30,
            unauthenticated_per_address: 256,
            // More than people share an address behind one translator of addresses.
            connections_per_address: 1_000,
            connections_per_sec_per_address: 50,
            resources_per_account: 20,
            idle_probe_secs: 300,
            unanswered_secs: 75,
            slow_reader_secs: 30,
            resume_secs_max: 600,
            offline_messages_max: 1_000,
            offline_bytes_max: 10 * 1024 * 1024,
            pending_requests_max: 200,
            memory_bytes_max: 0,
        }
    }
}

impl Limits {
    /// The scanner's bounds before login.
    pub fn before_login(&self) -> verona_xml::Limits {
        verona_xml::Limits {
            element_bytes_max: self.login_element_bytes_max,
            depth_max: self.login_depth_max,
            attributes_max: self.attributes_max,
            namespaces_max: self.namespaces_max,
            elements_max: self.elements_max,
        }
    }

    /// The scanner's bounds after login.
    pub fn after_login(&self) -> verona_xml::Limits {
        verona_xml::Limits {
            element_bytes_max: self.stanza_bytes_max,
            depth_max: self.depth_max,
            attributes_max: self.attributes_max,
            namespaces_max: self.namespaces_max,
            elements_max: self.elements_max,
        }
    }

    /// The scanner's bounds on a stream with another server that is verified.
    pub fn between_servers(&self) -> verona_xml::Limits {
        verona_xml::Limits { element_bytes_max: self.server_stanza_bytes_max, ..self.after_login() }
    }

    /// Seconds for which another server may owe an acknowledgement before the connection counts as
    /// dead.
    pub fn server_answer_secs(&self) -> u64 {
        STREAM_ANSWER_SECS.min(self.unanswered_secs.into())
    }

    /// Seconds between two looks of a server stream after itself.
    pub fn server_tick_secs(&self) -> u64 {
        STREAM_TICK_SECS.min(self.server_answer_secs())
    }
}

/// Seconds between two rounds of what modules do without being asked.
pub const CHORES_SECS: u64 = 15 * 60;

/// Bytes that may wait for the store's writer before submitters are paused: about a second of what
/// one disk takes, so that a slow disk shows as latency and not as memory.
pub const WRITER_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that may wait in a session's mailbox before its sources are paused.
pub const MAILBOX_BYTES_MAX: usize = 1024 * 1024;

/// Bytes at which a mailbox refuses: every source that was not yet paused may have added one
/// stanza or one fan-out more.
pub const MAILBOX_BYTES_HARD: usize = 2 * MAILBOX_BYTES_MAX;

/// Stanzas kept aside for a session that is held back (XEP-0352), before all of them leave: more
/// than most rosters have entries, and few enough to look through for each.
pub const HELD_STANZAS_MAX: usize = 256;

/// Bytes of such stanzas, some hundred of usual size: that much is worth waking a radio for.
pub const HELD_BYTES_MAX: usize = 64 * 1024;

/// Bytes that answer commands of stream management and that a client has not taken, beyond which it
/// is not read: a command of six bytes can have an answer of a hundred.
pub const ANSWERS_BYTES_MAX: usize = 16 * 1024;

/// Sessions that are ended at a time when memory runs short; a second later it is looked again.
pub const RELIEF_SESSIONS_MAX: usize = 64;

/// Bytes that wait for a session before it is ended for that: with less nobody is helped.
pub const RELIEF_BYTES_MIN: usize = 64 * 1024;

/// How long a closing stream may take to write its last bytes.
pub const CLOSE_SECS: u64 = 5;

/// Write buffers kept for reuse by each thread.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// The largest write buffer worth keeping; a bigger one was an exception.
pub const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Accounts kept in memory without any resource online, so that a login or a message to somebody
/// who was just here needs no disk.
pub const IDLE_ACCOUNTS_MAX: usize = 10_000;

/// Entities one resource may have sent directed presence to (RFC 6121 §4.6).
pub const DIRECTED_PRESENCE_MAX: usize = 1_000;

/// Bytes of the addresses of those: some sixty each, where one alone could have three thousand.
pub const DIRECTED_PRESENCE_BYTES_MAX: usize = 64 * 1024;

/// Contacts of one account, those that only asked or are approved in advance included.
pub const ROSTER_ITEMS_MAX: usize = 2_000;

/// Bytes of addresses, names and groups of all contacts of one account: they are in memory while it
/// is, and go out in one piece to who asks for the roster.
pub const ROSTER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a subscription request that are kept for the account's next login.
pub const PENDING_REQUEST_BYTES_MAX: usize = 2_048;

/// Groups a roster item may be in.
pub const ROSTER_GROUPS_MAX: usize = 50;

/// Bytes of a roster item's name or of one group's name (RFC 6121 §2.3.3).
pub const ROSTER_NAME_BYTES_MAX: usize = 1_023;

/// Requests of the server itself that may wait for their answers; beyond that nothing is asked.
pub const QUESTIONS_MAX: usize = 10_000;

/// How long the server waits for the answer to a request of its own.
pub const QUESTION_SECS: u64 = 30;

/// Bytes of the features of one entity, beyond which they are not looked at: five times what
/// clients with everything on have.
pub const FEATURES_BYTES_MAX: usize = 16 * 1024;

/// Bytes of features that are known by their key: some thousand versions of clients.
pub const PROVEN_FEATURES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Stanzas of one session whose commit is still awaited; beyond that the session is not read.
pub const UNCOMMITTED_PER_SESSION_MAX: usize = 1_000;

/// The same while the writer's queue is at its bound: all sessions together must not bring it to where
/// it refuses.
pub const UNCOMMITTED_CROWDED_MAX: usize = 4;

/// Accounts that one network may make in a minute: a household, not a robot.
pub const REGISTRATIONS_PER_MINUTE: u32 = 3;

/// Names that one network may try to register in a minute: some may be taken, but nobody shall
/// list who is here.
pub const REGISTRATION_TRIES_PER_MINUTE: u32 = 10;

/// Networks whose registrations are counted at a time; beyond that all counts begin anew.
pub const REGISTERING_NETWORKS_MAX: usize = 10_000;

/// Invitations of one host that are open at a time: a school, not a leak.
pub const INVITATIONS_MAX: usize = 10_000;

/// Invitations that come from one account and are open at a time.
pub const INVITATIONS_PER_ACCOUNT_MAX: usize = 100;

/// Stanzas that are kept for a session which may be resumed, sent and not acknowledged or never
/// sent. With more the session ends, and they go on by the rules (XEP-0198 §4).
pub const ASLEEP_STANZAS_MAX: usize = 1_000;

/// Messages of one account that sessions have and have not acknowledged, with those that were
/// acknowledged behind one that was not. Beyond that the oldest counts as acknowledged.
pub const HANDED_OUT_MAX: usize = 4 * ASLEEP_STANZAS_MAX;

/// Bytes of such stanzas.
pub const ASLEEP_BYTES_MAX: usize = 1024 * 1024;

/// Characters of each name that a client gives itself and that are kept: enough for a line in a list
/// of devices.
pub const USER_AGENT_CHARS_MAX: usize = 100;

/// Seconds for which a token for logging in is good (XEP-0484 §4.2): a device that is not used for
/// a month asks for the password.
pub const TOKEN_SECS: u64 = 30 * 24 * 60 * 60;

/// Seconds after which a token is replaced when it is used: a stolen one is found out within days.
pub const TOKEN_ROTATE_SECS: u64 = 24 * 60 * 60;

/// Clients of an account that are remembered (XEP-0494): more than anybody has devices. With one more
/// the one that was not seen for longest is forgotten.
pub const CLIENTS_MAX: usize = 64;

/// Clients of an account that have tokens: more than anybody has devices.
pub const TOKEN_CLIENTS_MAX: usize = 32;

/// Stanzas that are sent before an acknowledgement is asked for. One: what is not acknowledged when
/// a client leaves is delivered again, so little should be.
pub const ASK_AFTER_STANZAS: usize = 1;

/// How long a resumption waits for the stream before to let go of the session.
pub const YIELD_SECS: u64 = 5;

/// Ended sessions of which the last count is remembered, so that a late resumption hears it.
pub const ENDED_SESSIONS_MAX: usize = 10_000;

/// Bytes of all that an account keeps in private XML storage: bookmarks of thousands of rooms, and
/// little enough to be read at each change.
pub const PRIVATE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a namespace in private XML storage: a URI that somebody has typed.
pub const PRIVATE_NAMESPACE_BYTES_MAX: usize = 1_000;

/// Bytes of a vCard: what clients put into it with a photo of 96 KiB in base64.
pub const VCARD_BYTES_MAX: usize = 160 * 1024;

/// Bytes of the status with which an account left, as it is kept for later askers.
pub const LAST_STATUS_BYTES_MAX: usize = 1_023;

/// Stanzas that wait for one component while it is away or reads slowly.
pub const COMPONENT_QUEUE_STANZAS_MAX: usize = 10_000;

/// Bytes of such stanzas.
pub const COMPONENT_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Seconds without a byte to a component, after which a space is sent: RFC 6120 §4.6.1 leaves the
/// time to us, and a gateway that hangs is to be found within minutes.
pub const COMPONENT_IDLE_SECS: u64 = 120;

/// Pairs of addresses of which one sees the other as available through a component's connection:
/// thousand users of a gateway, each with hundred contacts.
pub const COMPONENT_SHOWN_MAX: usize = 100_000;

/// Services that an account may have its notifications pushed to: more than anybody has devices.
/// With one more the oldest goes, since its device is the likeliest to be gone.
pub const PUSH_SERVICES_MAX: usize = 16;

/// Bytes of the address, the node and the options of one such service: keys of a push service are
/// some hundred bytes long.
pub const PUSH_SERVICE_BYTES_MAX: usize = 4 * 1024;

/// Failures in a row after which a push service is tried no more (XEP-0357 §7.1): with the pauses
/// between them about a day.
pub const PUSH_FAILURES_MAX: u32 = 10;

/// The first pause after a failed push, in seconds; each that follows is four times as long.
pub const PUSH_RETRY_SECS: u64 = 30;

/// The longest pause between two attempts at a push, in seconds.
pub const PUSH_RETRY_SECS_MAX: u64 = 4 * 60 * 60;

/// Characters of a message's text in a push notification: what a lock screen shows.
pub const PUSH_BODY_CHARS_MAX: usize = 200;

/// Messages of an account of which it is remembered that they were pushed: what a session leaves
/// unread when it ends comes in once more (XEP-0198 §4).
pub const PUSHED_MAX: usize = 64;

/// Routes to domains elsewhere, those of nobody's interest included: a small provider's world.
pub const ROUTES_MAX: usize = 20_000;

/// Seconds after which a route that nobody uses is forgotten.
pub const ROUTE_IDLE_SECS: u32 = 60 * 60;

/// Tries in a row that fail before another server counts as gone, and with it all who are there: about
/// half a minute, in which a server that is restarted comes back.
pub const ROUTE_GONE_TRIES: u32 = 6;

/// How much more may wait while a stream takes it than while none does: it will not wait for long.
pub const QUEUE_STREAM_FACTOR: usize = 4;

/// Seconds after which a message that waited says so (XEP-0203).
pub const QUEUE_DELAYED_SECS: u64 = 60;

/// Stanzas sent to another server that it has not acknowledged; beyond that it gets no more. Enough
/// for 5,000 a second over a tenth of a second.
pub const STREAM_WINDOW_STANZAS: usize = 500;

/// Bytes of such stanzas.
pub const STREAM_WINDOW_BYTES: usize = 512 * 1024;

/// Bytes that are taken from a queue for one write.
pub const STREAM_BATCH_BYTES: usize = 32 * 1024;

/// Seconds between two looks of a server stream after itself at most.
pub const STREAM_TICK_SECS: u64 = 10;

/// Seconds for which another server may owe an acknowledgement at most.
pub const STREAM_ANSWER_SECS: u64 = 30;

/// Seconds for which a stream that is closed waits for the peer's end of it.
pub const STREAM_CLOSE_SECS: u64 = 3;

/// Seconds for which a peer may say how it counts, or that it goes on with an older stream, before
/// anything is sent to it: about a round trip.
pub const STREAM_HOLD_SECS: u64 = 2;

/// Seconds below which a stream that came to nothing is no better than none.
pub const STREAM_SHORT_SECS: u64 = 10;

/// Streams that a peer may end over the same first stanza before that goes back to its sender.
pub const STREAM_STRIKES_MAX: u8 = 3;

/// Seconds for which what was sent to a server without XEP-0198 counts as being on its way, when it
/// answers no pings; and for which the first of them may be answered.
pub const UNPROVEN_SECS: u64 = 10;

/// Milliseconds between two pings that prove what was sent to such a server, unless much was sent.
pub const PING_PAUSE_MILLIS: u64 = 1_000;

/// Seconds for which this server tries to resume a stream of its own before what was sent on it is
/// sent anew: longer than a try may take that comes to nothing, since what is sent anew may come twice.
pub const OURS_RESUMES_SECS: u64 = 120;

/// Seconds for which a peer is waited for to resume a stream of its own on which we had sent something.
/// Over a line that says nothing it may find out a look later than we do, and what is sent anew before it
/// comes may come twice.
pub const THEIRS_RESUMES_SECS: u64 = 15;

/// How long opening a stream to another server may take in all: records, connections, TLS, dialback.
pub const ESTABLISH_SECS: u64 = 90;

/// How much more a server may send in a time than a client: it speaks for many.
pub const SERVER_PACE_FACTOR: u64 = 16;

/// Dialback keys that are being verified at other servers at a time: each is a connection.
pub const VERIFYING_MAX: usize = 256;

/// Those of them that came from one address, so that no peer takes all.
pub const VERIFYING_PER_ADDRESS_MAX: usize = 16;

/// How long the verification of a dialback key may take: finding the server, TLS and the answer.
pub const VERIFY_SECS: u64 = 30;

/// How often a server may send us elsewhere before we give up (RFC 6120 §4.9.3.19: 2 to 5 times).
pub const REDIRECTS_MAX: usize = 3;

/// How long it may take to come from a domain to a stream with it.
pub const CALL_SECS: u64 = 80;

/// Dialback keys of one stream that are being verified at a time.
pub const VERIFYING_PER_STREAM_MAX: usize = 4;

/// Pairs of domains that one stream between servers is verified for: a few hosts with a few
/// services on each side.
pub const PAIRS_PER_STREAM_MAX: usize = 100;

/// Streams of other servers that are kept for resumption; beyond that new ones cannot be resumed.
pub const SLEEPING_STREAMS_MAX: usize = 10_000;

/// Domains elsewhere of which somebody is seen as available here.
pub const SEEN_MAX: usize = 20_000;

/// How often somebody of one domain is seen here, that is remembered: some hundred bytes each.
pub const SEEN_PER_DOMAIN_MAX: usize = 20_000;
