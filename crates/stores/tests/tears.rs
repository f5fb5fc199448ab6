//! A power cut at every write: of each commit of a scripted history only a part has reached the disk,
//! up to a byte or with one page torn. Whatever that part is, the file opens, and holds the state
//! before the commit or behind it, whole. What was settled is never gone.
//!
//! SQLite in this mode appends a commit to its write-ahead log, syncs it, and only then tells. So all
//! that a power cut can leave of a commit is what the log was before it, overwritten up to some
//! point; and while the log is copied into the database file, any part of the pages copied.

use std::path::{Path, PathBuf};

use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const LOG: Table = Table::log("test.log");
const MAP: Table = Table::map("test.map");
const OWNERS: [&str; 2] = ["juliet@capulet.lit", "romeo@montague.lit"];
const PEERS: [&str; 2] = ["nurse@capulet.lit", "tybalt@capulet.lit"];
const STEPS: u64 = 27;

/// What the disk writes whole or not at all.
const SECTOR: usize = 512;
const WAL_HEAD: usize = 32;
/// What stands before each page in the write-ahead log.
const FRAME_HEAD: usize = 24;

/// Bounds on how much is tried of each commit, unless the environment asks for all.
const CUTS_MAX: usize = 7;

fn is_long() -> bool {
    std::env::var_os("VERONA_TEARS").is_some_and(|value| value == "long")
}

/// The log is copied into the file every few commits, and begun anew behind that.
#[test]
fn a_power_cut_in_a_commit_or_in_a_checkpoint_leaves_one_state_whole() {
    let tuning = Tuning { checkpoint_pages: 40, ..Tuning::default() };
    let history = History::record(tuning);
    let begun_anew = history.steps.windows(2).any(|pair| pair[0].db != pair[1].db);
    assert!(begun_anew, "the log was copied in this history");
    history.cut_everywhere(tuning);
}

/// Young records are moved to their table with every few commits.
#[test]
fn a_power_cut_while_records_are_moved_leaves_one_state_whole() {
    let tuning = Tuning {
        generation_bytes: 4_000,
        step_records: 5,
        checkpoint_pages: i32::MAX,
        ..Tuning::USUAL
    };
    History::record(tuning).cut_everywhere(tuning);
}

/// The files at rest behind each step, and what they hold.
struct Step {
    db: Vec<u8>,
    wal: Vec<u8>,
    state: String,
}

struct History {
    steps: Vec<Step>,
}

impl History {
    fn record(tuning: Tuning) -> Self {
        let scratch = Scratch::new().expect("a directory");
        let path = scratch.path().join("verona.db");
        let store = Sqlite::open_tuned(&path, tuning).expect("a store");
        let steps = block_on(async {
            let mut steps = vec![at_rest(&store, &path).await];
            let mut story = Story::default();
            for number in 1..=STEPS {
                store.submit(story.step(number)).await.expect("settled");
                steps.push(at_rest(&store, &path).await);
            }
            steps
        });
        let states: std::collections::BTreeSet<&str> =
            steps.iter().map(|step| step.state.as_str()).collect();
        assert_eq!(states.len(), steps.len(), "each step changes something");
        Self { steps }
    }

    fn cut_everywhere(&self, tuning: Tuning) {
        let scratch = Scratch::new().expect("a directory");
        let disk = Disk { path: scratch.path().join("verona.db"), tuning };
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let mut images = 0;
        for (number, pair) in self.steps.windows(2).enumerate() {
            let [before, after] = pair else { unreachable!("of two") };
            images += self.cut_commit(&disk, number, (before, after), &mut dice);
            images += self.cut_checkpoint(&disk, number, (before, after), &mut dice);
        }
        println!("note: {images} power cuts in {} commits", self.steps.len() - 1);
    }

    /// The log is written up to some byte of what it became.
    fn cut_commit(
        &self,
        disk: &Disk,
        number: usize,
        (before, after): (&Step, &Step),
        dice: &mut Dice,
    ) -> usize {
        if after.wal.len() < WAL_HEAD {
            // It was emptied behind the commit, which cannot be told from the files any more.
            return 0;
        }
        let mut cuts = cuts(&before.wal, &after.wal);
        if !is_long() {
            // The last ones always: they are next to what is whole.
            while cuts.len() > CUTS_MAX {
                let at = dice.below(cuts.len() - 3);
                cuts.remove(at);
            }
        }
        let mut images = 0;
        // By the kind of tail: one of zeros may be what belongs there.
        let mut is_there = [false; 2];
        for cut in cuts {
            let whole = cut == after.wal.len();
            let mut wal = after.wal[..cut].to_vec();
            wal.extend_from_slice(before.wal.get(cut..).unwrap_or_default());
            let mut tails = vec![wal];
            if !whole && after.wal.len() > before.wal.len() {
                // The file has its length already, and the rest of it is not written.
                let mut empty = tails[0].clone();
                empty.resize(after.wal.len(), 0);
                // What is deleted is overwritten: a page may end in zeros, and is whole then.
                if empty != after.wal {
                    tails.push(empty);
                }
            }
            for (wal, is_there) in tails.into_iter().zip(&mut is_there) {
                images += 1;
                let state = disk.state_of(&before.db, &wal);
                let what = format!("step {} cut at {cut} of {}", number + 1, after.wal.len());
                assert!(
                    state == before.state || state == after.state,
                    "{what}: neither before nor behind\n{state}\nbefore\n{}\nbehind\n{}",
                    before.state,
                    after.state
                );
                assert!(state == after.state || !*is_there, "{what}: it was there before");
                *is_there = state == after.state;
            }
        }
        assert!(is_there[0], "step {}: what was settled is gone", number + 1);
        images
    }

    /// The log is whole, and some of the pages that changed in the file are written, one torn.
    fn cut_checkpoint(
        &self,
        disk: &Disk,
        number: usize,
        (before, after): (&Step, &Step),
        dice: &mut Dice,
    ) -> usize {
        if before.db == after.db || after.wal.len() < WAL_HEAD {
            return 0;
        }
        let page = page_bytes(&after.wal);
        let changed: Vec<usize> = (0..after.db.len())
            .step_by(page)
            .filter(|at| before.db.get(*at..at + page) != after.db.get(*at..at + page))
            .collect();
        let rounds = if is_long() { 4 * changed.len() } else { 4 };
        for _ in 0..rounds {
            let mut db = before.db.clone();
            let torn = changed[dice.below(changed.len())];
            for at in &changed {
                let written = if *at == torn {
                    SECTOR * dice.below(page / SECTOR)
                } else {
                    page * dice.below(2)
                };
                if written == 0 {
                    continue;
                }
                if db.len() < at + written {
                    db.resize(at + page, 0);
                }
                db[*at..at + written].copy_from_slice(&after.db[*at..at + written]);
            }
            let state = disk.state_of(&db, &after.wal);
            assert_eq!(state, after.state, "step {}, page at {torn} torn", number + 1);
        }
        rounds
    }
}

/// Where the writing of a log may have stopped: before and behind each frame and its head, in the
/// middle of it, and at each sector when all are wanted.
fn cuts(before: &[u8], after: &[u8]) -> Vec<usize> {
    let begin = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let mut cuts = vec![begin, WAL_HEAD, after.len()];
    let page = page_bytes(after);
    for frame in (WAL_HEAD..after.len()).step_by(FRAME_HEAD + page) {
        let content = frame + FRAME_HEAD;
        cuts.extend([frame, content, content + page / 2, content + page - 1]);
    }
    if is_long() {
        cuts.extend((0..after.len()).step_by(SECTOR));
    }
    cuts.retain(|cut| (begin..=after.len()).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The size of a page, as the write-ahead log tells it.
fn page_bytes(wal: &[u8]) -> usize {
    let told: [u8; 4] = wal[8..12].try_into().expect("four bytes");
    u32::from_be_bytes(told) as usize
}

/// The files when the writer has nothing left to do.
async fn at_rest(store: &Sqlite, path: &Path) -> Step {
    let mut last = (Vec::new(), Vec::new());
    let mut same = 0;
    for _ in 0..2_000 {
        // It is settled when all that the writer does of itself behind the batch before is done; a
        // step of moving records would be part of the same commit.
        store.submit(Batch::new()).await.expect("settled");
        let files = (read(path), read(&wal_of(path)));
        same = if files == last { same + 1 } else { 0 };
        // Copying goes on beside the writer, so a moment of rest is none yet.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if same == 3 {
            let state = state(store).await;
            return Step { db: files.0, wal: files.1, state };
        }
        last = files;
    }
    panic!("the writer does not come to rest");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// A place where files are put as a power cut left them.
struct Disk {
    path: PathBuf,
    tuning: Tuning,
}

impl Disk {
    fn state_of(&self, db: &[u8], wal: &[u8]) -> String {
        let _ = std::fs::remove_file(self.path.with_extension("db-shm"));
        std::fs::write(&self.path, db).expect("written");
        std::fs::write(wal_of(&self.path), wal).expect("written");
        let store = Sqlite::open_tuned(&self.path, self.tuning).expect("it opens");
        block_on(state(&store))
    }
}

/// All that a store holds, as text.
async fn state(store: &Sqlite) -> String {
    let mut text = String::new();
    for owner in OWNERS.map(Owner::from) {
        let whole = Slice { count_max: usize::MAX, ..Slice::default() };
        let page = store.page(LOG, &owner, &whole).await.expect("the log is read");
        for record in page.records {
            text += &format!("{owner} {record:?}\n");
        }
        let last = store.last_seq(LOG, &owner).await.expect("a place");
        text += &format!("{owner} ends at {last}\n");
        for entry in store.entries(&owner, &[MAP]).await.expect("entries are read") {
            text += &format!("{owner} {} = {:?}\n", entry.key, entry.value);
        }
    }
    text
}

/// What happens to an account: messages come and are delivered, some are retracted, contacts change,
/// old ones go.
#[derive(Default)]
struct Story {
    last: [Seq; 2],
}

impl Story {
    fn step(&mut self, number: u64) -> Batch {
        let mut batch = Batch::new();
        let at = (number % 2) as usize;
        let owner: Owner = OWNERS[at].into();
        // In every step, so that each leaves a trace of its own.
        batch.put(MAP, &owner, "count", number.to_string());
        match number % 9 {
            // Larger than a page, so that it lies on several.
            3 => self.append(&mut batch, at, 9_000),
            5 => {
                batch.writes.push(Write::Unflag {
                    log: LOG,
                    owner,
                    through: self.last[at],
                    bits: 1,
                });
                self.append(&mut batch, at, 300);
            }
            6 => batch.writes.push(Write::Amend {
                log: LOG,
                owner,
                seq: self.last[at],
                flags: 2,
                stanza: "<message><retracted/></message>".into(),
            }),
            7 => batch.put(MAP, &owner, &format!("contact {number}"), "<item/>".repeat(60)),
            8 => {
                let through = self.last[at].saturating_sub(12);
                batch.writes.push(Write::Trim { log: LOG, owner: owner.clone(), through });
                batch.delete(MAP, &owner, &format!("contact {}", number.saturating_sub(10)));
            }
            // One message in two logs, as between accounts here.
            _ => {
                self.append(&mut batch, at, 200);
                self.append(&mut batch, 1 - at, 200);
            }
        }
        batch
    }

    fn append(&mut self, batch: &mut Batch, at: usize, size: usize) {
        self.last[at] += 3;
        let seq = self.last[at];
        let stanza = format!("<message><body>{seq} {}</body></message>", "x".repeat(size));
        let peer = PEERS[(seq % 2) as usize].into();
        batch.append(
            LOG,
            &OWNERS[at].into(),
            Record { seq, epoch: 1, peer, flags: 3, stanza: stanza.into() },
        );
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(what)
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}
