//! The places at which a module can be asked.

/// Whose answer is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// The host itself: `to` is its domain.
    Host,
    /// The asker's own account: no `to`, or its own bare JID.
    Own,
    /// Another's account: `to` is a bare JID that is not the asker's. The account may not exist;
    /// the answer must not tell (RFC 6120 §10.5.3.1).
    Account,
}

/// A stage of a client's stream at which features are announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Not logged in (and, where TLS is required, encrypted).
    BeforeLogin,
    /// Logged in, not bound.
    BeforeBind,
}
