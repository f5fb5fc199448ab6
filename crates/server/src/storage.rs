//! The store that the config names.

use std::sync::Arc;

use verona_core::store::Store;
use verona_core::store::error::{Fault, StoreError};
use verona_stores::memory::Memory;
use verona_stores::sqlite::Sqlite;

use crate::config::load::Config;
use crate::config::value::StorageUrl;

/// Opens the store; nobody else may have it open. Must be called within the runtime.
pub fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match config.sqlite_file() {
        None if config.storage.url == StorageUrl::Memory => Ok(Arc::new(Memory::new())),
        Some(file) => Ok(Arc::new(Sqlite::open(&file)?)),
        None => {
            let message = "this version keeps its data in SQLite only; set [storage] url to \
                           \"sqlite:verona.db\"";
            Err(StoreError::new(Fault::Unusable, message))
        }
    }
}
