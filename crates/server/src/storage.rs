//! The store that the config names.

use std::sync::Arc;

use verona_core::store::Store;
use verona_core::store::error::{Fault, StoreError};
use verona_stores::memory::Memory;
use verona_stores::sqlite::Sqlite;

use crate::config::load::Config;
use crate::config::value::StorageUrl;

/// Opens the store; nobody else may have it open. Must be called within the runtime. The error
/// names the file.
pub fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match config.sqlite_file() {
        None if config.storage.url == StorageUrl::Memory => Ok(Arc::new(Memory::new())),
        Some(file) => {
            let named =
                |error: StoreError| match error.cause.contains(file.to_string_lossy().as_ref()) {
                    true => error,
                    false => StoreError::new(
                        error.fault,
                        format_args!("{}: {}", file.display(), error.cause),
                    ),
                };
            Ok(Arc::new(Sqlite::open(&file).map_err(named)?))
        }
        None => {
            let message = "this version keeps its data in SQLite only; set [storage] url to \
                           \"sqlite:verona.db\"";
            Err(StoreError::new(Fault::Unusable, message))
        }
    }
}
