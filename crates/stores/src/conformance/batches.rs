//! Promises about batches and their tickets: atomic, in order, and told when they are settled.

use std::sync::Arc;

use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::Fault;

use super::subject::{
    LOG, MAP, SET, VALUE, done, entries_of, is_refused, last_of, owner, record, seqs_of, value_of,
    write,
};

/// Later writes of a batch see the earlier ones.
pub async fn a_batch_is_applied_in_its_order(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        batch.put(VALUE, &romeo, "", "1");
        batch.delete(VALUE, &romeo, "");
        batch.put(VALUE, &romeo, "", "2");
        batch.put(MAP, &romeo, "a", "1");
        batch.clear(MAP, &romeo);
        batch.put(MAP, &romeo, "b", "2");
        batch.append(LOG, &romeo, record(1, "a@b", 1));
        batch.append(LOG, &romeo, record(2, "a@b", 1));
        batch.writes.push(Write::Trim { log: LOG, owner: romeo.clone(), through: 1 });
        batch.append(LOG, &romeo, record(3, "a@b", 1));
        batch.writes.push(Write::Remove { log: LOG, owner: romeo.clone(), seq: 2 });
    })
    .await;
    assert_eq!(value_of(&store, VALUE, &romeo, "").await, Some("2".into()));
    assert_eq!(value_of(&store, MAP, &romeo, "a").await, None);
    assert_eq!(value_of(&store, MAP, &romeo, "b").await, Some("2".into()));
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [3]);
}

/// Batches that wait together are applied one after the other.
pub async fn batches_are_applied_in_the_order_of_submission(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let mut tickets = Vec::new();
    for n in 1..=500_u64 {
        let mut batch = Batch::new();
        batch.put(VALUE, &romeo, "", n.to_string());
        batch.append(LOG, &romeo, record(n, "a@b", 1));
        tickets.push(store.submit(batch));
    }
    for ticket in tickets {
        ticket.await.expect("the batch is settled");
    }
    assert_eq!(value_of(&store, VALUE, &romeo, "").await, Some("500".into()));
    assert_eq!(seqs_of(&store, LOG, &romeo).await, (1..=500).collect::<Vec<_>>());
}

/// A batch that breaks a rule fails whole and alone, whatever waits together with it.
pub async fn a_refused_batch_leaves_nothing_and_its_neighbours_stand(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let mut tickets = Vec::new();
    for n in 1..=60_u64 {
        let mut batch = Batch::new();
        batch.put(MAP, &owner(&format!("{n}@montague.lit")), "new", "1");
        batch.put(MAP, &romeo, &format!("before {n}"), "1");
        batch.append(LOG, &romeo, record(n * 10, &format!("{n}@capulet.lit"), 1));
        if n % 3 == 0 {
            batch.append(LOG, &romeo, record(n * 10, "a@b", 1));
        }
        batch.put(MAP, &romeo, &format!("behind {n}"), "1");
        tickets.push((n, store.submit(batch)));
    }
    for (n, ticket) in tickets {
        let outcome = ticket.await;
        assert_eq!(n % 3 == 0, is_refused(outcome.clone()), "batch {n}: {outcome:?}");
    }
    let good: Vec<u64> = (1..=60).filter(|n| n % 3 != 0).collect();
    let places: Vec<u64> = good.iter().map(|n| n * 10).collect();
    assert_eq!(seqs_of(&store, LOG, &romeo).await, places);
    assert_eq!(entries_of(&store, &romeo, &[MAP]).await.len(), good.len() * 2);
    for n in 1..=60_u64 {
        let of = owner(&format!("{n}@montague.lit"));
        assert_eq!(value_of(&store, MAP, &of, "new").await.is_some(), n % 3 != 0, "batch {n}");
    }
    // What the failed batches had taken is free again.
    assert_eq!(last_of(&store, LOG, &romeo).await, 590);
    done(&store, |batch| batch.append(LOG, &romeo, record(600, "60@capulet.lit", 1))).await;
    done(&store, |batch| batch.put(MAP, &owner("60@montague.lit"), "new", "2")).await;
    assert_eq!(value_of(&store, MAP, &owner("60@montague.lit"), "new").await, Some("2".into()));
}

/// Commit numbers rise, and when one ticket is settled so are all before.
pub async fn tickets_are_numbered_and_settle_in_order(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let tickets: Vec<_> = (0..200)
        .map(|n| {
            let mut batch = Batch::new();
            batch.put(MAP, &romeo, &n.to_string(), "1");
            store.submit(batch)
        })
        .collect();
    assert!(tickets.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    for at in [10, 100, 199] {
        tickets[at].clone().await.expect("the batch is settled");
        assert!(tickets[..at].iter().all(|ticket| ticket.outcome().is_some()));
    }
    let later = store.submit(Batch::new());
    assert!(later.number() > tickets[199].number());
    later.await.expect("the batch is settled");
}

/// An empty batch is a place in the order: settled when all before it are.
pub async fn an_empty_batch_waits_for_all_before(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let mut batch = Batch::new();
    batch.put(VALUE, &romeo, "", vec![7; 500_000]);
    let first = store.submit(batch);
    store.submit(Batch::new()).await.expect("an empty batch is settled");
    assert!(first.outcome().is_some_and(|outcome| outcome.is_ok()));
}

/// A read that starts after a batch was settled sees it.
pub async fn what_is_settled_is_read(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    for n in 1..=100_u64 {
        done(&store, |batch| {
            batch.put(VALUE, &romeo, "", n.to_string());
            batch.append(LOG, &romeo, record(n, "a@b", 1));
        })
        .await;
        assert_eq!(value_of(&store, VALUE, &romeo, "").await, Some(n.to_string().into()));
        assert_eq!(last_of(&store, LOG, &romeo).await, n);
        assert!(store.record(LOG, &romeo, n).await.expect("a record is read").is_some());
        let fresh = owner(&format!("{n}@montague.lit"));
        assert_eq!(value_of(&store, VALUE, &fresh, "").await, None);
        done(&store, |batch| batch.put(VALUE, &fresh, "", "1")).await;
        assert_eq!(value_of(&store, VALUE, &fresh, "").await, Some("1".into()));
    }
}

/// Reads beside the writer see the state before a batch or behind it.
pub async fn no_reader_sees_half_a_batch(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    for n in 0..200_u32 {
        let mut batch = Batch::new();
        batch.put(MAP, &romeo, "left", n.to_string());
        batch.put(SET, &romeo, &format!("gone {n}"), "");
        batch.clear(SET, &romeo);
        batch.put(SET, &romeo, &n.to_string(), "");
        batch.put(MAP, &romeo, "right", n.to_string());
        let ticket = store.submit(batch);
        for _ in 0..3 {
            let seen = entries_of(&store, &romeo, &[MAP, SET]).await;
            if let [left, right, set] = &seen[..] {
                assert_eq!(left.value, right.value);
                assert_eq!(left.value, set.key.as_bytes());
            } else {
                assert!(seen.is_empty(), "half a batch: {seen:?}");
            }
        }
        ticket.await.expect("the batch is settled");
    }
}

/// Each thread's batches keep their order, also while others submit.
pub async fn submitters_on_many_threads_keep_their_own_order(store: Arc<dyn Store>) {
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                let of = owner(&format!("{thread}@montague.lit"));
                let submit = |seq| {
                    let mut batch = Batch::new();
                    batch.append(LOG, &of, record(seq, "a@b", 1));
                    store.submit(batch)
                };
                (1..=250).map(submit).collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        for ticket in thread.join().expect("the thread ends") {
            ticket.await.expect("the batch is settled");
        }
    }
    for thread in 0..4 {
        let of = owner(&format!("{thread}@montague.lit"));
        assert_eq!(seqs_of(&store, LOG, &of).await, (1..=250).collect::<Vec<_>>());
    }
}

/// Entries go into values, sets and maps, records into logs.
pub async fn a_shape_takes_only_its_own_writes(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let wrong = [
        Write::Put { table: LOG, owner: romeo.clone(), key: "a".into(), value: "1".into() },
        Write::Delete { table: LOG, owner: romeo.clone(), key: "a".into() },
        Write::Put { table: VALUE, owner: romeo.clone(), key: "a".into(), value: "1".into() },
        Write::Put { table: SET, owner: romeo.clone(), key: "a".into(), value: "1".into() },
        Write::Append { log: MAP, owner: romeo.clone(), record: record(1, "a@b", 1) },
        Write::Remove { log: MAP, owner: romeo.clone(), seq: 1 },
        Write::Trim { log: MAP, owner: romeo.clone(), through: 1 },
        Write::Unflag { log: MAP, owner: romeo.clone(), through: 1, bits: 1 },
        Write::Amend { log: MAP, owner: romeo.clone(), seq: 1, flags: 1, stanza: "".into() },
    ];
    for only in wrong {
        let outcome = write(&store, |batch| batch.writes.push(only.clone())).await;
        assert!(is_refused(outcome), "{only:?}");
    }
    assert!(entries_of(&store, &romeo, &[VALUE, SET, MAP]).await.is_empty());
    assert!(seqs_of(&store, LOG, &romeo).await.is_empty());
}

/// When nothing waits nobody is made to wait.
pub async fn there_is_room_when_nothing_waits(store: Arc<dyn Store>) {
    store.room().await;
    for n in 0..50_u32 {
        store.room().await;
        let mut batch = Batch::new();
        batch.put(VALUE, &owner("romeo@montague.lit"), "", vec![n as u8; 1_000_000]);
        drop(store.submit(batch));
    }
    store.submit(Batch::new()).await.expect("the batch is settled");
    store.room().await;
}

/// After closing, writes and reads fail and say why.
pub async fn a_closed_store_refuses(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| batch.put(VALUE, &romeo, "", "1")).await;
    store.close().await;
    let outcome = write(&store, |batch| batch.put(VALUE, &romeo, "", "2")).await;
    assert!(outcome.is_err_and(|error| error.fault == Fault::Closed));
    let answer = store.entry(VALUE, &romeo, "").await;
    assert!(answer.is_err_and(|error| error.fault == Fault::Closed));
    store.room().await;
    store.close().await;
}

/// What was handed in before the close is written.
pub async fn closing_settles_what_was_submitted(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let submit = |n: u64| {
        let mut batch = Batch::new();
        batch.append(LOG, &romeo, record(n, "a@b", 1));
        store.submit(batch)
    };
    let tickets: Vec<_> = (1..=300).map(submit).collect();
    store.close().await;
    for ticket in tickets {
        let outcome = ticket.outcome().expect("closing waits for the outcome");
        assert!(outcome.is_ok());
    }
}
