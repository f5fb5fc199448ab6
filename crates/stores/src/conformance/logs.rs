//! Promises about logs: what is appended comes back by page, by peer and by flag, until removed.

use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::Write;
use verona_core::store::shape::{Owner, Record, Seq, Slice};

use super::subject::{
    LOG, OTHER_LOG, all_of, done, is_refused, last_of, one, owner, page_of, record, seqs_of, write,
};

const A: u32 = 1;
const B: u32 = 2;
const HIGH: u32 = 1 << 31;

/// Every field survives, at the ends of its range too.
pub async fn a_record_comes_back_whole(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let odd = [
        Record { seq: 1, epoch: 0, peer: "".into(), flags: 0, stanza: Bytes::new() },
        Record {
            seq: 1_795_000_000_000_000,
            epoch: 1,
            peer: "愛@例え.lit".into(),
            flags: A | HIGH,
            stanza: "<message><body>O Romeo, 😀</body></message>".into(),
        },
        Record {
            seq: i64::MAX as Seq,
            epoch: u32::MAX,
            peer: "juliet@capulet.lit".into(),
            flags: u32::MAX,
            stanza: (0..=255).collect::<Vec<u8>>().into(),
        },
    ];
    done(&store, |batch| odd.iter().for_each(|r| batch.append(LOG, &romeo, r.clone()))).await;
    assert_eq!(all_of(&store, LOG, &romeo).await, odd);
    for kept in odd {
        let found = store.record(LOG, &romeo, kept.seq).await.expect("a record is read");
        assert_eq!(found, Some(kept));
    }
    assert_eq!(store.record(LOG, &romeo, 2).await.expect("a record is read"), None);
    assert_eq!(store.record(LOG, &romeo, u64::MAX).await.expect("a record is read"), None);
}

/// A place is never given twice nor behind a higher one.
pub async fn an_append_that_does_not_rise_is_refused(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| batch.append(LOG, &romeo, record(10, "a@b", A))).await;
    for seq in [0, 1, 9, 10, i64::MAX as Seq + 1, Seq::MAX] {
        let late = write(&store, |batch| batch.append(LOG, &romeo, record(seq, "a@b", A))).await;
        assert!(is_refused(late), "{seq} behind 10");
    }
    let twice = write(&store, |batch| {
        batch.append(LOG, &romeo, record(11, "a@b", A));
        batch.append(LOG, &romeo, record(11, "a@b", A));
    });
    assert!(is_refused(twice.await));
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [10]);
    assert_eq!(last_of(&store, LOG, &romeo).await, 10);
    one(&store, Write::Remove { log: LOG, owner: romeo.clone(), seq: 10 }).await;
    let again = write(&store, |batch| batch.append(LOG, &romeo, record(10, "a@b", A))).await;
    assert!(is_refused(again), "the place of a removed record");
    done(&store, |batch| batch.append(LOG, &romeo, record(11, "a@b", A))).await;
    done(&store, |batch| batch.append(OTHER_LOG, &romeo, record(1, "a@b", A))).await;
}

/// Each peer with a record of a kind comes once, with the place of the last such record.
pub async fn each_peer_is_known_with_its_last_record_of_a_kind(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let peers = async |of: &Owner, flags_any| {
        let mut found = store.peers(LOG, of, flags_any).await.expect("the peers are read");
        found.sort();
        found.into_iter().map(|(peer, seq)| (peer.to_string(), seq)).collect::<Vec<_>>()
    };
    let of = |known: &[(&str, Seq)]| -> Vec<(String, Seq)> {
        known.iter().map(|(peer, seq)| ((*peer).to_owned(), *seq)).collect()
    };
    assert_eq!(peers(&romeo, 0).await, of(&[]));
    done(&store, |batch| {
        for (seq, peer, flags) in
            [(1, "a@b", A), (2, "c@d", A | HIGH), (3, "a@b", B), (4, "e@f", B), (5, "a@b", B)]
        {
            batch.append(LOG, &romeo, record(seq, peer, flags));
        }
        batch.append(OTHER_LOG, &romeo, record(9, "g@h", A));
        batch.append(LOG, &owner("juliet@capulet.lit"), record(9, "g@h", A));
    })
    .await;
    assert_eq!(peers(&romeo, 0).await, of(&[("a@b", 5), ("c@d", 2), ("e@f", 4)]));
    assert_eq!(peers(&romeo, A).await, of(&[("a@b", 1), ("c@d", 2)]));
    assert_eq!(peers(&romeo, B | HIGH).await, of(&[("a@b", 5), ("c@d", 2), ("e@f", 4)]));
    // With enough behind them that a store may have put the first elsewhere.
    for hundred in 1..=10 {
        let seqs = hundred * 100..hundred * 100 + 100;
        done(&store, |batch| {
            seqs.for_each(|seq| batch.append(LOG, &romeo, record(seq, "i@j", B)));
        })
        .await;
    }
    done(&store, |batch| batch.append(LOG, &romeo, record(2_000, "e@f", A))).await;
    let all = of(&[("a@b", 5), ("c@d", 2), ("e@f", 2_000), ("i@j", 1_099)]);
    assert_eq!(peers(&romeo, 0).await, all);
    assert_eq!(peers(&romeo, A).await, of(&[("a@b", 1), ("c@d", 2), ("e@f", 2_000)]));
    one(&store, Write::Unflag { log: LOG, owner: romeo.clone(), through: 4, bits: A }).await;
    assert_eq!(peers(&romeo, A).await, of(&[("e@f", 2_000)]));
    one(&store, Write::Trim { log: LOG, owner: romeo.clone(), through: 1_999 }).await;
    assert_eq!(peers(&romeo, 0).await, of(&[("e@f", 2_000)]));
}

/// Following the last place of each page shows each record once, in order.
pub async fn pages_forward_join_to_the_whole_log(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    fill(&store, &romeo, 23).await;
    let mut seen: Vec<Seq> = Vec::new();
    loop {
        let slice = Slice { after: seen.last().copied(), count_max: 5, ..Slice::default() };
        let page = page_of(&store, LOG, &romeo, &slice).await;
        assert_eq!(page.complete, seen.len() + 5 >= 23);
        assert_eq!(page.records.len(), 5.min(23 - seen.len()));
        seen.extend(page.records.iter().map(|record| record.seq));
        if page.complete {
            break;
        }
    }
    assert_eq!(seen, seqs_of(&store, LOG, &romeo).await);
}

/// Pages from the end are ascending in themselves and reach the beginning.
pub async fn pages_backward_join_to_the_whole_log(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    fill(&store, &romeo, 20).await;
    let mut seen: Vec<Seq> = Vec::new();
    loop {
        let before = seen.first().copied();
        let slice = Slice { before, from_end: true, count_max: 5, ..Slice::default() };
        let page = page_of(&store, LOG, &romeo, &slice).await;
        assert_eq!(page.complete, seen.len() == 15, "a full last page knows that it is the last");
        let mut joined: Vec<Seq> = page.records.iter().map(|record| record.seq).collect();
        joined.append(&mut seen);
        seen = joined;
        if page.complete {
            break;
        }
    }
    assert_eq!(seen, seqs_of(&store, LOG, &romeo).await);
}

/// Every combination of the filters, in both directions, gives what a look at each record gives.
pub async fn every_filter_selects_in_pages_and_counts(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let log = fill(&store, &romeo, 40).await;
    let peers = [None, Some("juliet@capulet.lit"), Some("nurse@capulet.lit"), Some("a@nowhere")];
    for after in [None, Some(0), Some(150), Some(155), Some(400), Some(Seq::MAX)] {
        for before in [None, Some(0), Some(160), Some(300), Some(Seq::MAX)] {
            for peer in peers {
                for (flags_any, flags_none) in
                    [(0, 0), (A, 0), (B | HIGH, 0), (0, B), (A, B), (A, A), (0, u32::MAX)]
                {
                    let slice = Slice {
                        after,
                        before,
                        peer: peer.map(Into::into),
                        flags_any,
                        flags_none,
                        ..Slice::default()
                    };
                    agrees(&store, &romeo, &slice, &log).await;
                }
            }
        }
    }
}

/// A page of no records still says whether there is anything.
pub async fn a_page_of_nothing_tells_whether_there_is_more(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    fill(&store, &romeo, 3).await;
    for from_end in [false, true] {
        let nothing = Slice { count_max: 0, from_end, ..Slice::default() };
        let page = page_of(&store, LOG, &romeo, &nothing).await;
        assert!(page.records.is_empty());
        assert!(!page.complete);
        let none = Slice { flags_any: 1 << 20, ..nothing };
        assert!(page_of(&store, LOG, &romeo, &none).await.complete);
    }
}

/// Peer and epoch stay; what is not there is not made.
pub async fn amending_replaces_flags_and_stanza_only(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        batch.append(LOG, &romeo, record(1, "juliet@capulet.lit", A));
        batch.append(LOG, &romeo, record(2, "juliet@capulet.lit", A));
    })
    .await;
    let amend = |seq, flags, stanza: &'static str| Write::Amend {
        log: LOG,
        owner: romeo.clone(),
        seq,
        flags,
        stanza: stanza.into(),
    };
    one(&store, amend(2, B, "<message><retracted/></message>")).await;
    one(&store, amend(3, B, "<message/>")).await;
    let log = all_of(&store, LOG, &romeo).await;
    assert_eq!(log[0], record(1, "juliet@capulet.lit", A));
    let mut expected = record(2, "juliet@capulet.lit", B);
    expected.stanza = "<message><retracted/></message>".into();
    assert_eq!(log[1..], [expected.clone()]);
    let peer = Some("juliet@capulet.lit".into());
    let of_juliet = Slice { peer, flags_any: B, count_max: 9, ..Slice::default() };
    assert_eq!(page_of(&store, LOG, &romeo, &of_juliet).await.records, [expected]);
    // A record may also be left without flags; it stays until something takes it.
    one(&store, amend(2, 0, "")).await;
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [1, 2]);
}

/// The place itself is meant too, and no record behind it; other bits stay.
pub async fn unflagging_stops_at_its_place(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        for seq in 1..=6 {
            batch.append(LOG, &romeo, record(seq, "juliet@capulet.lit", A | B | HIGH));
        }
    })
    .await;
    let unflag = |through, bits| Write::Unflag { log: LOG, owner: romeo.clone(), through, bits };
    one(&store, unflag(2, A)).await;
    one(&store, unflag(4, B)).await;
    one(&store, unflag(1, HIGH)).await;
    assert_eq!(
        flags_of(&store, &romeo).await,
        [HIGH, A | HIGH, A | HIGH, A | B | HIGH, A | B | HIGH]
    );
    one(&store, unflag(3, A | B)).await;
    one(&store, unflag(3, A)).await;
    assert_eq!(flags_of(&store, &romeo).await, [HIGH, HIGH, A | HIGH, A | B | HIGH, A | B | HIGH]);
    let with_a = Slice { flags_any: A, count_max: 9, ..Slice::default() };
    let seqs = |records: Vec<Record>| records.iter().map(|r| r.seq).collect::<Vec<_>>();
    assert_eq!(seqs(page_of(&store, LOG, &romeo, &with_a).await.records), [4, 5, 6]);
    let without = Slice { flags_none: A | B, count_max: 9, ..Slice::default() };
    assert_eq!(seqs(page_of(&store, LOG, &romeo, &without).await.records), [2, 3]);
    assert_eq!(store.count(LOG, &romeo, &without).await.expect("a count"), 2);
    let found = store.record(LOG, &romeo, 4).await.expect("a record is read");
    assert_eq!(found.map(|record| record.flags), Some(A | HIGH));
}

/// A record goes with its last flag, one that never had a flag too; others stay.
pub async fn unflagging_removes_what_is_left_without_flags(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        for (seq, flags) in [(1, A), (2, A | B), (3, B), (4, 0), (5, A), (6, 0)] {
            batch.append(LOG, &romeo, record(seq, "juliet@capulet.lit", flags));
        }
    })
    .await;
    let unflag = |through, bits| Write::Unflag { log: LOG, owner: romeo.clone(), through, bits };
    one(&store, unflag(4, A)).await;
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [2, 3, 5, 6]);
    let peer = Some("juliet@capulet.lit".into());
    let of_juliet = Slice { peer, ..Slice::default() };
    assert_eq!(store.count(LOG, &romeo, &of_juliet).await.expect("a count"), 4);
    one(&store, unflag(2, B)).await;
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [3, 5, 6]);
    one(&store, unflag(Seq::MAX, A | B)).await;
    assert!(seqs_of(&store, LOG, &romeo).await.is_empty());
    assert_eq!(last_of(&store, LOG, &romeo).await, 6);
}

/// What was unflagged can be flagged again, and be unflagged again.
pub async fn flags_given_after_unflagging_stand(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    done(&store, |batch| {
        for seq in 1..=4 {
            batch.append(LOG, &romeo, record(seq, "juliet@capulet.lit", A | B));
        }
    })
    .await;
    let unflag = |through, bits| Write::Unflag { log: LOG, owner: romeo.clone(), through, bits };
    let amend = |seq, flags| Write::Amend {
        log: LOG,
        owner: romeo.clone(),
        seq,
        flags,
        stanza: "<message/>".into(),
    };
    one(&store, unflag(3, A)).await;
    one(&store, amend(2, A)).await;
    assert_eq!(flags_of(&store, &romeo).await, [B, A, B, A | B]);
    let with_a = Slice { flags_any: A, ..Slice::default() };
    assert_eq!(store.count(LOG, &romeo, &with_a).await.expect("a count"), 2);
    one(&store, unflag(1, A)).await;
    assert_eq!(flags_of(&store, &romeo).await, [B, A, B, A | B]);
    one(&store, unflag(3, B)).await;
    assert_eq!(flags_of(&store, &romeo).await, [A, A | B]);
    one(&store, amend(2, 0)).await;
    one(&store, unflag(1, HIGH)).await;
    assert_eq!(flags_of(&store, &romeo).await, [0, A | B]);
    one(&store, unflag(4, A)).await;
    assert_eq!(flags_of(&store, &romeo).await, [B]);
}

/// Unflagging far ahead means what is there, not what will come.
pub async fn unflagging_spares_what_is_appended_later(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let ahead = Write::Unflag { log: LOG, owner: romeo.clone(), through: Seq::MAX, bits: A };
    one(&store, ahead.clone()).await;
    done(&store, |batch| batch.append(LOG, &romeo, record(5, "juliet@capulet.lit", A | B))).await;
    assert_eq!(flags_of(&store, &romeo).await, [A | B]);
    one(&store, ahead).await;
    done(&store, |batch| batch.append(LOG, &romeo, record(6, "juliet@capulet.lit", A | B))).await;
    assert_eq!(flags_of(&store, &romeo).await, [B, A | B]);
}

/// One record goes, from the view by peer too.
pub async fn removing_takes_one_record(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let mut log = fill(&store, &romeo, 6).await;
    one(&store, Write::Remove { log: LOG, owner: romeo.clone(), seq: log[2].seq }).await;
    one(&store, Write::Remove { log: LOG, owner: romeo.clone(), seq: log[2].seq }).await;
    one(&store, Write::Remove { log: LOG, owner: romeo.clone(), seq: Seq::MAX }).await;
    let peer = Some(log[2].peer.clone());
    log.remove(2);
    assert_eq!(all_of(&store, LOG, &romeo).await, log);
    agrees(&store, &romeo, &Slice { peer, ..Slice::default() }, &log).await;
}

/// The place itself goes too; trimming beyond the end leaves an empty log.
pub async fn trimming_takes_all_up_to_its_place(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let log = fill(&store, &romeo, 10).await;
    let trim = |through| Write::Trim { log: LOG, owner: romeo.clone(), through };
    one(&store, trim(log[0].seq - 1)).await;
    assert_eq!(all_of(&store, LOG, &romeo).await, log);
    one(&store, trim(log[3].seq)).await;
    assert_eq!(all_of(&store, LOG, &romeo).await, log[4..]);
    let peer = Some(log[2].peer.clone());
    agrees(&store, &romeo, &Slice { peer, ..Slice::default() }, &log[4..]).await;
    one(&store, trim(Seq::MAX)).await;
    assert!(all_of(&store, LOG, &romeo).await.is_empty());
}

/// However a record goes, its place stays taken.
pub async fn last_seq_outlives_its_record(store: Arc<dyn Store>) {
    let of = |n: usize| owner(&format!("{n}@montague.lit"));
    let ends: [fn(_) -> Write; 5] = [
        |owner| Write::Trim { log: LOG, owner, through: 9 },
        |owner| Write::Remove { log: LOG, owner, seq: 9 },
        |owner| Write::Clear { table: LOG, owner },
        |owner| Write::Erase { owner },
        |owner| Write::Unflag { log: LOG, owner, through: 9, bits: A },
    ];
    for (n, end) in ends.iter().enumerate() {
        done(&store, |batch| batch.append(LOG, &of(n), record(9, "a@b", A))).await;
        one(&store, end(of(n))).await;
        assert!(all_of(&store, LOG, &of(n)).await.is_empty());
        assert_eq!(last_of(&store, LOG, &of(n)).await, 9);
        done(&store, |batch| batch.append(LOG, &of(n), record(11, "a@b", A))).await;
        assert_eq!(last_of(&store, LOG, &of(n)).await, 11);
        // Appended and gone within one batch.
        done(&store, |batch| {
            batch.append(LOG, &of(n), record(12, "a@b", A));
            batch.writes.push(Write::Trim { log: LOG, owner: of(n), through: 12 });
        })
        .await;
        assert_eq!(last_of(&store, LOG, &of(n)).await, 12);
    }
}

/// Two logs of an owner and the same log of two owners are four logs.
pub async fn logs_of_an_owner_do_not_mix(store: Arc<dyn Store>) {
    let (romeo, juliet) = (owner("romeo@montague.lit"), owner("juliet@capulet.lit"));
    done(&store, |batch| {
        batch.append(LOG, &romeo, record(1, "a@b", A));
        batch.append(OTHER_LOG, &romeo, record(2, "a@b", A));
        batch.append(LOG, &juliet, record(3, "a@b", A));
        batch.append(OTHER_LOG, &juliet, record(4, "a@b", A));
    })
    .await;
    one(&store, Write::Unflag { log: OTHER_LOG, owner: romeo.clone(), through: 9, bits: A }).await;
    assert_eq!(seqs_of(&store, LOG, &romeo).await, [1]);
    assert!(seqs_of(&store, OTHER_LOG, &romeo).await.is_empty());
    assert_eq!(seqs_of(&store, LOG, &juliet).await, [3]);
    assert_eq!(seqs_of(&store, OTHER_LOG, &juliet).await, [4]);
    assert_eq!(last_of(&store, LOG, &juliet).await, 3);
}

/// A store may keep young and old records apart; nobody can tell from reading.
pub async fn a_log_is_read_alike_when_it_has_grown_long(store: Arc<dyn Store>) {
    let owners: Vec<Owner> = (0..7).map(|n| owner(&format!("{n}@montague.lit"))).collect();
    let mut logs: Vec<Vec<Record>> = vec![Vec::new(); owners.len()];
    let mut seq = 0;
    for _ in 0..40 {
        done(&store, |batch| {
            for n in 0..500_usize {
                seq += 3;
                let (of, peer) = (n * n % owners.len(), ["juliet@capulet.lit", "c@d"][n % 2]);
                let kept = record(seq, peer, [A | B, A, B][n % 3]);
                batch.append(LOG, &owners[of], kept.clone());
                logs[of].push(kept);
            }
        })
        .await;
        let through = seq.saturating_sub(9000);
        one(&store, Write::Unflag { log: LOG, owner: owners[1].clone(), through, bits: A }).await;
        logs[1].retain_mut(|kept| {
            kept.flags &= if kept.seq <= through { !A } else { !0 };
            kept.flags != 0
        });
        one(&store, Write::Trim { log: LOG, owner: owners[2].clone(), through }).await;
        logs[2].retain(|kept| kept.seq > through);
    }
    for (of, log) in owners.iter().zip(&logs) {
        assert_eq!(all_of(&store, LOG, of).await, *log);
        assert_eq!(last_of(&store, LOG, of).await, log.last().map_or(0, |kept| kept.seq));
        for peer in [None, Some("juliet@capulet.lit".into())] {
            let (after, before) = (Some(seq / 3), Some(seq - 7));
            let slice = Slice { after, before, peer, flags_any: A, ..Slice::default() };
            agrees(&store, of, &slice, log).await;
        }
        let middle = &log.get(log.len() / 2);
        if let Some(kept) = middle {
            let found = store.record(LOG, of, kept.seq).await.expect("a record is read");
            assert_eq!(found.as_ref(), Some(*kept));
        }
    }
}

/// A stanza larger than any page of a database is the same when it comes back.
pub async fn big_stanzas_come_back_whole(store: Arc<dyn Store>) {
    let romeo = owner("romeo@montague.lit");
    let sizes = [900, 1100, 4000, 4100, 8200, 65_600, 300_000, 1_000_000];
    let mut log = Vec::new();
    for (size, seq) in sizes.into_iter().zip(1..) {
        let mut kept = record(seq, "juliet@capulet.lit", A);
        kept.stanza = (0..size).map(|n: u32| (n * 7 % 253) as u8).collect::<Vec<_>>().into();
        log.push(kept);
    }
    done(&store, |batch| log.iter().for_each(|r| batch.append(LOG, &romeo, r.clone()))).await;
    assert_eq!(all_of(&store, LOG, &romeo).await, log);
}

/// Appends records of two peers with all sorts of flags, at 100, 110, 120 and so on.
async fn fill(store: &Arc<dyn Store>, of: &Owner, count: u64) -> Vec<Record> {
    let flags = [0, A, B, A | B, HIGH, A | HIGH, u32::MAX];
    let log: Vec<Record> = (0..count)
        .map(|n| {
            let peer = if n % 3 == 0 { "nurse@capulet.lit" } else { "juliet@capulet.lit" };
            record(100 + n * 10, peer, flags[n as usize % flags.len()])
        })
        .collect();
    done(store, |batch| log.iter().for_each(|kept| batch.append(LOG, of, kept.clone()))).await;
    log
}

/// Whether count and pages of several sizes, in both directions, are what `log` says.
pub(super) async fn agrees(store: &Arc<dyn Store>, of: &Owner, slice: &Slice, log: &[Record]) {
    let meant = |kept: &&Record| {
        slice.after.is_none_or(|after| kept.seq > after)
            && slice.before.is_none_or(|before| kept.seq < before)
            && slice.peer.as_ref().is_none_or(|peer| kept.peer == *peer)
            && (slice.flags_any == 0 || kept.flags & slice.flags_any != 0)
            && kept.flags & slice.flags_none == 0
    };
    let expected: Vec<Record> = log.iter().filter(meant).cloned().collect();
    let count = store.count(LOG, of, slice).await.expect("a count");
    assert_eq!(count, expected.len() as u64, "{slice:?}");
    for count_max in [1, 4, expected.len(), usize::MAX] {
        let ahead = Slice { count_max, from_end: false, ..slice.clone() };
        let page = page_of(store, LOG, of, &ahead).await;
        let cut = count_max.min(expected.len());
        assert_eq!(page.records, expected[..cut], "{ahead:?}");
        assert_eq!(page.complete, cut == expected.len(), "{ahead:?}");
        let back = Slice { from_end: true, ..ahead };
        let page = page_of(store, LOG, of, &back).await;
        assert_eq!(page.records, expected[expected.len() - cut..], "{back:?}");
        assert_eq!(page.complete, cut == expected.len(), "{back:?}");
    }
}

async fn flags_of(store: &Arc<dyn Store>, of: &Owner) -> Vec<u32> {
    all_of(store, LOG, of).await.iter().map(|record| record.flags).collect()
}
