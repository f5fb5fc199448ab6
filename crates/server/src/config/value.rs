//! The types a key can have: how each is read from TOML, what is said when it is not one, and how it
//! is shown.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use subtle::ConstantTimeEq;
use toml::Spanned;
use toml::de::DeValue;
use verona_core::host::Registration;
use zeroize::Zeroize;

use crate::config::names::{BareJid, ComponentDomain, Domain, Endpoint, Location};
use crate::config::problem::{Fault, did_you_mean};

/// The smallest and the largest number a key takes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Bounds {
    /// Every number that TOML can say and that is not negative.
    pub const ANY: Self = Self { min: 0, max: i64::MAX as u64 };
}

/// A type that a key can have.
pub trait Value: Sized {
    /// What is expected, as in "expected a number from 1 to 9".
    fn expected(bounds: Bounds) -> String;

    /// Reads it; what is wrong goes to the faults.
    fn read(value: &Spanned<DeValue<'_>>, bounds: Bounds, faults: &mut Vec<Fault>) -> Option<Self>;

    /// The value as TOML; a secret shows stars.
    fn show(&self) -> String;
}

/// A word that must stay out of logs and of `config show`.
#[derive(Clone, Eq)]
pub struct Secret(String);

impl Secret {
    /// The word itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The store that keeps everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StorageUrl {
    /// Nothing is kept longer than the process lives.
    Memory,
    /// A SQLite file, relative to the data directory.
    Sqlite(PathBuf),
    /// A PostgreSQL database; the URL can hold a password.
    Postgres(Secret),
}

/// What is logged: levels, perhaps by part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Reads a filter; the error is the end of a sentence that begins with the text. A level that is
    /// misspelt is refused here, since the log would take it for the name of a part and say nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        const LEVELS: [(&str, ()); 6] =
            [("off", ()), ("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ())];
        for rule in text.split(',').map(str::trim) {
            let (part, level) =
                rule.split_once('=').map_or((None, rule), |(part, level)| (Some(part), level));
            one_of(level, &LEVELS)
                .map_err(|message| format!("holds {level:?}, which {message}"))?;
            if part.is_some_and(|part| !is_part(part)) {
                return Err(format!("holds {rule:?}, write it as in \"verona_core=debug\""));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// Whether a word can name a part of the program, such as `verona_core::stream`.
fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

fn wrong(value: &Spanned<DeValue<'_>>, message: impl Into<String>, faults: &mut Vec<Fault>) {
    faults.push(Fault { span: value.span(), message: message.into() });
}

fn mismatch<T: Value>(value: &Spanned<DeValue<'_>>, bounds: Bounds, faults: &mut Vec<Fault>) {
    let message = match value.get_ref() {
        DeValue::Integer(number) => format!("{number} does not fit here"),
        other => format!("a {} does not fit here", other.type_str()),
    };
    wrong(value, format!("{message}, expected {}", T::expected(bounds)), faults);
}

/// Quotes a text for TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads a string and turns it into a value by its own rule, whose errors are the end of a sentence
/// that begins with the string.
fn open<T: Value>(
    value: &Spanned<DeValue<'_>>,
    faults: &mut Vec<Fault>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let named = |text: &str| parse(text).map_err(|message| format!("{text:?} {message}"));
    hidden(value, faults, named)
}

/// The same for what must not be repeated in a message.
fn hidden<T: Value>(
    value: &Spanned<DeValue<'_>>,
    faults: &mut Vec<Fault>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else {
        mismatch::<T>(value, Bounds::ANY, faults);
        return None;
    };
    parse(text).map_err(|message| wrong(value, message, faults)).ok()
}

impl Value for bool {
    fn expected(_: Bounds) -> String {
        "true or false".to_owned()
    }

    fn read(value: &Spanned<DeValue<'_>>, bounds: Bounds, faults: &mut Vec<Fault>) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            mismatch::<Self>(value, bounds, faults);
        }
        read
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

fn read_number<T: Value + TryFrom<u64>>(
    value: &Spanned<DeValue<'_>>,
    bounds: Bounds,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let integer = value.get_ref().as_integer();
    let number = integer.and_then(|read| u64::from_str_radix(read.as_str(), read.radix()).ok());
    let fitting = number.filter(|number| (bounds.min..=bounds.max).contains(number));
    let read = fitting.and_then(|number| T::try_from(number).ok());
    if read.is_none() {
        mismatch::<T>(value, bounds, faults);
    }
    read
}

fn expected_number(bounds: Bounds, type_max: u64) -> String {
    let max = bounds.max.min(type_max);
    match (bounds.min, max) {
        (0, max) if max >= u32::MAX.into() => "a number, 0 or more".to_owned(),
        (min, max) if max >= u32::MAX.into() => format!("a number, {min} or more"),
        (min, max) => format!("a number from {min} to {max}"),
    }
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn expected(bounds: Bounds) -> String {
                expected_number(bounds, <$kind>::MAX as u64)
            }

            fn read(
                value: &Spanned<DeValue<'_>>,
                bounds: Bounds,
                faults: &mut Vec<Fault>,
            ) -> Option<Self> {
                read_number(value, bounds, faults)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

number!(u16, u32, u64, usize);

/// A type that is written as a string and read by one function.
macro_rules! text {
    ($($kind:ty, $expected:literal, $read:ident $parse:expr, $show:expr;)*) => {$(
        impl Value for $kind {
            fn expected(_: Bounds) -> String {
                $expected.to_owned()
            }

            fn read(
                value: &Spanned<DeValue<'_>>,
                _: Bounds,
                faults: &mut Vec<Fault>,
            ) -> Option<Self> {
                $read(value, faults, $parse)
            }

            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                quoted(&show(self))
            }
        }
    )*};
}

text! {
    BareJid, "a JID such as \"juliet@example.org\"", open BareJid::parse, Self::to_string;
    ComponentDomain, "a domain such as \"irc.example.org\" or \"*.irc.example.org\"",
        open ComponentDomain::parse, Self::to_string;
    Domain, "a domain such as \"example.org\"", open Domain::parse, Self::to_string;
    Endpoint, "an address such as \"10.0.0.2:5269\"", open Endpoint::parse, Self::to_string;
    LogFormat, "\"text\" or \"json\"", open log_format, |format| match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    };
    Location, "an address such as \"one.example.org:5222\", or \"\"", open Location::parse,
        Self::to_string;
    LogFilter, "a level, or levels by part", open LogFilter::parse, |filter| filter.0.clone();
    PathBuf, "a path", open path, |path| path.display().to_string();
    Registration, "\"closed\", \"invite\" or \"open\"", open registration, |kind| match kind {
        Registration::Closed => "closed".to_owned(),
        Registration::Invite => "invite".to_owned(),
        Registration::Open => "open".to_owned(),
    };
    Secret, "a secret of at least 8 bytes", hidden secret, |_| "***".to_owned();
    SocketAddr, "an address such as \"[::]:5222\"", open address, Self::to_string;
    StorageUrl, "\"sqlite:FILE\" or \"postgres://...\"", hidden storage_url, |url| match url {
        StorageUrl::Sqlite(file) => format!("sqlite:{}", file.display()),
        StorageUrl::Memory => "memory:".to_owned(),
        StorageUrl::Postgres(_) => "postgres://***".to_owned(),
    };
    String, "a text", open |text| Ok(text.to_owned()), Self::clone;
}

fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = did_you_mean(text, known.iter().copied());
    Err(format!("is none of {}{hint}", known.join(", ")))
}

fn registration(text: &str) -> Result<Registration, String> {
    use Registration::{Closed, Invite, Open};
    one_of(text, &[("closed", Closed), ("invite", Invite), ("open", Open)])
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text.is_empty() || text.contains('\0') {
        true => Err("is not a path".to_owned()),
        false => Ok(text.into()),
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    match text.len() {
        0..8 => Err("this secret is too short, take 8 bytes or more".to_owned()),
        _ => Ok(Secret(text.to_owned())),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let hint = match text.parse::<u16>() {
        Ok(port) => format!("; for all addresses write \"[::]:{port}\""),
        Err(_) => String::new(),
    };
    let wrong = |_| format!("is not an address with a port, such as \"[::]:5222\"{hint}");
    text.parse().map_err(wrong)
}

fn storage_url(text: &str) -> Result<StorageUrl, String> {
    if let Some(file) = text.strip_prefix("sqlite:") {
        return path(file).map(StorageUrl::Sqlite).map_err(|_| "the file has no name".to_owned());
    }
    if text == "memory:" {
        return Ok(StorageUrl::Memory);
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Ok(StorageUrl::Postgres(Secret(text.to_owned())));
    }
    Err("this is no known storage, expected \"sqlite:FILE\" or \"postgres://...\"".to_owned())
}

impl<T: Value> Value for Vec<T> {
    fn expected(bounds: Bounds) -> String {
        format!("a list, each {}", T::expected(bounds))
    }

    fn read(value: &Spanned<DeValue<'_>>, bounds: Bounds, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            mismatch::<Self>(value, bounds, faults);
            return None;
        };
        let read: Vec<Option<T>> = array.iter().map(|item| T::read(item, bounds, faults)).collect();
        read.into_iter().collect()
    }

    fn show(&self) -> String {
        let shown: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", shown.join(", "))
    }
}

impl<T: Value> Value for BTreeMap<Domain, T> {
    fn expected(bounds: Bounds) -> String {
        format!("a table of domains, each with {}", T::expected(bounds))
    }

    fn read(value: &Spanned<DeValue<'_>>, bounds: Bounds, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            mismatch::<Self>(value, bounds, faults);
            return None;
        };
        let mut map = Self::new();
        for (key, item) in table {
            let read = T::read(item, bounds, faults);
            match Domain::parse(key.get_ref()) {
                Ok(domain) => drop(read.map(|read| map.insert(domain, read))),
                Err(message) => {
                    let message = format!("{:?} {message}", key.get_ref());
                    faults.push(Fault { span: key.span(), message });
                }
            }
        }
        Some(map)
    }

    fn show(&self) -> String {
        let shown: Vec<String> = self
            .iter()
            .map(|(key, value)| format!("{} = {}", quoted(key.as_str()), value.show()))
            .collect();
        match shown.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(text: &str, bounds: Bounds) -> Result<T, String> {
        let value = DeValue::parse(text).expect("the test writes TOML");
        let mut faults = Vec::new();
        let read = T::read(&value, bounds, &mut faults);
        let mut messages = faults.into_iter().map(|fault| fault.message);
        messages.next().map_or_else(|| Ok(read.expect("no fault means a value")), Err)
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let bounds = Bounds { min: 10, max: 20 };
        assert_eq!(read::<u32>("1_5", bounds), Ok(15));
        assert_eq!(read::<u32>("0xf", bounds), Ok(15));
        for wrong in ["9", "21", "-15", "15.0", "\"15\""] {
            let message = read::<u32>(wrong, bounds).expect_err(wrong);
            assert!(message.ends_with("expected a number from 10 to 20"), "{message}");
        }
        // The type is a bound too.
        assert!(read::<u16>("65536", Bounds::ANY).is_err());
    }

    #[test]
    fn a_bare_port_is_told_how_to_become_an_address() {
        let message = read::<SocketAddr>("\"5222\"", Bounds::ANY).expect_err("no address");
        assert!(message.ends_with("write \"[::]:5222\""), "{message}");
    }

    #[test]
    fn every_item_of_a_list_is_judged() {
        let value = DeValue::parse("[\"a\", \"127.0.0.1:1\", 3]").expect("TOML");
        let mut faults = Vec::new();
        assert_eq!(Vec::<SocketAddr>::read(&value, Bounds::ANY, &mut faults), None);
        assert_eq!(faults.len(), 2);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = read("\"correct horse\"", Bounds::ANY).expect("a secret");
        assert_eq!(secret.show(), "\"***\"");
        assert_eq!(format!("{secret:?}"), "***");
        let url: StorageUrl = read("\"postgres://u:p@h/d\"", Bounds::ANY).expect("a URL");
        assert!(!format!("{url:?}{}", url.show()).contains("u:p"));
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        let message = read::<Secret>("\"short\"", Bounds::ANY).expect_err("too short");
        assert!(!message.contains("short\""), "{message}");
    }

    #[test]
    fn a_nearly_right_word_is_suggested() {
        let message = read::<Registration>("\"invites\"", Bounds::ANY).expect_err("no such word");
        assert!(message.ends_with("did you mean `invite`?"), "{message}");
    }

    #[test]
    fn a_filter_of_the_log_has_levels_that_exist() {
        for text in ["info", "off", "info,verona_core=debug", "warn, verona_core::stream=trace"] {
            assert_eq!(LogFilter::parse(text).expect(text).as_str(), text);
        }
        let message = read::<LogFilter>("\"inof\"", Bounds::ANY).expect_err("no such level");
        assert!(message.ends_with("did you mean `info`?"), "{message}");
        for text in ["", "info,", "verona_core", "verona_core=", "info,verona_core=lots", "=info"] {
            assert!(LogFilter::parse(text).is_err(), "{text}");
        }
    }
}
