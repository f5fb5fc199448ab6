//! A directory for one test or measurement, gone when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// An empty directory of its own, removed with all it holds on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory among the system's temporary files.
    pub fn new() -> std::io::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    /// Makes the directory in a given place.
    pub fn within(place: &Path) -> std::io::Result<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("verona-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
