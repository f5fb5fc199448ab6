//! Reads one table of the config key by key, and tells of every key that nobody asked for.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Fault, did_you_mean};
use crate::config::value::{Bounds, Value};

/// What reading found: the faults, and which keys the file sets.
#[derive(Debug)]
pub struct Report {
    /// What is wrong, in the order in which it was found.
    pub faults: Vec<Fault>,
    /// The keys that were set, as `section.key`.
    pub set: BTreeSet<String>,
    /// The section in which a key is known, for those who have put it into another.
    home_of: fn(&str) -> Option<&'static str>,
}

impl Report {
    /// Nothing was found yet.
    pub fn new(home_of: fn(&str) -> Option<&'static str>) -> Self {
        Self { faults: Vec::new(), set: BTreeSet::new(), home_of }
    }

    /// Adds a fault.
    pub fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.faults.push(Fault { span, message: message.into() });
    }
}

/// One table on its way to become a section.
#[derive(Debug)]
pub struct Reader<'a, 'i, 'r> {
    header: &'static str,
    span: Range<usize>,
    table: Option<&'a DeTable<'i>>,
    asked: Vec<&'static str>,
    report: &'r mut Report,
}

impl<'a, 'i, 'r> Reader<'a, 'i, 'r> {
    /// Reads a table that the file has.
    pub fn new(
        header: &'static str,
        span: Range<usize>,
        table: &'a DeTable<'i>,
        report: &'r mut Report,
    ) -> Self {
        Self { header, span, table: Some(table), asked: Vec::new(), report }
    }

    /// Reads a section that the file lacks: all is default.
    pub fn absent(header: &'static str, report: &'r mut Report) -> Self {
        Self { header, span: 0..0, table: None, asked: Vec::new(), report }
    }

    /// The value of a key, else its default; a key without default must be there.
    pub fn value<T: Value>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        bounds: Bounds,
    ) -> Option<T> {
        self.asked.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else {
            if default.is_none() {
                let header = self.header;
                let expected = T::expected(bounds);
                let message = format!("{header} lacks the key `{key}`, {expected}");
                self.report.fault(self.span.clone(), message);
            }
            return default;
        };
        let first = self.report.faults.len();
        let read = T::read(value, bounds, &mut self.report.faults);
        for fault in self.report.faults.iter_mut().skip(first) {
            fault.message = format!("`{key}`: {}", fault.message);
        }
        self.report.set.insert(dotted(self.header, key));
        // With a fault the config is refused anyway; the default lets the reading go on.
        read.or(default)
    }

    /// The sub-table of a key, which somebody else reads.
    pub fn inner(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.and_then(|table| table.get(key))
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let word: &str = key.get_ref();
            if self.asked.contains(&word) {
                continue;
            }
            let near = did_you_mean(word, self.asked.iter().copied());
            let hint = match (self.report.home_of)(word) {
                Some("") => "; it belongs to the top of the file".to_owned(),
                Some(header) => format!("; it belongs into {header}"),
                None => near,
            };
            let place = match self.header {
                "" => "at the top".to_owned(),
                header => format!("in {header}"),
            };
            self.report.fault(key.span(), format!("unknown key `{word}` {place}{hint}"));
        }
    }
}

/// The name of a key with its section: `limits.stanza_bytes_max`.
pub fn dotted(header: &str, key: &str) -> String {
    match header.trim_matches(['[', ']']) {
        "" => key.to_owned(),
        section => format!("{section}.{key}"),
    }
}
