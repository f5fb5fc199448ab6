//! Random writes, compared with a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};

use crate::dice::Dice;

use super::logs::agrees;
use super::subject::{LOG, MAP, OTHER_LOG, SET, VALUE, all_of, entries_of, last_of, owner};

const OWNERS: [&str; 4] =
    ["juliet@capulet.lit", "room@conference.verona.lit", "romeo@montague.lit", "verona.lit"];
const PEERS: [&str; 3] = ["benvolio@montague.lit", "nurse@capulet.lit", "romeo@montague.lit"];

/// Small batches, each compared.
pub async fn a_thousand_random_writes_leave_what_the_model_says(store: Arc<dyn Store>) {
    play(store, Dice(0x9e37_79b9_7f4a_7c15), 250, 7).await;
}

/// Large batches, in which writes meet the traces of those before them in the same step.
pub async fn random_writes_in_few_batches_leave_what_the_model_says(store: Arc<dyn Store>) {
    play(store, Dice(0x0005_deec_e66d_u64), 12, 200).await;
}

async fn play(store: Arc<dyn Store>, mut dice: Dice, batches: usize, writes_max: u64) {
    let mut model = Model::default();
    for round in 0..batches {
        let mut batch = Batch::new();
        for _ in 0..=dice.below(writes_max) {
            let next = model.draw(&mut dice);
            model.apply(next.clone());
            batch.writes.push(next);
        }
        store.submit(batch).await.expect("the batch is settled");
        let of = owner(OWNERS[round % OWNERS.len()]);
        model.compare(&store, &of, &mut dice).await;
    }
    for name in OWNERS {
        model.compare(&store, &owner(name), &mut dice).await;
    }
    for table in [VALUE, SET, MAP, LOG] {
        let listed = store.owners(table, None, 100).await.expect("owners are read");
        assert_eq!(listed, model.owners(table));
    }
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<(&'static str, Owner, Box<str>), Bytes>,
    records: Vec<(&'static str, Owner, Record)>,
    lasts: BTreeMap<(&'static str, Owner), Seq>,
}

impl Model {
    fn draw(&self, dice: &mut Dice) -> Write {
        let owner = owner(dice.pick(&OWNERS));
        let table = dice.pick(&[VALUE, SET, MAP, MAP]);
        let log = dice.pick(&[LOG, LOG, OTHER_LOG]);
        let last = self.lasts.get(&(log.name, owner.clone())).copied().unwrap_or(0);
        let seq = last.saturating_sub(dice.below(12));
        let key: Box<str> =
            if table == VALUE { "".into() } else { format!("k{}", dice.below(6)).into() };
        let bits = 1 + dice.below(7) as u32;
        match dice.below(40) {
            0..8 => {
                let length = if table == SET { 0 } else { dice.below(40) };
                let value = vec![dice.below(256) as u8; length as usize].into();
                Write::Put { table, owner, key, value }
            }
            8..11 => Write::Delete { table, owner, key },
            11 => Write::Clear { table: dice.pick(&[table, log]), owner },
            12 if dice.below(3) == 0 => Write::Erase { owner },
            12..26 => {
                let seq = last + 1 + dice.below(3);
                let peer = dice.pick(&PEERS).into();
                let stanza = dice.stanza();
                let flags = dice.below(8) as u32;
                let epoch = dice.below(3) as u32;
                Write::Append { log, owner, record: Record { seq, epoch, peer, flags, stanza } }
            }
            26..29 => Write::Amend { log, owner, seq, flags: bits - 1, stanza: dice.stanza() },
            29..35 => Write::Unflag { log, owner, through: seq, bits },
            35..38 => Write::Remove { log, owner, seq },
            _ => Write::Trim { log, owner, through: seq.saturating_sub(9) },
        }
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Put { table, owner, key, value } => {
                self.entries.insert((table.name, owner, key), value);
            }
            Write::Delete { table, owner, key } => {
                self.entries.remove(&(table.name, owner, key));
            }
            Write::Clear { table, owner } => {
                self.entries.retain(|(name, of, _), _| (*name, of) != (table.name, &owner));
                self.records.retain(|(name, of, _)| (*name, of) != (table.name, &owner));
            }
            Write::Erase { owner } => {
                self.entries.retain(|(_, of, _), _| *of != owner);
                self.records.retain(|(_, of, _)| *of != owner);
            }
            Write::Append { log, owner, record } => {
                self.lasts.insert((log.name, owner.clone()), record.seq);
                self.records.push((log.name, owner, record));
            }
            Write::Amend { log, owner, seq, flags, stanza } => {
                for record in self.log_mut(log, &owner).filter(|record| record.seq == seq) {
                    record.flags = flags;
                    record.stanza = stanza.clone();
                }
            }
            Write::Unflag { log, owner, through, bits } => {
                for record in self.log_mut(log, &owner).filter(|record| record.seq <= through) {
                    record.flags &= !bits;
                }
                self.drop_records(log, &owner, |record| record.seq <= through && record.flags == 0);
            }
            Write::Remove { log, owner, seq } => {
                self.drop_records(log, &owner, |record| record.seq == seq);
            }
            Write::Trim { log, owner, through } => {
                self.drop_records(log, &owner, |record| record.seq <= through);
            }
        }
    }

    fn log_mut(&mut self, log: Table, of: &Owner) -> impl Iterator<Item = &mut Record> {
        let all = self.records.iter_mut();
        all.filter(move |(name, owner, _)| *name == log.name && owner == of).map(|(_, _, r)| r)
    }

    fn drop_records(&mut self, log: Table, of: &Owner, gone: impl Fn(&Record) -> bool) {
        let meant = |name: &str, owner: &Owner| name == log.name && owner == of;
        self.records.retain(|(name, owner, record)| !(meant(name, owner) && gone(record)));
    }

    fn owners(&self, table: Table) -> Vec<Owner> {
        let mut names: Vec<Owner> = Vec::new();
        names.extend(self.entries.keys().filter(|key| key.0 == table.name).map(|k| k.1.clone()));
        names.extend(self.records.iter().filter(|r| r.0 == table.name).map(|r| r.1.clone()));
        names.sort();
        names.dedup();
        names
    }

    async fn compare(&self, store: &Arc<dyn Store>, of: &Owner, dice: &mut Dice) {
        let mut expected = Vec::new();
        for table in [VALUE, SET, MAP] {
            let own =
                self.entries.iter().filter(|((name, o, _), _)| *name == table.name && o == of);
            expected.extend(own.map(|((name, _, key), value)| (*name, key.clone(), value.clone())));
        }
        let found = entries_of(store, of, &[VALUE, SET, MAP]).await;
        let found: Vec<_> = found.into_iter().map(|e| (e.table.name, e.key, e.value)).collect();
        assert_eq!(found, expected);
        for log in [LOG, OTHER_LOG] {
            let own = self.records.iter().filter(|(name, o, _)| *name == log.name && o == of);
            let own: Vec<Record> = own.map(|(_, _, record)| record.clone()).collect();
            assert_eq!(all_of(store, log, of).await, own);
            let last = self.lasts.get(&(log.name, of.clone())).copied().unwrap_or(0);
            assert_eq!(last_of(store, log, of).await, last);
            if log == LOG {
                let peer = (dice.below(2) == 0).then(|| dice.pick(&PEERS).into());
                let back = [None, Some(dice.below(30)), Some(dice.below(9))];
                let place = |back: Option<u64>| back.map(|back| last.saturating_sub(back));
                let slice = Slice {
                    after: place(dice.pick(&back)),
                    before: place(dice.pick(&back)),
                    peer,
                    flags_any: dice.below(8) as u32,
                    flags_none: dice.pick(&[0, 1, 4]),
                    ..Slice::default()
                };
                agrees(store, of, &slice, &own).await;
            }
        }
    }
}

impl Dice {
    fn stanza(&mut self) -> Bytes {
        let length = self.below(700) as usize;
        vec![b'a' + self.below(26) as u8; length].into()
    }
}
