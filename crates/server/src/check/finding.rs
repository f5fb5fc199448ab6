//! What `verona check` finds, and how it is told.

use std::fmt::Write;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warning,
    /// It does not work.
    Error,
}

/// One finding, with its cure.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: `certificate example.org`.
    pub subject: String,
    /// What was found, without a capital and without a full stop.
    pub text: String,
    /// What to do; none when there is nothing to do.
    pub cure: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), text: text.into(), cure: None }
    }

    /// It works, but somebody should look.
    pub fn warning(
        subject: impl Into<String>,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let (subject, text, cure) = (subject.into(), text.into(), Some(cure.into()));
        Self { level: Level::Warning, subject, text, cure }
    }

    /// It does not work.
    pub fn error(
        subject: impl Into<String>,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let (subject, text, cure) = (subject.into(), text.into(), Some(cure.into()));
        Self { level: Level::Error, subject, text, cure }
    }
}

/// The findings for people, the worst at the end, where one looks first.
pub fn text(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    let mut text = String::new();
    for finding in sorted {
        let level = match finding.level {
            Level::Ok => "ok      ",
            Level::Warning => "WARNING ",
            Level::Error => "ERROR   ",
        };
        let _ = writeln!(text, "{level}{}: {}", finding.subject, finding.text);
        if let Some(cure) = &finding.cure {
            let _ = writeln!(text, "        -> {cure}");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let _ = writeln!(text, "{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    text
}

fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}
