//! Names as small numbers: what lies on the disk a million times is an integer, the text is there
//! once. The writer alone gives numbers; a number never changes its meaning.

use std::hash::Hash;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

/// Names that each of the two halves of the cache holds: about 2 MB of the names of a large server.
const HALF_MAX: usize = 8192;

/// What is known of the numbers on the disk, shared by the writer and the readers.
#[derive(Debug, Default)]
pub struct Known {
    /// Owners.
    pub owners: Names,
    /// Peers.
    pub peers: Names,
    /// Tables.
    pub tables: Names,
    logs: Mutex<Lately<(i64, i64), i64>>,
}

impl Known {
    /// The number of the log that an owner has in a table, if it was used lately.
    pub fn log(&self, place: (i64, i64)) -> Option<i64> {
        self.logs.lock().find(&place)
    }

    /// Learns the number of a log that is on the disk.
    pub fn learn_log(&self, place: (i64, i64), log: i64) {
        self.logs.lock().keep(place, log);
    }

    /// The number of a log, if nothing about it needs to be looked up.
    pub fn log_by_name(&self, table: &str, owner: &str) -> Option<i64> {
        self.log((self.owners.number(owner)?, self.tables.number(table)?))
    }
}

/// Names that are known, in both directions, as far as they were used lately.
#[derive(Debug, Default)]
pub struct Names {
    numbers: Mutex<Lately<Arc<str>, i64>>,
    names: Mutex<Lately<i64, Arc<str>>>,
}

impl Names {
    /// The number of a name, if it was used lately.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.numbers.lock().find(name)
    }

    /// The name of a number, if it was used lately.
    pub fn name(&self, number: i64) -> Option<Arc<str>> {
        self.names.lock().find(&number)
    }

    /// Learns a name that is on the disk: committed, not merely written.
    pub fn learn(&self, name: &Arc<str>, number: i64) {
        self.numbers.lock().keep(name.clone(), number);
        self.names.lock().keep(number, name.clone());
    }
}

/// A bounded map in two halves: what is not used while one half fills is forgotten.
#[derive(Debug)]
pub struct Lately<K, V> {
    young: AHashMap<K, V>,
    old: AHashMap<K, V>,
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self { young: AHashMap::new(), old: AHashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Lately<K, V> {
    /// The value, which is then held as long as one that is new.
    pub fn find<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.find_mut(key).cloned()
    }

    /// The value itself, to be changed.
    pub fn find_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // Most are in the young half: looking into the other costs as much again.
        if !self.old.is_empty()
            && !self.young.contains_key(key)
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.keep(key, value);
        }
        self.young.get_mut(key)
    }

    /// Holds a value.
    pub fn keep(&mut self, key: K, value: V) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let mut lately = Lately::default();
        lately.keep(0, "used");
        lately.keep(1, "unused");
        for n in 2..100_000 {
            lately.keep(n, "passing");
            assert_eq!(lately.find(&0), Some("used"));
            assert!(lately.young.len() + lately.old.len() <= 2 * HALF_MAX);
        }
        assert_eq!(lately.find(&1), None);
    }

    #[test]
    fn a_name_is_found_in_both_directions() {
        let names = Names::default();
        names.learn(&"juliet@capulet.lit".into(), 3);
        assert_eq!(names.number("juliet@capulet.lit"), Some(3));
        assert_eq!(names.name(3).as_deref(), Some("juliet@capulet.lit"));
        assert_eq!(names.number("romeo@montague.lit"), None);
    }
}
