//! One commit: a step of moving young records, and a group of batches, as one transaction.

use rusqlite::Connection;
use verona_core::store::error::StoreError;

use crate::sqlite::apply::Apply;
use crate::sqlite::queue::Waiting;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::Step;

/// What is committed together.
#[derive(Clone, Copy)]
pub struct Work<'w> {
    /// Young records to be moved, first.
    pub step: Option<&'w Step>,
    /// Batches to be applied.
    pub batches: &'w [Waiting],
}

/// The outcome of each batch that is committed; nothing when all went well.
pub type Outcomes = Vec<Result<(), StoreError>>;

/// Commits, or leaves no trace. A batch that is refused fails alone.
pub fn commit(
    connection: &Connection,
    apply: &mut Apply<'_>,
    work: Work<'_>,
) -> Result<Outcomes, Trouble> {
    let mut outcome = attempt(connection, apply, work, together);
    if outcome.as_ref().is_err_and(Trouble::is_of_the_batch) {
        undo(connection, apply)?;
        outcome = attempt(connection, apply, work, apart);
    }
    if outcome.is_err() {
        undo(connection, apply)?;
    }
    outcome
}

type Way = fn(&Connection, &mut Apply<'_>, &[Waiting]) -> Result<Outcomes, Trouble>;

fn attempt(
    connection: &Connection,
    apply: &mut Apply<'_>,
    work: Work<'_>,
    way: Way,
) -> Result<Outcomes, Trouble> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    if let Some(step) = work.step {
        apply.step(step)?;
    }
    let outcomes = way(connection, apply, work.batches)?;
    apply.finish()?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    apply.committed(work.step);
    Ok(outcomes)
}

/// The way that costs nothing: the first error ends it.
fn together(
    _: &Connection,
    apply: &mut Apply<'_>,
    batches: &[Waiting],
) -> Result<Outcomes, Trouble> {
    batches.iter().try_for_each(|waiting| one(apply, waiting))?;
    Ok(Vec::new())
}

/// The way that finds the batches that are wrong.
fn apart(
    connection: &Connection,
    apply: &mut Apply<'_>,
    batches: &[Waiting],
) -> Result<Outcomes, Trouble> {
    let mut outcomes = Vec::with_capacity(batches.len());
    for waiting in batches {
        connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
        let mark = apply.mark();
        let outcome = one(apply, waiting);
        if let Err(trouble) = outcome {
            if !trouble.is_of_the_batch() {
                return Err(trouble);
            }
            connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
            apply.undone_to(mark);
            outcomes.push(Err(trouble.into()));
        } else {
            outcomes.push(Ok(()));
        }
        connection.prepare_cached("RELEASE batch")?.execute([])?;
    }
    Ok(outcomes)
}

fn one(apply: &mut Apply<'_>, waiting: &Waiting) -> Result<(), Trouble> {
    let writes = waiting.writes.as_ref().map_err(|error| Trouble::Refused(error.clone()))?;
    writes.iter().try_for_each(|write| apply.write(write))
}

fn undo(connection: &Connection, apply: &mut Apply<'_>) -> Result<(), Trouble> {
    apply.undone();
    // Some errors have ended the transaction already.
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    Ok(())
}
