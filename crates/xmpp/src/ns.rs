//! Namespaces that more than one crate speaks of. A namespace of one extension stands in its file.

/// Stanzas of clients (RFC 6120 §4.8.2), and of everything while it is within the server.
pub const CLIENT: &str = "jabber:client";
/// Stanzas between servers (RFC 6120 §4.8.2).
pub const SERVER: &str = "jabber:server";
/// Stanzas of a component that connects to the server (XEP-0114 §3).
pub const COMPONENT: &str = "jabber:component:accept";
/// Stanzas of a component that the server connects to (XEP-0114 §3).
pub const COMPONENT_CONNECT: &str = "jabber:component:connect";
/// Streams (RFC 6120 §4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// The frame around a stream over WebSocket (RFC 7395 §3.3).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// Conditions of stanza errors (RFC 6120 §8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Conditions of stream errors (RFC 6120 §4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Application conditions of many extensions (XEP-0182 §2.2).
pub const APPLICATION_ERRORS: &str = "urn:xmpp:errors";
/// STARTTLS (RFC 6120 §5.4).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6.4).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Extensible SASL (XEP-0388 §2).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Resource binding with extensible SASL (XEP-0386 §3).
pub const BIND2: &str = "urn:xmpp:bind:0";
/// The session request of RFC 3921 §3, which old clients still make.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Stream management (XEP-0198 §3).
pub const SM: &str = "urn:xmpp:sm:3";
/// The roster (RFC 6121 §2.1).
pub const ROSTER: &str = "jabber:iq:roster";
/// Server dialback (XEP-0220 §2).
pub const DIALBACK: &str = "jabber:server:dialback";
/// Ad-hoc commands (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// What an entity is and can do (XEP-0030 §3).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// What belongs to an entity (XEP-0030 §4).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Data forms (XEP-0004 §3).
pub const FORM: &str = "jabber:x:data";
/// Result sets in pages (XEP-0059 §2).
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// When a stanza was first sent (XEP-0203 §2).
pub const DELAY: &str = "urn:xmpp:delay";
/// Unique and stable ids (XEP-0359 §2).
pub const SID: &str = "urn:xmpp:sid:0";
/// Hints on how to process a message (XEP-0334 §4).
pub const HINTS: &str = "urn:xmpp:hints";
/// A stanza within another (XEP-0297 §3).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// Message carbons (XEP-0280 §4).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Chat states (XEP-0085 §2).
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// Delivery receipts (XEP-0184 §7).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// The message archive (XEP-0313 §3).
pub const MAM: &str = "urn:xmpp:mam:2";
/// What an occupant sends and sees of a room (XEP-0045 §7.2).
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// What a room tells of its occupants (XEP-0045 §7.2.2).
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// Publish-subscribe (XEP-0060 §4).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// What a node tells its subscribers (XEP-0060 §7.1.2.1).
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// Entity capabilities (XEP-0115 §4).
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// The namespace that the prefix `xml` is bound to.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
