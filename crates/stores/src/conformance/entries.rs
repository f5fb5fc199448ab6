//! Promises about values, sets and maps, and about the list of owners.

use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::Write;
use verona_core::store::shape::{Shape, Table};

use super::subject::{
    LOG, MAP, SET, VALUE, done, entries_of, is_refused, one, owner, record, value_of, write,
};

/// Putting again replaces; an empty value is a value.
pub async fn a_value_is_what_was_put_last(store: Arc<dyn Store>) {
    let juliet = owner("juliet@capulet.lit");
    done(&store, |batch| batch.put(VALUE, &juliet, "", "thorn")).await;
    done(&store, |batch| batch.put(VALUE, &juliet, "", "rose")).await;
    assert_eq!(value_of(&store, VALUE, &juliet, "").await, Some(Bytes::from("rose")));
    done(&store, |batch| batch.put(VALUE, &juliet, "", "")).await;
    assert_eq!(value_of(&store, VALUE, &juliet, "").await, Some(Bytes::new()));
}

/// Asking for what nobody wrote is no error, also before the first write of all.
pub async fn what_nobody_wrote_is_not_there(store: Arc<dyn Store>) {
    let nobody = owner("rosaline@capulet.lit");
    for _ in 0..2 {
        assert_eq!(value_of(&store, VALUE, &nobody, "").await, None);
        assert!(entries_of(&store, &nobody, &[VALUE, SET, MAP]).await.is_empty());
        assert!(entries_of(&store, &nobody, &[]).await.is_empty());
        assert!(store.owners(MAP, None, 10).await.expect("owners are read").is_empty());
        assert_eq!(store.record(LOG, &nobody, 1).await.expect("a record is read"), None);
        assert_eq!(store.last_seq(LOG, &nobody).await.expect("a place is read"), 0);
        let slice = Default::default();
        assert!(store.page(LOG, &nobody, &slice).await.expect("a page is read").complete);
        assert_eq!(store.count(LOG, &nobody, &slice).await.expect("a count"), 0);
        done(&store, |batch| {
            batch.put(MAP, &owner("romeo@montague.lit"), "key", "value");
            batch.delete(MAP, &owner("romeo@montague.lit"), "key");
            batch.delete(MAP, &nobody, "key");
            batch.clear(MAP, &nobody);
            batch.clear(LOG, &nobody);
            batch.writes.push(Write::Erase { owner: nobody.clone() });
        })
        .await;
    }
}

/// Entries come in the order in which the tables are asked for, and in each by key.
pub async fn entries_come_in_the_order_of_the_tables_and_their_keys(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        batch.put(SET, &romeo, "tybalt@capulet.lit", "");
        batch.put(MAP, &romeo, "nurse@capulet.lit", "3");
        batch.put(MAP, &romeo, "benvolio@montague.lit", "1");
        batch.put(VALUE, &romeo, "", "v");
        batch.put(MAP, &romeo, "mercutio@verona.lit", "2");
        batch.put(SET, &romeo, "paris@verona.lit", "");
    })
    .await;
    let seen = |found: Vec<verona_core::store::shape::Entry>| -> Vec<String> {
        let one = |entry: &verona_core::store::shape::Entry| {
            format!("{} {} {}", entry.table.name, entry.key, String::from_utf8_lossy(&entry.value))
        };
        found.iter().map(one).collect()
    };
    let map = [
        "test.map benvolio@montague.lit 1",
        "test.map mercutio@verona.lit 2",
        "test.map nurse@capulet.lit 3",
    ];
    let set = ["test.set paris@verona.lit ", "test.set tybalt@capulet.lit "];
    let unused = Table::map("test.unused");
    let found = seen(entries_of(&store, &romeo, &[MAP, VALUE, unused, SET]).await);
    assert_eq!(found, [&map[..], &["test.value  v"], &set].concat());
    let found = seen(entries_of(&store, &romeo, &[SET, MAP]).await);
    assert_eq!(found, [&set[..], &map].concat());
}

/// The same key in another table or of another owner is another entry.
pub async fn owners_and_tables_do_not_mix(store: Arc<dyn Store>) {
    let (romeo, juliet) = (owner("romeo@montague.lit"), owner("juliet@capulet.lit"));
    let second = Table::map("test.second-map");
    done(&store, |batch| {
        batch.put(MAP, &romeo, "key", "romeo 1");
        batch.put(MAP, &juliet, "key", "juliet 1");
        batch.put(second, &romeo, "key", "romeo 2");
    })
    .await;
    assert_eq!(value_of(&store, MAP, &romeo, "key").await, Some("romeo 1".into()));
    assert_eq!(value_of(&store, MAP, &juliet, "key").await, Some("juliet 1".into()));
    assert_eq!(value_of(&store, second, &romeo, "key").await, Some("romeo 2".into()));
    assert_eq!(value_of(&store, second, &juliet, "key").await, None);
    assert_eq!(entries_of(&store, &romeo, &[MAP]).await.len(), 1);
}

/// A delete takes the entry it names; one that names nothing changes nothing.
pub async fn deleting_removes_one_entry_and_nothing_else(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        batch.put(MAP, &romeo, "a", "1");
        batch.put(MAP, &romeo, "ab", "2");
        batch.put(SET, &romeo, "a", "");
    })
    .await;
    done(&store, |batch| batch.delete(MAP, &romeo, "a")).await;
    done(&store, |batch| batch.delete(MAP, &romeo, "a")).await;
    assert_eq!(value_of(&store, MAP, &romeo, "a").await, None);
    assert_eq!(value_of(&store, MAP, &romeo, "ab").await, Some("2".into()));
    assert_eq!(value_of(&store, SET, &romeo, "a").await, Some(Bytes::new()));
}

/// A clear takes a table of one owner; the owner's other tables and other owners' stay.
pub async fn clearing_removes_one_table_of_one_owner(store: Arc<dyn Store>) {
    let (romeo, juliet) = (owner("romeo@montague.lit"), owner("juliet@capulet.lit"));
    done(&store, |batch| {
        for whose in [&romeo, &juliet] {
            batch.put(MAP, whose, "a", "1");
            batch.put(MAP, whose, "b", "2");
            batch.put(SET, whose, "a", "");
            batch.append(LOG, whose, record(5, "nurse@capulet.lit", 1));
        }
    })
    .await;
    done(&store, |batch| batch.clear(MAP, &romeo)).await;
    assert!(entries_of(&store, &romeo, &[MAP]).await.is_empty());
    assert_eq!(entries_of(&store, &romeo, &[SET]).await.len(), 1);
    assert_eq!(entries_of(&store, &juliet, &[MAP]).await.len(), 2);
    assert!(store.record(LOG, &romeo, 5).await.expect("a record is read").is_some());
    done(&store, |batch| batch.clear(LOG, &romeo)).await;
    assert_eq!(store.record(LOG, &romeo, 5).await.expect("a record is read"), None);
    assert_eq!(store.last_seq(LOG, &romeo).await.expect("a place is read"), 5);
    assert!(store.record(LOG, &juliet, 5).await.expect("a record is read").is_some());
}

/// Erasing an owner takes all entries and records; what came later in the batch stays.
pub async fn erasing_removes_all_of_one_owner(store: Arc<dyn Store>) {
    let (romeo, juliet) = (owner("romeo@montague.lit"), owner("juliet@capulet.lit"));
    done(&store, |batch| {
        for whose in [&romeo, &juliet] {
            batch.put(VALUE, whose, "", "1");
            batch.put(SET, whose, "a", "");
            batch.append(LOG, whose, record(5, "nurse@capulet.lit", 1));
        }
    })
    .await;
    done(&store, |batch| {
        batch.put(MAP, &romeo, "before", "1");
        batch.writes.push(Write::Erase { owner: romeo.clone() });
        batch.put(MAP, &romeo, "behind", "1");
    })
    .await;
    let left = entries_of(&store, &romeo, &[VALUE, SET, MAP]).await;
    assert_eq!(left.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["behind"]);
    assert_eq!(store.count(LOG, &romeo, &Default::default()).await.expect("a count"), 0);
    assert_eq!(store.last_seq(LOG, &romeo).await.expect("a place is read"), 5);
    let late = write(&store, |batch| batch.append(LOG, &romeo, record(5, "a@b", 1))).await;
    assert!(is_refused(late), "no place is given twice, also after erasing");
    assert_eq!(entries_of(&store, &juliet, &[VALUE, SET]).await.len(), 2);
    assert_eq!(store.count(LOG, &juliet, &Default::default()).await.expect("a count"), 1);
}

/// Owners come by the bytes of their text, in pages; who has nothing left is not listed.
pub async fn owners_are_listed_by_page_in_order(store: Arc<dyn Store>) {
    let mut names: Vec<String> = (0..25).map(|n| format!("user{n}@montague.lit")).collect();
    names.extend(["älteste@montague.lit".into(), "愛@montague.lit".into(), "capulet.lit".into()]);
    done(&store, |batch| {
        for name in names.iter().rev() {
            batch.put(VALUE, &owner(name), "", "1");
        }
        batch.put(MAP, &owner("another@montague.lit"), "key", "1");
        batch.put(VALUE, &owner("gone@montague.lit"), "", "1");
    })
    .await;
    done(&store, |batch| batch.delete(VALUE, &owner("gone@montague.lit"), "")).await;
    names.sort();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().cloned();
        let page = store.owners(VALUE, after.as_deref(), 10).await.expect("owners are read");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        seen.extend(page.iter().map(|name| name.to_string()));
    }
    assert_eq!(seen, names);
    let behind = store.owners(VALUE, Some("user24@a"), 1).await.expect("owners are read");
    assert_eq!(&*behind[0], "user24@montague.lit", "`after` need not be an owner");
    assert!(store.owners(VALUE, None, 0).await.expect("owners are read").is_empty());
}

/// Logs are listed too, as long as they hold a record.
pub async fn owners_of_logs_are_listed_while_they_have_records(store: Arc<dyn Store>) {
    let (romeo, juliet) = (owner("romeo@montague.lit"), owner("juliet@capulet.lit"));
    done(&store, |batch| {
        batch.append(LOG, &romeo, record(1, "a@b", 1));
        batch.append(LOG, &juliet, record(1, "a@b", 1));
    })
    .await;
    let all = store.owners(LOG, None, 10).await.expect("owners are read");
    assert_eq!(all, [juliet.clone(), romeo.clone()]);
    one(&store, Write::Trim { log: LOG, owner: juliet.clone(), through: 1 }).await;
    let left = store.owners(LOG, None, 10).await.expect("owners are read");
    assert_eq!(left, [romeo]);
}

/// Keys and owners are compared by their bytes and may hold any character.
pub async fn odd_keys_and_owners_are_kept_apart(store: Arc<dyn Store>) {
    let long = "k".repeat(3000);
    let keys = [
        "",
        " ",
        "%",
        "'",
        "''",
        "*",
        "A",
        "_",
        "a",
        "a ",
        "a\u{0}",
        "a\u{0}b",
        "ä",
        "a\u{308}",
        "ß",
        "ss",
        "愛",
        "😀",
        "\u{10ffff}",
        &long,
    ];
    for whose in ["romeo@montague.lit", "Romeo@montague.lit", "愛@montague.lit", "o'b%_@c.lit"] {
        done(&store, |batch| {
            for key in keys {
                batch.put(MAP, &owner(whose), key, format!("{whose} {key}"));
            }
        })
        .await;
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    for whose in ["romeo@montague.lit", "Romeo@montague.lit", "愛@montague.lit", "o'b%_@c.lit"] {
        let found = entries_of(&store, &owner(whose), &[MAP]).await;
        let found_keys: Vec<_> = found.iter().map(|entry| &*entry.key).collect();
        assert_eq!(found_keys, sorted);
        for key in keys {
            let expected = Bytes::from(format!("{whose} {key}"));
            assert_eq!(value_of(&store, MAP, &owner(whose), key).await, Some(expected));
        }
    }
}

/// A value of several megabytes, of all byte values, is the same when it comes back.
pub async fn big_values_come_back_whole(store: Arc<dyn Store>) {
    let juliet = owner("juliet@capulet.lit");
    let big: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let all_bytes: Bytes = (0..=255).collect::<Vec<u8>>().into();
    done(&store, |batch| {
        batch.put(MAP, &juliet, "big", big.clone());
        batch.put(MAP, &juliet, "bytes", all_bytes.clone());
    })
    .await;
    assert_eq!(value_of(&store, MAP, &juliet, "big").await, Some(big.clone()));
    let found = entries_of(&store, &juliet, &[MAP]).await;
    assert_eq!(found[0].value, big);
    assert_eq!(found[1].value, all_bytes);
}

/// Many tables are one question; those of which nobody heard are empty.
pub async fn an_account_loads_many_tables_at_once(store: Arc<dyn Store>) {
    const NAMES: [&str; 40] = {
        let mut names = ["test.unheard"; 40];
        let known = ["t.0", "t.1", "t.2", "t.3", "t.4", "t.5", "t.6", "t.7", "t.8", "t.9"];
        let mut at = 0;
        while at < known.len() {
            names[at * 4] = known[at];
            at += 1;
        }
        names
    };
    let juliet = owner("juliet@capulet.lit");
    let known = NAMES.iter().filter(|name| name.starts_with("t."));
    let tables: Vec<Table> = known.map(|name| Table { name, shape: Shape::Map }).collect();
    done(&store, |batch| {
        for (table, n) in tables.iter().zip(0..) {
            for key in 0..n {
                batch.put(*table, &juliet, &format!("key {key}"), format!("{n} {key}"));
            }
        }
    })
    .await;
    let mut asked = tables.clone();
    asked.push(Table::map("test.unheard"));
    asked.reverse();
    let found = entries_of(&store, &juliet, &asked).await;
    assert_eq!(found.len(), 45);
    assert_eq!(found[0].table, tables[9]);
    assert_eq!(&*found[0].key, "key 0");
    assert_eq!(found[0].value, Bytes::from("9 0"));
    assert_eq!(found[44].table, tables[1]);
}
