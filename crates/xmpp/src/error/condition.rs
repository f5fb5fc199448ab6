//! The conditions that RFC 6120 defines, each with its element name, in one table per kind.

/// What the sender of a stanza can do about an error (RFC 6120 §8.3.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Go on, it was only a warning.
    Continue,
    /// Retry after changing what was sent.
    Modify,
    /// Retry after a while.
    Wait,
}

impl ErrorType {
    /// The value of the `type` attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }

    /// The type with this value of the `type` attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Why a stanza cannot be served (RFC 6120 §8.3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// The stanza breaks a schema or a rule of its protocol.
    BadRequest,
    /// Something of that name or address exists already.
    Conflict,
    /// The feature is specified, but not built here.
    FeatureNotImplemented,
    /// The sender lacks the permission.
    Forbidden,
    /// The recipient has left this address for good.
    Gone,
    /// The server fails for a reason of its own.
    InternalServerError,
    /// There is no such address or item.
    ItemNotFound,
    /// An address breaks the rules of RFC 7622.
    JidMalformed,
    /// The request is understood, but does not meet a criterion of the recipient.
    NotAcceptable,
    /// Nobody may do that.
    NotAllowed,
    /// The sender must authenticate first.
    NotAuthorized,
    /// The stanza violates a policy of the service.
    PolicyViolation,
    /// The recipient is away for a while.
    RecipientUnavailable,
    /// The recipient is elsewhere for a while.
    Redirect,
    /// The sender must register with the service first.
    RegistrationRequired,
    /// The server of the recipient does not exist or cannot be resolved.
    RemoteServerNotFound,
    /// The server of the recipient could not be reached in time.
    RemoteServerTimeout,
    /// The service is short of what the request takes.
    ResourceConstraint,
    /// The service is not offered here, or not to the sender.
    ServiceUnavailable,
    /// The sender must be subscribed first.
    SubscriptionRequired,
    /// None of the others; an application condition says more.
    UndefinedCondition,
    /// The request came at the wrong time, such as out of order.
    UnexpectedRequest,
}

/// Element names and the types that RFC 6120 §8.3.3 associates, in its order. Where it leaves a
/// choice: `policy-violation` is `modify` (or `wait`), `unexpected-request` is `wait` (or
/// `modify`), and `undefined-condition` (any) is `cancel`, so that nobody retries blindly.
const CONDITIONS: [(Condition, &str, ErrorType); 22] = {
    use Condition as C;
    use ErrorType as T;
    [
        (C::BadRequest, "bad-request", T::Modify),
        (C::Conflict, "conflict", T::Cancel),
        (C::FeatureNotImplemented, "feature-not-implemented", T::Cancel),
        (C::Forbidden, "forbidden", T::Auth),
        (C::Gone, "gone", T::Cancel),
        (C::InternalServerError, "internal-server-error", T::Cancel),
        (C::ItemNotFound, "item-not-found", T::Cancel),
        (C::JidMalformed, "jid-malformed", T::Modify),
        (C::NotAcceptable, "not-acceptable", T::Modify),
        (C::NotAllowed, "not-allowed", T::Cancel),
        (C::NotAuthorized, "not-authorized", T::Auth),
        (C::PolicyViolation, "policy-violation", T::Modify),
        (C::RecipientUnavailable, "recipient-unavailable", T::Wait),
        (C::Redirect, "redirect", T::Modify),
        (C::RegistrationRequired, "registration-required", T::Auth),
        (C::RemoteServerNotFound, "remote-server-not-found", T::Cancel),
        (C::RemoteServerTimeout, "remote-server-timeout", T::Wait),
        (C::ResourceConstraint, "resource-constraint", T::Wait),
        (C::ServiceUnavailable, "service-unavailable", T::Cancel),
        (C::SubscriptionRequired, "subscription-required", T::Auth),
        (C::UndefinedCondition, "undefined-condition", T::Cancel),
        (C::UnexpectedRequest, "unexpected-request", T::Wait),
    ]
};

// The proof that a condition finds its own row by its number, and that each has one.
const _: () = {
    let mut row = 0;
    while row < CONDITIONS.len() {
        assert!(CONDITIONS[row].0 as usize == row);
        row += 1;
    }
    assert!(row == Condition::UnexpectedRequest as usize + 1);
};

impl Condition {
    /// The name of the element.
    pub const fn name(self) -> &'static str {
        CONDITIONS[self as usize].1
    }

    /// The error type that goes with the condition.
    pub const fn default_type(self) -> ErrorType {
        CONDITIONS[self as usize].2
    }

    /// The condition with this element name.
    pub fn from_name(name: &str) -> Option<Self> {
        CONDITIONS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// All conditions in the order of RFC 6120.
    pub fn all() -> impl Iterator<Item = Self> {
        CONDITIONS.iter().map(|row| row.0)
    }
}

/// Why a stream cannot go on (RFC 6120 §4.9.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StreamCondition {
    /// XML that cannot be processed, and no better word for it.
    BadFormat,
    /// A prefix that is not supported, or none where one is needed.
    BadNamespacePrefix,
    /// Another stream takes the place of this one, or holds it.
    Conflict,
    /// The other party has stopped answering.
    ConnectionTimeout,
    /// The domain is no longer served here.
    HostGone,
    /// The domain is not served here.
    HostUnknown,
    /// A stanza between servers without `to` or `from`, or with one that is no address.
    ImproperAddressing,
    /// The server fails for a reason of its own.
    InternalServerError,
    /// A `from` that the stream was not authorized for.
    InvalidFrom,
    /// The namespace of the stream or of its content is not supported.
    InvalidNamespace,
    /// XML that breaks a schema.
    InvalidXml,
    /// Something that needs authentication came before it.
    NotAuthorized,
    /// XML that is not well-formed.
    NotWellFormed,
    /// A policy of the service is violated, such as a limit of size or rate.
    PolicyViolation,
    /// A third party that is needed for authentication cannot be reached.
    RemoteConnectionFailed,
    /// The stream must be negotiated anew.
    Reset,
    /// The service is short of what the stream takes.
    ResourceConstraint,
    /// A comment, processing instruction, document type or entity.
    RestrictedXml,
    /// The service is at another host.
    SeeOtherHost,
    /// The server is going down.
    SystemShutdown,
    /// None of the others; an application condition says more.
    UndefinedCondition,
    /// An encoding other than UTF-8.
    UnsupportedEncoding,
    /// A feature was demanded that is not there.
    UnsupportedFeature,
    /// A first-level element that is no stanza.
    UnsupportedStanzaType,
    /// A version of XMPP that is not supported.
    UnsupportedVersion,
}

/// Element names, in the order of RFC 6120 §4.9.3.
const STREAM_CONDITIONS: [(StreamCondition, &str); 25] = {
    use StreamCondition as C;
    [
        (C::BadFormat, "bad-format"),
        (C::BadNamespacePrefix, "bad-namespace-prefix"),
        (C::Conflict, "conflict"),
        (C::ConnectionTimeout, "connection-timeout"),
        (C::HostGone, "host-gone"),
        (C::HostUnknown, "host-unknown"),
        (C::ImproperAddressing, "improper-addressing"),
        (C::InternalServerError, "internal-server-error"),
        (C::InvalidFrom, "invalid-from"),
        (C::InvalidNamespace, "invalid-namespace"),
        (C::InvalidXml, "invalid-xml"),
        (C::NotAuthorized, "not-authorized"),
        (C::NotWellFormed, "not-well-formed"),
        (C::PolicyViolation, "policy-violation"),
        (C::RemoteConnectionFailed, "remote-connection-failed"),
        (C::Reset, "reset"),
        (C::ResourceConstraint, "resource-constraint"),
        (C::RestrictedXml, "restricted-xml"),
        (C::SeeOtherHost, "see-other-host"),
        (C::SystemShutdown, "system-shutdown"),
        (C::UndefinedCondition, "undefined-condition"),
        (C::UnsupportedEncoding, "unsupported-encoding"),
        (C::UnsupportedFeature, "unsupported-feature"),
        (C::UnsupportedStanzaType, "unsupported-stanza-type"),
        (C::UnsupportedVersion, "unsupported-version"),
    ]
};

// As above.
const _: () = {
    let mut row = 0;
    while row < STREAM_CONDITIONS.len() {
        assert!(STREAM_CONDITIONS[row].0 as usize == row);
        row += 1;
    }
    assert!(row == StreamCondition::UnsupportedVersion as usize + 1);
};

impl StreamCondition {
    /// The name of the element.
    pub const fn name(self) -> &'static str {
        STREAM_CONDITIONS[self as usize].1
    }

    /// The condition with this element name.
    pub fn from_name(name: &str) -> Option<Self> {
        STREAM_CONDITIONS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// All conditions in the order of RFC 6120.
    pub fn all() -> impl Iterator<Item = Self> {
        STREAM_CONDITIONS.iter().map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_found_by_its_name() {
        for condition in Condition::all() {
            assert_eq!(Condition::from_name(condition.name()), Some(condition));
        }
        for condition in StreamCondition::all() {
            assert_eq!(StreamCondition::from_name(condition.name()), Some(condition));
        }
        assert_eq!(Condition::from_name("Bad-Request"), None);
        assert_eq!(StreamCondition::from_name("xml-not-well-formed"), None);
    }

    #[test]
    fn error_types_are_found_by_their_names() {
        for name in ["auth", "cancel", "continue", "modify", "wait"] {
            assert_eq!(ErrorType::from_name(name).map(ErrorType::name), Some(name));
        }
        assert_eq!(ErrorType::from_name(""), None);
    }
}
