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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let scratch = Scratch::new().expect("a directory");
        let database = scratch.path().join("deep").join("data").join("verona.db");
        let hold = Hold::take(&database).expect("it is free");
        let mode = |path: &Path| {
            std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777
        };
        assert_eq!(mode(&scratch.path().join("deep")), 0o700);
        assert_eq!(mode(&directory_of(&database)), 0o700);
        assert_eq!(mode(&database), 0o600);
        assert_eq!(mode(&directory_of(&database).join("lock")), 0o600);
        drop(hold);
    }

    #[test]
    fn only_one_holds_a_directory_and_the_other_learns_who() {
        let scratch = Scratch::new().expect("a directory");
        let database = scratch.path().join("verona.db");
        let hold = Hold::take(&database).expect("it is free");
        let error = Hold::take(&database).expect_err("it is held");
        assert_eq!(error.fault, Fault::Unusable);
        let holder = format!("in use by process {}", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(hold);
        Hold::take(&database).expect("it is free again");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let scratch = Scratch::new().expect("a directory");
        let file = scratch.path().join("file");
        std::fs::write(&file, "no directory").expect("a file");
        let error = Hold::take(&file.join("verona.db")).expect_err("a file is no directory");
        assert_eq!(error.fault, Fault::Unusable);
        assert!(error.to_string().contains("file"), "{error}");
    }
}
