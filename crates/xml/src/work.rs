//! The state of what is read as a whole: an element, or a tag of the root.

use std::cell::Cell;

use crate::chars::{prove, prove_part};
use crate::declaration;
use crate::error::ScanError;
use crate::index::Index;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::scope::Context;
use crate::sink::Fault;

/// What is read as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Not enough was seen to tell.
    #[default]
    Unknown,
    Declaration,
    Root,
    Element,
    RootEnd,
}

/// Where in the document a unit stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub limits: &'a Limits,
    pub context: &'a Context,
    /// The very start, where an XML declaration may stand.
    pub at_start: bool,
    /// The document has a root.
    pub rooted: bool,
    /// The root has begun.
    pub in_root: bool,
}

/// The state of the unit that is under way, and the index of the one that was read last.
#[derive(Debug, Default)]
pub(crate) struct Work {
    reading: Reading,
    /// The bytes so far of a unit that was cut.
    held: Vec<u8>,
    /// How many of them are proven to be characters.
    proven: usize,
    /// The whole of a unit that had been cut.
    text: String,
}

#[derive(Debug, Default)]
struct Reading {
    unit: Unit,
    machine: Machine,
    index: Index,
}

thread_local! {
    /// One that is not in use, so that an element costs no allocation.
    static SPARE: Cell<Option<Box<Work>>> = const { Cell::new(None) };
}

impl Work {
    /// The spare one of this thread, or a new one.
    pub fn take() -> Box<Self> {
        SPARE.take().unwrap_or_default()
    }

    /// Keeps it as the spare one, unless it has grown: the next to take it may need it for a few
    /// bytes and a long time.
    pub fn give_back(mut self: Box<Self>) {
        const SPARE_BYTES_MAX: usize = 8 * 1024;
        self.clear();
        if self.heap_bytes() <= SPARE_BYTES_MAX {
            SPARE.set(Some(self));
        }
    }

    pub fn unit(&self) -> Unit {
        self.reading.unit
    }

    pub fn index(&self) -> &Index {
        &self.reading.index
    }

    /// The text of the unit that was read last, if it had been cut.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many bytes are held of a unit that is under way; never zero for one.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Begins a unit. It is borrowed from the input if it lies there whole; if not, what there is of
    /// it is held, up to the limit.
    pub fn begin<'i>(
        &mut self,
        input: &mut &'i [u8],
        site: Site<'_>,
    ) -> Result<Option<&'i str>, ScanError> {
        self.clear();
        let whole = *input;
        let seen = whole.get(..site.limits.bytes()).unwrap_or(whole);
        match self.reading.read(seen, site) {
            Ok(Some(end)) => {
                let (unit, rest) = whole.split_at_checked(end).unwrap_or((whole, &[]));
                let text = prove(unit)?;
                *input = rest;
                Ok(Some(text))
            }
            Ok(None) => {
                self.proven = prove_part(seen)?;
                self.held.extend_from_slice(seen);
                *input = whole.get(seen.len()..).unwrap_or_default();
                Ok(None)
            }
            Err(fault) => Err(earliest(seen, fault)),
        }
    }

    /// Reads on in a unit that was cut. Whether its end was found.
    pub fn go_on(&mut self, input: &mut &[u8], site: Site<'_>) -> Result<bool, ScanError> {
        // More and more at a time, so that a short rest is not paid with a long copy.
        let mut step = 256usize;
        while !input.is_empty() {
            let before = self.held.len();
            let room = site.limits.bytes().saturating_sub(before);
            if room == 0 {
                return Err(ScanError::TooLarge);
            }
            let more = input.get(..step.min(room)).unwrap_or(input);
            self.held.extend_from_slice(more);
            let unproven = self.held.get(self.proven..).unwrap_or_default();
            match self.reading.read(&self.held, site) {
                Ok(Some(end)) => {
                    *input = input.get(end.saturating_sub(before)..).unwrap_or_default();
                    self.finish(end)?;
                    return Ok(true);
                }
                Ok(None) => {
                    self.proven = self.proven.saturating_add(prove_part(unproven)?);
                    *input = input.get(more.len()..).unwrap_or_default();
                    step = step.saturating_mul(2);
                }
                Err(fault) => {
                    let at = fault.at.saturating_sub(self.proven);
                    return Err(earliest(unproven, Fault { at, ..fault }));
                }
            }
        }
        Ok(false)
    }

    /// The unit that had been cut is complete.
    fn finish(&mut self, end: usize) -> Result<(), ScanError> {
        self.held.truncate(end);
        prove(self.held.get(self.proven..).unwrap_or_default())?;
        let text = String::from_utf8(std::mem::take(&mut self.held));
        self.text = text.map_err(|_| ScanError::NotUtf8)?;
        Ok(())
    }

    fn clear(&mut self) {
        if self.text.capacity() > 0 {
            self.held = std::mem::take(&mut self.text).into_bytes();
        }
        self.held.clear();
        self.proven = 0;
        self.reading.unit = Unit::Unknown;
        self.reading.machine.clear();
        self.reading.index.clear();
    }

    fn heap_bytes(&self) -> usize {
        let Reading { machine, index, .. } = &self.reading;
        self.held.capacity().saturating_add(machine.heap_bytes()).saturating_add(index.heap_bytes())
    }
}

/// Bytes before a fault may be no characters; that is the earlier error.
fn earliest(bytes: &[u8], fault: Fault) -> ScanError {
    let before = bytes.get(..fault.at).unwrap_or(bytes);
    prove_part(before).err().unwrap_or(fault.error)
}

impl Reading {
    /// Reads on in the bytes, which are all of the unit so far, and gives the place behind its end.
    fn read(&mut self, bytes: &[u8], site: Site<'_>) -> Result<Option<usize>, Fault> {
        if self.unit == Unit::Unknown {
            self.unit = what_begins(bytes, site)?;
        }
        let Self { unit, machine, index } = self;
        let end = match unit {
            Unit::Unknown => None,
            Unit::Element => machine.element(bytes, site.limits, site.context.outer(), index)?,
            Unit::Root => machine.root(bytes, site.limits, index)?,
            Unit::RootEnd => machine.end_of(bytes, site.context.root.as_bytes())?,
            Unit::Declaration => read_declaration(machine, bytes)?,
        };
        if end.is_some() {
            index.keep(machine.take_kept());
        }
        Ok(end)
    }
}

/// Two bytes tell.
fn what_begins(bytes: &[u8], site: Site<'_>) -> Result<Unit, Fault> {
    let before_root = site.rooted && !site.in_root;
    match bytes.get(1) {
        None => Ok(Unit::Unknown),
        Some(b'?') if site.at_start => Ok(Unit::Declaration),
        // `<` in UTF-16, the little end first.
        Some(0) if site.at_start => Err(Fault { error: ScanError::UnsupportedEncoding, at: 0 }),
        // RFC 6120 §11.1: no processing instructions and no DTD.
        Some(b'?' | b'!') if before_root => Err(Fault { error: ScanError::Restricted, at: 2 }),
        Some(b'/') if site.rooted && site.in_root => Ok(Unit::RootEnd),
        Some(_) if before_root => Ok(Unit::Root),
        Some(_) => Ok(Unit::Element),
    }
}

fn read_declaration(machine: &mut Machine, bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(end) = machine.end_of_declaration(bytes) else { return Ok(None) };
    declaration::check(bytes.get(..end).unwrap_or_default())
        .map_err(|error| Fault { error, at: end })?;
    Ok(Some(end))
}
