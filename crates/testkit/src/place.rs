//! Where a conversation is played: something that gives connections and makes accounts.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::script::Setup;

/// The domains that a server for scripts serves: those of the characters of the RFCs.
pub const HOSTS: [&str; 3] = ["capulet.lit", "montague.lit", "localhost"];

/// What components prove to know.
pub const SECRET: &str = "wherefore art thou Romeo?";

/// A way for bytes to and from a server.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Security {
    /// Not at all: memory, or loopback where the server allows it.
    None,
    /// By STARTTLS (RFC 6120 §5).
    StartTls,
    /// From the first byte (XEP-0368).
    Tls,
}

/// A new connection and what the client has to do with it.
pub struct Link {
    /// The bytes.
    pub pipe: Box<dyn Pipe>,
    /// The protection that the client is to put on them.
    pub security: Security,
}

impl Link {
    /// A connection that needs no TLS.
    pub fn plain(pipe: impl Pipe + 'static) -> Self {
        Self { pipe: Box::new(pipe), security: Security::None }
    }
}

/// A server, or several, that serve the domains of a script.
pub trait Place: Sync {
    /// Tells whether the server is as the script wants it; an error says what is missing.
    fn suits(&self, setup: &Setup) -> Result<(), String> {
        match setup.is_plain() {
            true => Ok(()),
            false => Err("this server cannot be configured by a script".to_owned()),
        }
    }

    /// Makes an account.
    fn account(
        &self,
        address: &Address,
        password: &str,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Opens a connection to the server of a character; where components connect, when it is one.
    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Link>> + Send;

    /// The domains of other servers than that of a character, which may be slower than its own.
    fn elsewhere(&self, _: &Address) -> &'static [&'static str] {
        &[]
    }

    /// What the server has logged, to be shown when a conversation fails.
    fn log(&self) -> String {
        String::new()
    }
}
