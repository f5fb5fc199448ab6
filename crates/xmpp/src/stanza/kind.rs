//! What a stanza is: its kind and its type.

/// What a stanza is (RFC 6120 §8.2) together with its `type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A message (RFC 6121 §5).
    Message(MessageType),
    /// A presence (RFC 6121 §4).
    Presence(PresenceType),
    /// An info/query (RFC 6120 §8.2.3).
    Iq(IqType),
}

/// The types of a message (RFC 6121 §5.2.2); an unknown one counts as normal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageType {
    /// Part of a one-to-one chat.
    Chat,
    /// An error about a message sent before.
    Error,
    /// Of a room.
    Groupchat,
    /// A notice without reply.
    Headline,
    /// A single message.
    Normal,
}

/// The types of a presence (RFC 6121 §4.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceType {
    /// No `type` attribute.
    Available,
    /// An error about a presence sent before.
    Error,
    /// A server asks for current presence.
    Probe,
    /// Asks for a subscription.
    Subscribe,
    /// Grants a subscription.
    Subscribed,
    /// No longer available.
    Unavailable,
    /// Ends a subscription.
    Unsubscribe,
    /// Refuses or withdraws a subscription.
    Unsubscribed,
    /// A `type` that RFC 6121 does not define.
    Unknown,
}

/// The types of an IQ (RFC 6120 §8.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IqType {
    /// Asks.
    Get,
    /// Changes.
    Set,
    /// Answers.
    Result,
    /// Answers that it failed.
    Error,
    /// None of the four, or missing.
    Unknown,
}

/// Why a frame is not a stanza that can be routed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAStanza {
    /// The element is none of message, presence and iq in the content namespace.
    Unsupported,
    /// It could not be brought into self-contained form.
    NotWellFormed,
    /// In self-contained form it would be many times as long.
    TooLarge,
}

pub(super) fn kind(name: &str, type_: &str) -> Kind {
    match name {
        "message" => Kind::Message(match type_ {
            "chat" => MessageType::Chat,
            "error" => MessageType::Error,
            "groupchat" => MessageType::Groupchat,
            "headline" => MessageType::Headline,
            _ => MessageType::Normal,
        }),
        "presence" => Kind::Presence(presence_type(type_)),
        _ => Kind::Iq(match type_ {
            "get" => IqType::Get,
            "set" => IqType::Set,
            "result" => IqType::Result,
            "error" => IqType::Error,
            _ => IqType::Unknown,
        }),
    }
}

pub(super) fn presence_type(type_: &str) -> PresenceType {
    match type_ {
        "" => PresenceType::Available,
        "error" => PresenceType::Error,
        "probe" => PresenceType::Probe,
        "subscribe" => PresenceType::Subscribe,
        "subscribed" => PresenceType::Subscribed,
        "unavailable" => PresenceType::Unavailable,
        "unsubscribe" => PresenceType::Unsubscribe,
        "unsubscribed" => PresenceType::Unsubscribed,
        _ => PresenceType::Unknown,
    }
}
