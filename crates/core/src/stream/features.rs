//! RFC 6120 §4.3.2: the features that a stream offers at each of its stages.

use std::net::IpAddr;
use std::sync::Arc;

use verona_xml::{Tree, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::sasl::binding::{ChannelBinding, Offer};
use verona_xmpp::sasl::context::{Context, Peer};
use verona_xmpp::sasl::hash::Hash;
use verona_xmpp::sasl::mechanism::Mechanism;
use verona_xmpp::sasl::token::TokenMechanism;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::hooks::notes::Notes;
use crate::hooks::place::Stage;
use crate::router::iq_answer;
use crate::server::{BeforeLogin, Host, Offering, Server};
use crate::stream::open::Open;

const NS_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// The namespace of tokens (XEP-0484).
pub const NS_FAST: &str = "urn:xmpp:fast:0";
/// The namespace of upgrades to other mechanisms (XEP-0480).
pub const NS_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";
/// The upgrades, and to what each leads. None leads to SHA-1, which nobody should go back to.
pub const UPGRADES: [(&str, Hash); 2] =
    [("UPGR-SCRAM-SHA-256", Hash::Sha256), ("UPGR-SCRAM-SHA-512", Hash::Sha512)];
const NS_IQ_AUTH: &str = "http://jabber.org/features/iq-auth";
const NS_ROSTER_VERSIONS: &str = "urn:xmpp:features:rosterver";
const NS_PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";

/// What a stream offers to who is not logged in.
pub struct Offers {
    /// Whether a login is possible now: the stream is encrypted, or need not be.
    pub may_log_in: bool,
    /// What SASL needs to know of the stream.
    pub sasl: Arc<Context>,
    /// The same for SASL2, which has an offer of its own (XEP-0388 §2.1).
    pub sasl2: Arc<Context>,
}

impl Offers {
    /// The offers of a stream to a host. RFC 6120 §5.3.1: while TLS is required and not in place,
    /// nothing but STARTTLS. Without TLS, only peers on this machine may log in, if at all.
    pub fn before_login(open: &Open, host: &Host, from: Option<&Jid>) -> Self {
        let secure = open.wire.is_secure();
        let local = open.wire.peer().to_canonical().is_loopback();
        let may_log_in = secure || (!open.server.policy().require_tls && local);
        let bindings = open.wire.bindings();
        let mut channel = Vec::new();
        channel.extend(bindings.exporter.map(ChannelBinding::TlsExporter));
        channel.extend(bindings.end_point.map(ChannelBinding::TlsServerEndPoint));
        let offer = || match may_log_in {
            true => Offer::new(mechanisms(secure), channel.clone()),
            false => Offer::default(),
        };
        let context = |offer| Context {
            offer,
            domain: host.jid.domain().to_owned(),
            peer: Peer::Client,
            secure,
            from: from.filter(|_| secure).map(|from| from.bare().to_string()),
            certificate: Vec::new(),
            // RFC 6120 §6.3.8: who a client acts as is a bare JID.
            normalize: |text| Jid::parse(text).ok().filter(Jid::is_bare).map(|jid| jid.to_string()),
            decoy: open.server.decoy.clone(),
        };
        let (sasl, sasl2) = (Arc::new(context(offer())), Arc::new(context(offer())));
        Self { may_log_in, sasl, sasl2 }
    }
}

/// RFC 6120 §13.8.3: SCRAM always; PLAIN only behind TLS.
// todo(XEP-0178 §2): clients that log in with a certificate.
fn mechanisms(secure: bool) -> impl Iterator<Item = Mechanism> {
    let all = [
        Mechanism::ScramSha512Plus,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
    ];
    all.into_iter().filter(move |mechanism| secure || *mechanism != Mechanism::Plain)
}

/// The features of a stream before login.
pub fn before_login(open: &Open, host: &Host, offers: &Offers) -> String {
    let policy = open.server.policy();
    write(|writer| {
        if open.wire.can_start_tls() {
            writer.start("starttls", ns::TLS);
            if policy.require_tls {
                writer.empty("required", ns::TLS);
            }
            writer.end();
        }
        if !offers.may_log_in {
            return;
        }
        writer.start("mechanisms", ns::SASL);
        for mechanism in offers.sasl.offer.mechanisms() {
            writer.start("mechanism", ns::SASL).text(mechanism.name()).end();
        }
        writer.end();
        authentication(host, offers, writer);
        // XEP-0440 §3
        if !offers.sasl.offer.bindings().is_empty() {
            writer.start("sasl-channel-binding", NS_CHANNEL_BINDING);
            for binding in offers.sasl.offer.bindings() {
                writer.start("channel-binding", NS_CHANNEL_BINDING);
                writer.attr("type", binding.name()).end();
            }
            writer.end();
        }
        if policy.legacy_auth {
            writer.empty("auth", NS_IQ_AUTH);
        }
        offer(open, host, Stage::BeforeLogin, writer);
    })
}

/// XEP-0388 §2.1: what a client may ask for along with its login.
fn authentication(host: &Host, offers: &Offers, writer: &mut Writer) {
    writer.start("authentication", ns::SASL2);
    for mechanism in offers.sasl2.offer.mechanisms() {
        writer.start("mechanism", ns::SASL2).text(mechanism.name()).end();
    }
    writer.start("inline", ns::SASL2);
    // XEP-0386 §3.1
    writer.start("bind", ns::BIND2).start("inline", ns::BIND2);
    for feature in host.registry().inline_features().into_iter().chain([ns::SM]) {
        writer.start("feature", ns::BIND2).attr("var", feature).end();
    }
    writer.end().end();
    // XEP-0198 §9.2
    writer.empty("sm", ns::SM);
    // XEP-0484 §3.1
    writer.start("fast", NS_FAST);
    for mechanism in TokenMechanism::offered(&offers.sasl2) {
        writer.start("mechanism", NS_FAST).text(mechanism.name()).end();
    }
    writer.end();
    writer.end();
    // XEP-0480 §2.1: whoever the client is: which of them an account still needs is nobody's business
    // before a login.
    for (task, _) in UPGRADES {
        writer.start("upgrade", NS_UPGRADE).text(task).end();
    }
    writer.end();
}

/// The features of a stream before a resource is bound.
pub fn before_bind(open: &Open, host: &Host) -> String {
    write(|writer| {
        writer.empty("bind", ns::BIND);
        // compat(RFC 3921 clients): the session is part of binding now, asking for it does nothing.
        writer.start("session", ns::SESSION).empty("optional", ns::SESSION).end();
        writer.empty("sm", ns::SM);
        after_login(open, host, writer);
    })
}

/// The features of a stream on which a resource was bound along with the login (XEP-0388 §2.6.1).
pub fn after_bind(open: &Open, host: &Host, managed: bool) -> String {
    write(|writer| {
        if !managed {
            writer.empty("sm", ns::SM);
        }
        after_login(open, host, writer);
    })
}

fn after_login(open: &Open, host: &Host, writer: &mut Writer) {
    writer.empty("ver", NS_ROSTER_VERSIONS);
    writer.empty("sub", NS_PRE_APPROVAL);
    offer(open, host, Stage::BeforeBind, writer);
}

fn offer(open: &Open, host: &Host, stage: Stage, writer: &mut Writer) {
    let policy = open.server.policy();
    host.registry().advertise(&mut Offering { stage, host, limits: &policy.limits, writer });
}

fn write(build: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::new(ns::CLIENT);
    build(&mut writer);
    ["<stream:features>", &writer.finish(), "</stream:features>"].concat()
}

/// The answer to an IQ on a stream that is not logged in; None when it may not be asked.
pub async fn answer_before_login(
    (server, peer): (Arc<Server>, IpAddr),
    host: &Arc<Host>,
    tree: &Tree,
    notes: &Arc<Notes>,
) -> Option<String> {
    let iq = Stanza::parse(&tree.root().to_text(ns::CLIENT)).ok()?;
    if !matches!(iq.iq_type(), Some(IqType::Get | IqType::Set)) {
        return None;
    }
    let (host, notes) = (host.clone(), notes.clone());
    let request = BeforeLogin { iq: iq.clone(), host: host.clone(), server, peer, notes };
    if iq.id_raw().is_none() || !iq.has_due_children() {
        let error = iq.error_answer(&StanzaError::new(Condition::BadRequest));
        return error.map(|error| error.text().to_owned());
    }
    let asked = host.registry().before_login(request)?;
    let answer = asked.await;
    iq_answer(&iq, answer).map(|answer| answer.text().to_owned())
}
