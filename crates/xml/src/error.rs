//! Why bytes were refused.

use std::fmt;

/// A scan error says which kind of rule the bytes broke. After it the input is not read further.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ScanError {
    /// A prefix that is not bound, or `xml` and `xmlns` used for what they are not.
    BadNamespace,
    /// The text is not XML 1.0.
    NotWellFormed,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A comment, processing instruction, DTD or entity beyond the five (RFC 6120 §11.1).
    Restricted,
    /// Text between first-level elements.
    Text,
    /// Elements nest deeper than the limit.
    TooDeep,
    /// The element is longer than the limit.
    TooLarge,
    /// A start tag has more attributes than the limit.
    TooManyAttributes,
    /// The element holds more elements than the limit.
    TooManyElements,
    /// More prefixes are bound at one place than the limit.
    TooManyNamespaces,
    /// The document is not in UTF-8, or says so of itself (RFC 6120 §11.6).
    UnsupportedEncoding,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadNamespace => "namespace prefix not bound or misused",
            Self::NotWellFormed => "not well-formed XML",
            Self::NotUtf8 => "not valid UTF-8",
            Self::Restricted => "comment, processing instruction, DTD or entity reference",
            Self::Text => "text between first-level elements",
            Self::TooDeep => "elements nested too deep",
            Self::TooLarge => "element too large",
            Self::TooManyAttributes => "too many attributes",
            Self::TooManyElements => "too many elements",
            Self::TooManyNamespaces => "too many namespace prefixes",
            Self::UnsupportedEncoding => "encoding other than UTF-8",
        })
    }
}

impl std::error::Error for ScanError {}
