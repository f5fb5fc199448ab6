//! The files of a database: made for their owner alone, synced with their directory, and held by
//! one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use verona_core::store::error::{Fault, StoreError};

/// The hold on a data directory; given back when it is dropped or the process ends, however.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Takes the directory of a database file, made when missing, and the file itself.
    pub fn take(database: &Path) -> Result<Self, StoreError> {
        let directory = directory_of(database);
        make_directory(&directory).map_err(|error| unusable(&directory, error))?;
        let hold = Self::lock(&directory.join("lock"))?;
        make_file(database).map_err(|error| unusable(database, error))?;
        sync_directory(&directory).map_err(|error| unusable(&directory, error))?;
        Ok(hold)
    }

    fn lock(path: &Path) -> Result<Self, StoreError> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let mut file = opened.map_err(|error| unusable(path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder_of(&mut file);
                return Err(unusable(path, format_args!("the data is in use by {holder}")));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(path, error)),
        }
        // The number only helps whoever is refused; the lock does not depend on it, nor on space.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn holder_of(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(20).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".into(),
    }
}

fn directory_of(database: &Path) -> PathBuf {
    match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => ".".into(),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    sync_directory(&directory_of(directory))
}

fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::new(Fault::Unusable, format_args!("{}: {why}", path.display()))
}
