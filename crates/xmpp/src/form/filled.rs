//! A form that somebody else wrote: its fields by name and type.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use verona_xml::Element;

use super::field::{FORM_TYPE, FieldType, FormType};
use crate::date;
use crate::error::{Condition, StanzaError};
use crate::jid::Jid;
use crate::ns;

/// A form in a tree that was read.
///
/// A field is looked for by its name; if there are several of one name, the first counts. The
/// readers by type say `None` of a field that is not there or has no value, or an empty one
/// (XEP-0004 §3.6 leaves open what that means; [`Filled::has`] tells them apart), and
/// `not-acceptable` of a value that is none of its type (XEP-0004 §4).
#[derive(Clone, Copy)]
pub struct Filled<'a> {
    form: Element<'a>,
    kind: FormType,
}

impl<'a> Filled<'a> {
    /// Looks for a form among the children of an element.
    pub fn find(parent: Element<'a>) -> Result<Option<Self>, StanzaError> {
        parent.child("x", ns::FORM).map(Self::read).transpose()
    }

    /// Takes an `<x/>` for a form.
    pub fn read(form: Element<'a>) -> Result<Self, StanzaError> {
        let bad = |text: &'static str| StanzaError::new(Condition::BadRequest).text(text);
        if !form.is("x", ns::FORM) {
            return Err(bad("not a data form"));
        }
        let kind = form.attr("type").and_then(FormType::from_name);
        Ok(Self { form, kind: kind.ok_or_else(|| bad("no such type of data form"))? })
    }

    /// The type of the form.
    pub fn kind(self) -> FormType {
        self.kind
    }

    /// What the form is about. It counts only if the field is hidden, but in a submission, where
    /// fields need no type (XEP-0068 §4.1, §4.3).
    pub fn form_type(self) -> Option<Cow<'a, str>> {
        let field = self.field(FORM_TYPE)?;
        let counts = self.kind == FormType::Submit || field.kind() == FieldType::Hidden;
        field.values().next().filter(|_| counts)
    }

    /// The fields in their order, without those of a table.
    pub fn fields(self) -> impl Iterator<Item = FilledField<'a>> {
        fields(self.form)
    }

    /// The rows of a table (XEP-0004 §3.4).
    pub fn items(self) -> impl Iterator<Item = impl Iterator<Item = FilledField<'a>>> {
        self.form.children().filter(|child| child.is("item", ns::FORM)).map(fields)
    }

    /// Says whether there is a field of this name.
    pub fn has(self, var: &str) -> bool {
        self.field(var).is_some()
    }

    /// The first value of a field as it stands.
    pub fn value(self, var: &str) -> Option<Cow<'a, str>> {
        self.field(var)?.values().next()
    }

    /// All values of a field as they stand.
    pub fn values(self, var: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.field(var).into_iter().flat_map(FilledField::values)
    }

    /// The lines of a `text-multi` field as one text (XEP-0004 §3.3).
    pub fn lines(self, var: &str) -> Option<String> {
        let mut values = self.field(var)?.values();
        let mut text = values.next()?.into_owned();
        for value in values {
            text.push('\n');
            text.push_str(&value);
        }
        Some(text)
    }

    /// A `boolean` field: 0, 1, false or true (XEP-0004 §3.3).
    pub fn boolean(self, var: &str) -> Result<Option<bool>, StanzaError> {
        self.typed(var, "true or false", |text| match text {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// A whole number within bounds.
    pub fn number(
        self,
        var: &str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, StanzaError> {
        let within = |number: &u64| bounds.contains(number);
        self.typed(var, "a number within its bounds", |text| text.parse().ok().filter(within))
    }

    /// A moment (XEP-0082 §3.2) in microseconds of Unix time.
    pub fn moment(self, var: &str) -> Result<Option<i64>, StanzaError> {
        self.typed(var, "a moment", date::read)
    }

    /// One of some words, each with its meaning.
    pub fn choice<T: Copy>(self, var: &str, words: &[(&str, T)]) -> Result<Option<T>, StanzaError> {
        self.typed(var, "one of the options", |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })
    }

    /// A `jid-single` field.
    pub fn jid(self, var: &str) -> Result<Option<Jid>, StanzaError> {
        self.typed(var, "an address", |text| Jid::parse(text).ok())
    }

    /// A `jid-multi` field; repeated addresses are ignored (XEP-0004 §3.3), and so are empty
    /// values.
    pub fn jids(self, var: &str) -> Result<Vec<Jid>, StanzaError> {
        let (mut jids, mut seen) = (Vec::new(), HashSet::new());
        for value in self.values(var) {
            let text = value.trim();
            if text.is_empty() {
                continue;
            }
            let jid = Jid::parse(text).map_err(|_| unacceptable(var, "an address"))?;
            if seen.insert(jid.clone()) {
                jids.push(jid);
            }
        }
        Ok(jids)
    }

    /// The first field of this name.
    fn field(self, var: &str) -> Option<FilledField<'a>> {
        self.fields().find(|field| field.var() == Some(var))
    }

    fn typed<T>(
        self,
        var: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StanzaError> {
        let value = self.value(var).unwrap_or_default();
        match value.trim() {
            "" => Ok(None),
            text => read(text).map(Some).ok_or_else(|| unacceptable(var, what)),
        }
    }
}

fn fields<'a>(parent: Element<'a>) -> impl Iterator<Item = FilledField<'a>> {
    parent.children().filter(|child| child.is("field", ns::FORM)).map(FilledField)
}

/// `var` is ours: whoever asks for a field names it.
fn unacceptable(var: &str, what: &str) -> StanzaError {
    StanzaError::new(Condition::NotAcceptable).text(format!("{var} is not {what}"))
}

/// A field of a form that was read.
#[derive(Clone, Copy)]
pub struct FilledField<'a>(Element<'a>);

impl<'a> FilledField<'a> {
    /// The name; only `fixed` fields may have none.
    pub fn var(self) -> Option<&'a str> {
        self.0.attr("var")
    }

    /// The type; a line of text if none is given (XEP-0004 §3.2).
    pub fn kind(self) -> FieldType {
        self.0.attr("type").map_or(FieldType::TextSingle, FieldType::from_name)
    }

    /// The name for people.
    pub fn label(self) -> Option<&'a str> {
        self.0.attr("label")
    }

    /// Says whether it must be filled in.
    pub fn is_required(self) -> bool {
        self.0.child("required", ns::FORM).is_some()
    }

    /// The values as they stand.
    pub fn values(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.children().filter(|child| child.is("value", ns::FORM)).map(Element::text)
    }

    /// The options: value and name for people.
    pub fn options(self) -> impl Iterator<Item = (Cow<'a, str>, Option<&'a str>)> {
        self.0.children().filter(|child| child.is("option", ns::FORM)).filter_map(|option| {
            let value = option.child("value", ns::FORM)?;
            Some((value.text(), option.attr("label")))
        })
    }
}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::testing::{LIMITS, Noise};

    fn tree(kind: &str, fields: &str) -> Tree {
        let text = format!("<x xmlns='jabber:x:data' type='{kind}'>{fields}</x>");
        Tree::parse(&text, "", LIMITS).unwrap()
    }

    fn field(var: &str, values: &[&str]) -> String {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        format!("<field var='{var}'>{values}</field>")
    }

    #[test]
    fn fields_are_read_by_name_and_type() {
        let text = [
            field("yes", &["1"]),
            field("no", &["false"]),
            field("size", &[" 10 "]),
            field("since", &["1970-01-01T00:00:01Z"]),
            field("who", &["Juliet@capulet.lit"]),
            field("crowd", &["Romeo@montague.lit", "", "romeo@montague.lit", "capulet.lit"]),
            field("speech", &["O Romeo,", "Romeo!"]),
            field("mood", &["sad"]),
            field("size", &["11"]),
        ];
        let tree = tree("submit", &text.concat());
        let form = Filled::read(tree.root()).unwrap();
        assert_eq!(form.boolean("yes"), Ok(Some(true)));
        assert_eq!(form.boolean("no"), Ok(Some(false)));
        assert_eq!(form.number("size", 0..=10), Ok(Some(10)));
        assert_eq!(form.moment("since"), Ok(Some(1_000_000)));
        assert_eq!(form.jid("who").unwrap().unwrap(), "juliet@capulet.lit");
        assert_eq!(form.jids("crowd").unwrap(), ["romeo@montague.lit", "capulet.lit"]);
        assert_eq!(form.lines("speech").as_deref(), Some("O Romeo,\nRomeo!"));
        assert_eq!(form.choice("mood", &[("glad", 1), ("sad", 2)]), Ok(Some(2)));
        assert_eq!(form.values("speech").count(), 2);
    }

    #[test]
    fn value_of_another_type_is_not_acceptable() {
        let text = [field("a", &["yes"]), field("b", &["11"]), field("c", &["@"])].concat();
        let tree = tree("submit", &text);
        let form = Filled::read(tree.root()).unwrap();
        let errors = [
            form.boolean("a").unwrap_err(),
            form.number("b", 0..=10).unwrap_err(),
            form.number("a", 0..=10).unwrap_err(),
            form.moment("b").unwrap_err(),
            form.jid("c").unwrap_err(),
            form.jids("c").unwrap_err(),
            form.choice("a", &[("b", ())]).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.condition == Condition::NotAcceptable));
        assert_eq!(errors[0].detail().text.as_deref(), Some("a is not true or false"));
    }

    #[test]
    fn field_without_value_is_there_but_says_nothing() {
        let text = ["<field var='a'/>".to_owned(), field("b", &[""])].concat();
        let tree = tree("submit", &text);
        let form = Filled::read(tree.root()).unwrap();
        for var in ["a", "b", "c"] {
            assert_eq!(form.boolean(var), Ok(None));
            assert_eq!(form.jids(var), Ok(Vec::new()));
            assert_eq!(form.has(var), var != "c");
        }
        assert_eq!((form.lines("a"), form.lines("b")), (None, Some(String::new())));
    }

    #[test]
    fn form_type_counts_when_hidden_or_submitted() {
        let open = field(FORM_TYPE, &["urn:x"]);
        let hidden = open.replace("var=", "type='hidden' var=");
        let about = |kind, text: &str| {
            let tree = tree(kind, text);
            Filled::read(tree.root()).unwrap().form_type().map(Cow::into_owned)
        };
        assert_eq!(about("submit", &open).as_deref(), Some("urn:x"));
        assert_eq!(about("result", &open), None);
        assert_eq!(about("form", &hidden).as_deref(), Some("urn:x"));
        assert_eq!(about("form", ""), None);
    }

    #[test]
    fn table_is_read_row_by_row() {
        let row = |name| format!("<item>{}</item>", field("name", &[name]));
        let tree = tree("result", &[row("Romeo"), row("Juliet")].concat());
        let form = Filled::read(tree.root()).unwrap();
        let names: Vec<String> =
            form.items().flatten().flat_map(FilledField::values).map(Cow::into_owned).collect();
        assert_eq!(names, ["Romeo", "Juliet"]);
        assert_eq!(form.fields().count(), 0);
    }

    #[test]
    fn what_is_no_form_is_a_bad_request() {
        for text in [
            "<x xmlns='jabber:x:data'/>",
            "<x xmlns='jabber:x:data' type='error'/>",
            "<x type='submit'/>",
            "<y xmlns='jabber:x:data' type='submit'/>",
        ] {
            let tree = Tree::parse(text, "", LIMITS).unwrap();
            let error = Filled::read(tree.root()).err().unwrap();
            assert_eq!(error.condition, Condition::BadRequest, "{text}");
        }
        let tree = Tree::parse("<query/>", "", LIMITS).unwrap();
        assert!(Filled::find(tree.root()).unwrap().is_none());
    }

    #[test]
    fn no_form_makes_a_reader_panic() {
        let mut noise = Noise::new(8);
        let seed = "<x xmlns='jabber:x:data' type='form'><field var='a' type='list-single'>\
            <value>1</value><option label='l'><value>1</value></option><required/></field>\
            <item><field var='a'><value>true</value></field></item></x>";
        for _ in 0..5_000 {
            let text = noise.mutated(seed);
            let Ok(tree) = Tree::parse(&text, "", LIMITS) else { continue };
            let Ok(form) = Filled::read(tree.root()) else { continue };
            let _ = (form.boolean("a"), form.number("a", 0..=9), form.jids("a"), form.lines("a"));
            let _ = (form.moment("a"), form.jid("a"), form.form_type());
            for field in form.fields().chain(form.items().flatten()) {
                let _ = (field.options().count(), field.kind(), field.is_required());
            }
        }
    }
}
