//! What modules remember of a stream until somebody is logged in on it.

use std::any::Any;

use parking_lot::Mutex;

/// Values of modules, at most one of each type. They go with the stream, and when TLS begins.
#[derive(Default)]
pub struct Notes {
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl Notes {
    /// Keeps a value; what was kept of its type before is dropped.
    pub fn keep<T: Send + 'static>(&self, value: T) {
        let mut kept = self.kept.lock();
        kept.retain(|note| !note.is::<T>());
        kept.push(Box::new(value));
    }

    /// The value of a type, if one is kept.
    pub fn find<T: Clone + 'static>(&self) -> Option<T> {
        self.kept.lock().iter().find_map(|note| note.downcast_ref::<T>()).cloned()
    }

    /// Drops the value of a type.
    pub fn drop_any<T: 'static>(&self) {
        self.kept.lock().retain(|note| !note.is::<T>());
    }
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes").field("kept", &self.kept.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type_is_kept() {
        let notes = Notes::default();
        assert_eq!(notes.find::<u8>(), None);
        notes.keep(1_u8);
        notes.keep(2_u8);
        notes.keep("Wherefore");
        assert_eq!(notes.find::<u8>(), Some(2));
        assert_eq!(notes.kept.lock().len(), 2);
        notes.drop_any::<u8>();
        assert_eq!((notes.find::<u8>(), notes.find::<&str>()), (None, Some("Wherefore")));
    }
}
