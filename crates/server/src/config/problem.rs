//! What is wrong with a config: where it stands, what was expected and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that is wrong, with the line that mends it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file as the operator named it; none for the built-in config.
    pub file: Option<PathBuf>,
    /// The line, counted from 1; none when the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong and what to do, as one sentence without a capital and without a full stop.
    pub message: String,
}

impl Problem {
    /// A problem of a whole file.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), line: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("config")?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All that is wrong with a config, in the order of the file; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The text of a config and its name: turns places in the text into lines.
#[derive(Clone, Debug)]
pub struct Source {
    file: Option<PathBuf>,
    text: Arc<str>,
}

impl Source {
    /// A text that was read from a file, or the built-in one.
    pub fn new(file: Option<&Path>, text: &str) -> Self {
        Self { file: file.map(Path::to_owned), text: text.into() }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A problem at a place of the text.
    pub fn problem(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: Some(self.line(span.start)),
            message: message.into(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        before.filter(|byte| *byte == b'\n').count().saturating_add(1)
    }
}

/// What was found while reading: a place and a sentence.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Where in the text.
    pub span: Range<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

/// Of the known words the one that was probably meant, as the end of a sentence; else nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |other: &str| strsim::damerau_levenshtein(word, other);
    let nearest = known.into_iter().map(|other| (distance(other), other)).min();
    // A third of the letters may differ: more is another word.
    let bound = word.chars().count().div_ceil(3).max(1);
    match nearest {
        Some((far, other)) if far <= bound => format!("; did you mean `{other}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_file_and_line() {
        let source = Source::new(Some(Path::new("verona.toml")), "a = 1\nb = 2\n");
        assert_eq!(source.problem(&(6..7), "no").to_string(), "verona.toml:2: no");
        assert_eq!(source.problem(&(0..1), "no").to_string(), "verona.toml:1: no");
        // A place behind the end is the last line, not a panic.
        assert_eq!(source.problem(&(99..100), "no").line, Some(3));
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["stanza_bytes_max", "session_burst_bytes"];
        assert_eq!(did_you_mean("stanza_byte_max", known), "; did you mean `stanza_bytes_max`?");
        assert_eq!(did_you_mean("colour", known), "");
    }
}
