//! What the process asks of the system: file descriptors, a directory of its own, and a word with
//! the service manager.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;

/// Takes as many file descriptors as may be had. Returns how many those are.
pub fn raise_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    // A service manager may forbid the call, but has then set what it wants.
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of file descriptors stays as it is");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes a directory that only its owner can enter; one that is there stays as it is.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What the service manager is told (systemd's `Type=notify-reload`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Clients can connect.
    Ready,
    /// Config and certificates are read anew; [`Stage::Ready`] follows.
    Reloading,
    /// The end has begun.
    Stopping,
}

/// Tells the service manager; without one nothing happens.
pub fn tell(stage: Stage) {
    let told = match stage {
        Stage::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Stage::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Stage::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
