//! A server that is already running: a place known by its address alone.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::address::Address;
use crate::client::register;
use crate::place::{Link, Place, Security};
use crate::script::Setup;
use crate::wire::PATIENCE;

/// A server that serves all domains of a script at one address and lets anybody make an account.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// How connections are to be protected.
    pub security: Security,
}

impl Listening {
    /// Opens a connection.
    pub async fn link(&self) -> io::Result<Link> {
        let pipe = TcpStream::connect(self.address).await?;
        pipe.set_nodelay(true)?;
        Ok(Link { pipe: Box::new(pipe), security: self.security })
    }
}

impl Place for Listening {
    fn suits(&self, setup: &Setup) -> Result<(), String> {
        match setup.config.is_empty()
            && setup.components.is_empty()
            && setup.admins.is_empty()
            && matches!(setup.registration.as_deref(), None | Some("open"))
        {
            true => Ok(()),
            false => Err("a server that runs already cannot be configured by a script".to_owned()),
        }
    }

    async fn account(&self, address: &Address, password: &str) -> Result<(), String> {
        let link = self.link().await.map_err(|error| error.to_string())?;
        register(link, address, password, PATIENCE).await.map_err(|trouble| trouble.to_string())
    }

    async fn connect(&self, _address: &Address) -> io::Result<Link> {
        self.link().await
    }
}
