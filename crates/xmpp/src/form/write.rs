//! Forms that we write.

use std::borrow::Cow;

use verona_xml::Writer;

use super::field::{FORM_TYPE, FieldType, FormType};
use crate::date;
use crate::jid::Jid;
use crate::ns;

/// Of what kind the values of a field are, beyond its type (XEP-0122 §3).
const NS_VALIDATE: &str = "http://jabber.org/protocol/xdata-validate";

type Text = Cow<'static, str>;

/// A form to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Form {
    kind: FormType,
    title: Option<Text>,
    instructions: Vec<Text>,
    fields: Vec<Field>,
    reported: Vec<Field>,
    items: Vec<Vec<Field>>,
}

impl Form {
    /// A form about something, as its hidden field `FORM_TYPE` says (XEP-0068 §3.1).
    pub fn new(kind: FormType, about: impl Into<Text>) -> Self {
        let mut form = Self::plain(kind);
        form.fields.push(Field::new(FieldType::Hidden, FORM_TYPE).value(about));
        form
    }

    /// A form that does not say what it is about.
    pub fn plain(kind: FormType) -> Self {
        Self {
            kind,
            title: None,
            instructions: Vec::new(),
            fields: Vec::new(),
            reported: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Gives the form a title.
    #[must_use]
    pub fn title(mut self, title: impl Into<Text>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Adds a line that tells what to do.
    #[must_use]
    pub fn instruction(mut self, line: impl Into<Text>) -> Self {
        self.instructions.push(line.into());
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Adds fields.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = Field>) -> Self {
        self.fields.extend(fields);
        self
    }

    /// Makes the form a table with these columns (XEP-0004 §3.4).
    #[must_use]
    pub fn reported(mut self, columns: impl IntoIterator<Item = Field>) -> Self {
        self.reported.extend(columns);
        self
    }

    /// Adds a row to the table.
    #[must_use]
    pub fn item(mut self, row: impl IntoIterator<Item = Field>) -> Self {
        self.items.push(row.into_iter().collect());
        self
    }

    /// Writes the `<x/>`.
    pub fn write(&self, writer: &mut Writer) {
        writer.start("x", ns::FORM).attr("type", self.kind.name());
        if let Some(title) = &self.title {
            leaf(writer, "title", title);
        }
        for line in &self.instructions {
            leaf(writer, "instructions", line);
        }
        for field in &self.fields {
            field.write(writer, self.kind);
        }
        if !self.reported.is_empty() {
            writer.start("reported", ns::FORM);
            for column in &self.reported {
                column.write(writer, FormType::Result);
            }
            writer.end();
        }
        for row in &self.items {
            writer.start("item", ns::FORM);
            // The types stand in the head of the table.
            for field in row {
                field.write(writer, FormType::Submit);
            }
            writer.end();
        }
        writer.end();
    }
}

/// How a value is checked (XEP-0122 §3.2), which tells clients what to offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Validation {
    /// By its datatype.
    Basic,
    /// By its datatype, and it need not be one of the options.
    Open,
    /// By its datatype and two bounds.
    Range(Text, Text),
}

/// A field to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    kind: FieldType,
    var: Text,
    label: Option<Text>,
    desc: Option<Text>,
    required: bool,
    values: Vec<Text>,
    options: Vec<(Text, Option<Text>)>,
    datatype: Option<(&'static str, Validation)>,
}

impl Field {
    /// A field without value.
    pub fn new(kind: FieldType, var: impl Into<Text>) -> Self {
        Self {
            kind,
            var: var.into(),
            label: None,
            desc: None,
            required: false,
            values: Vec::new(),
            options: Vec::new(),
            datatype: None,
        }
    }

    /// A `boolean` field.
    pub fn boolean(var: impl Into<Text>, value: bool) -> Self {
        Self::new(FieldType::Boolean, var).value(if value { "1" } else { "0" })
    }

    /// Words to read, nothing to fill in.
    pub fn fixed(text: impl Into<Text>) -> Self {
        Self::new(FieldType::Fixed, "").value(text)
    }

    /// A `text-single` field.
    pub fn text(var: impl Into<Text>, value: impl Into<Text>) -> Self {
        Self::new(FieldType::TextSingle, var).value(value)
    }

    /// A `text-multi` field with a value for each line (XEP-0004 §3.3).
    pub fn lines(var: impl Into<Text>, text: &str) -> Self {
        let mut field = Self::new(FieldType::TextMulti, var);
        field.values.extend(text.lines().map(|line| Cow::Owned(line.to_owned())));
        field
    }

    /// A `text-single` field with a whole number.
    pub fn number(var: impl Into<Text>, value: u64) -> Self {
        Self::text(var, value.to_string()).datatype("xs:integer", Validation::Basic)
    }

    /// A `text-single` field with a moment in microseconds of Unix time (XEP-0082 §3.2).
    pub fn moment(var: impl Into<Text>, unix_micros: i64) -> Self {
        Self::text(var, date::write(unix_micros)).datatype("xs:dateTime", Validation::Basic)
    }

    /// A `jid-single` field.
    pub fn jid(var: impl Into<Text>, jid: &Jid) -> Self {
        Self::new(FieldType::JidSingle, var).value(jid.to_string())
    }

    /// A `jid-multi` field.
    pub fn jids<'a>(var: impl Into<Text>, jids: impl IntoIterator<Item = &'a Jid>) -> Self {
        let mut field = Self::new(FieldType::JidMulti, var);
        field.values.extend(jids.into_iter().map(|jid| Cow::Owned(jid.to_string())));
        field
    }

    /// Adds a value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Text>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds an option with its name for people.
    #[must_use]
    pub fn option(mut self, value: impl Into<Text>, label: impl Into<Text>) -> Self {
        self.options.push((value.into(), Some(label.into())));
        self
    }

    /// Adds options that need no other name.
    #[must_use]
    pub fn options(mut self, values: impl IntoIterator<Item = &'static str>) -> Self {
        self.options.extend(values.into_iter().map(|value| (Cow::Borrowed(value), None)));
        self
    }

    /// Gives the field a name for people.
    #[must_use]
    pub fn label(mut self, label: impl Into<Text>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Describes the field.
    #[must_use]
    pub fn desc(mut self, desc: impl Into<Text>) -> Self {
        self.desc = Some(desc.into());
        self
    }

    /// Says that the field must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Says of what kind the values are, such as `xs:integer`, and how they are checked.
    #[must_use]
    pub fn datatype(mut self, datatype: &'static str, validation: Validation) -> Self {
        self.datatype = Some((datatype, validation));
        self
    }

    /// Writes the field as it stands in a form of this type. Who receives a submission knows the
    /// types (XEP-0004 §3.2), and only who is to fill in a form asks what is checked.
    fn write(&self, writer: &mut Writer, kind: FormType) {
        writer.start("field", ns::FORM);
        if !self.var.is_empty() {
            writer.attr("var", &self.var);
        }
        if kind != FormType::Submit {
            writer.attr("type", self.kind.name());
        }
        if let Some(label) = &self.label {
            writer.attr("label", label);
        }
        if let Some((datatype, validation)) =
            self.datatype.as_ref().filter(|_| kind == FormType::Form)
        {
            validation.write(writer, datatype);
        }
        if let Some(desc) = &self.desc {
            leaf(writer, "desc", desc);
        }
        if self.required {
            writer.empty("required", ns::FORM);
        }
        for value in &self.values {
            leaf(writer, "value", value);
        }
        for (value, label) in &self.options {
            writer.start("option", ns::FORM);
            if let Some(label) = label {
                writer.attr("label", label);
            }
            leaf(writer, "value", value);
            writer.end();
        }
        writer.end();
    }
}

impl Validation {
    fn write(&self, writer: &mut Writer, datatype: &str) {
        writer.start("validate", NS_VALIDATE).attr("datatype", datatype);
        match self {
            Self::Basic => writer.empty("basic", NS_VALIDATE),
            Self::Open => writer.empty("open", NS_VALIDATE),
            Self::Range(min, max) => {
                writer.start("range", NS_VALIDATE).attr("min", min).attr("max", max).end()
            }
        };
        writer.end();
    }
}

fn leaf(writer: &mut Writer, name: &str, text: &str) {
    writer.start(name, ns::FORM).text(text).end();
}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::form::Filled;
    use crate::testing::LIMITS;

    fn written(form: &Form) -> String {
        let mut writer = Writer::new(ns::FORM);
        form.write(&mut writer);
        writer.finish()
    }

    #[test]
    fn form_is_written_in_the_order_of_its_schema() {
        let form = Form::new(FormType::Form, "urn:x")
            .title("Bot")
            .instruction("Fill out")
            .field(Field::fixed("Section 1"))
            .field(
                Field::new(FieldType::ListSingle, "subs")
                    .label("How many")
                    .desc("At most")
                    .required()
                    .value("20")
                    .option("10", "Ten & no more")
                    .options(["20"])
                    .datatype("xs:integer", Validation::Range("10".into(), "20".into())),
            );
        assert_eq!(
            written(&form),
            "<x type='form'><title>Bot</title><instructions>Fill out</instructions>\
             <field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
             <field type='fixed'><value>Section 1</value></field>\
             <field var='subs' type='list-single' label='How many'>\
             <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'>\
             <range min='10' max='20'/></validate>\
             <desc>At most</desc><required/><value>20</value>\
             <option label='Ten &amp; no more'><value>10</value></option>\
             <option><value>20</value></option></field></x>"
        );
    }

    #[test]
    fn submission_needs_no_types() {
        let form = Form::new(FormType::Submit, "urn:x").field(Field::number("size", 7));
        assert_eq!(
            written(&form),
            "<x type='submit'><field var='FORM_TYPE'><value>urn:x</value></field>\
             <field var='size'><value>7</value></field></x>"
        );
    }

    #[test]
    fn table_names_its_columns_once() {
        let form = Form::plain(FormType::Result)
            .reported([Field::new(FieldType::TextSingle, "name").label("Name")])
            .item([Field::text("name", "Romeo")])
            .item([Field::text("name", "Juliet")]);
        assert_eq!(
            written(&form),
            "<x type='result'><reported><field var='name' type='text-single' label='Name'/>\
             </reported><item><field var='name'><value>Romeo</value></field></item>\
             <item><field var='name'><value>Juliet</value></field></item></x>"
        );
    }

    #[test]
    fn every_field_is_read_as_it_was_written() {
        let jid = Jid::parse("juliet@capulet.lit").unwrap();
        let form = Form::new(FormType::Result, "urn:x").fields([
            Field::boolean("b", true),
            Field::number("n", 7),
            Field::moment("m", 1_500_000),
            Field::jid("j", &jid),
            Field::jids("jj", [&jid]),
            Field::lines("l", "O Romeo,\nRomeo!"),
        ]);
        let tree = Tree::parse(&written(&form), ns::FORM, LIMITS).unwrap();
        let read = Filled::read(tree.root()).unwrap();
        assert_eq!((read.kind(), read.form_type().as_deref()), (FormType::Result, Some("urn:x")));
        assert_eq!(read.boolean("b"), Ok(Some(true)));
        assert_eq!(read.number("n", 0..=9), Ok(Some(7)));
        assert_eq!(read.moment("m"), Ok(Some(1_500_000)));
        assert_eq!(read.jid("j"), Ok(Some(jid.clone())));
        assert_eq!(read.jids("jj"), Ok(vec![jid]));
        assert_eq!(read.lines("l").as_deref(), Some("O Romeo,\nRomeo!"));
    }
}
