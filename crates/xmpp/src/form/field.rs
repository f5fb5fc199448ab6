//! The types of forms and fields.

/// The field that says what a form is about (XEP-0068 §3.1).
pub const FORM_TYPE: &str = "FORM_TYPE";

/// What a form is for (XEP-0004 §3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FormType {
    /// To be filled in.
    Form,
    /// Filled in.
    Submit,
    /// Not to be filled in after all.
    Cancel,
    /// Data that was asked for.
    Result,
}

impl FormType {
    /// The value of the `type` attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Result => "result",
        }
    }

    /// The type with this value of the `type` attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Form, Self::Submit, Self::Cancel, Self::Result]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// What a field holds (XEP-0004 §3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FieldType {
    /// True or false.
    Boolean,
    /// Words to read, nothing to fill in.
    Fixed,
    /// Not shown, but sent back.
    Hidden,
    /// Addresses.
    JidMulti,
    /// One address.
    JidSingle,
    /// Some of the options.
    ListMulti,
    /// One of the options.
    ListSingle,
    /// Lines of text.
    TextMulti,
    /// A line of text that is not shown.
    TextPrivate,
    /// A line of text.
    TextSingle,
}

impl FieldType {
    const ALL: [Self; 10] = [
        Self::Boolean,
        Self::Fixed,
        Self::Hidden,
        Self::JidMulti,
        Self::JidSingle,
        Self::ListMulti,
        Self::ListSingle,
        Self::TextMulti,
        Self::TextPrivate,
        Self::TextSingle,
    ];

    /// The value of the `type` attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Fixed => "fixed",
            Self::Hidden => "hidden",
            Self::JidMulti => "jid-multi",
            Self::JidSingle => "jid-single",
            Self::ListMulti => "list-multi",
            Self::ListSingle => "list-single",
            Self::TextMulti => "text-multi",
            Self::TextPrivate => "text-private",
            Self::TextSingle => "text-single",
        }
    }

    /// The type with this value of the `type` attribute; a line of text for all that we do not
    /// know (XEP-0004 §3.3).
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::TextSingle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_their_names() {
        for kind in FieldType::ALL {
            assert_eq!(FieldType::from_name(kind.name()), kind);
        }
        assert_eq!(FieldType::from_name("colour"), FieldType::TextSingle);
        for name in ["form", "submit", "cancel", "result"] {
            assert_eq!(FormType::from_name(name).map(FormType::name), Some(name));
        }
        assert_eq!(FormType::from_name("error"), None);
    }
}
