//! XEP-0313 §4: what is asked of an archive, with the words of XEP-0431.

use std::sync::Arc;

use verona_core::store::shape::Seq;
use verona_core::store::words::Words;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::form::{Field, FieldType, Filled, Form, FormType, Validation};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::MAM as NS;
use verona_xmpp::rsm;

/// Ids that may be asked for at once.
const IDS_MAX: usize = 250;

/// The fields of the form (§4.1).
const FIELDS: [&str; 9] =
    [FORM_TYPE, "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat", TEXT];

/// XEP-0431 §3.1: what the messages say.
const TEXT: &str = "{urn:xmpp:fulltext:0}fulltext";

const FORM_TYPE: &str = "FORM_TYPE";

/// A query as it was asked. Ids are not looked up yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    /// By which the asker knows the results (§4).
    pub queryid: Option<Box<str>>,
    /// Only messages from or to this JID (§4.1.1).
    pub with: Option<Jid>,
    /// Only messages behind this place: `start` (§4.1.2).
    pub after: Option<Seq>,
    /// Only messages before this place: `end`.
    pub before: Option<Seq>,
    /// Only messages behind this one (§4.1.3).
    pub after_id: Option<Box<str>>,
    /// Only messages before this one.
    pub before_id: Option<Box<str>>,
    /// Only these messages.
    pub ids: Option<Vec<Box<str>>>,
    /// Only messages that say these words (XEP-0431 §2.2).
    pub words: Option<Arc<Words>>,
    /// Which page of them (§4.3).
    pub page: rsm::Request,
    /// The page is sent from its end (§4.3.4).
    pub flip: bool,
}

impl Query {
    /// Reads `<query/>`.
    pub fn read(query: Element<'_>) -> Result<Self, StanzaError> {
        if query.attr("node").is_some() {
            // §6.1.3: nodes are for archives of XEP-0442, which an account's is not.
            return Err(StanzaError::new(Condition::FeatureNotImplemented));
        }
        let mut read = Self {
            queryid: query.attr("queryid").map(Into::into),
            page: rsm::Request::find(query)?.unwrap_or_default(),
            flip: query.child("flip-page", NS).is_some(),
            ..Self::default()
        };
        if let Some(form) = Filled::find(query)? {
            read.filter(form)?;
        }
        Ok(read)
    }

    fn filter(&mut self, form: Filled<'_>) -> Result<(), StanzaError> {
        if form.kind() != FormType::Submit || form.form_type().as_deref() != Some(NS) {
            return Err(StanzaError::new(Condition::BadRequest).text("not a form for an archive"));
        }
        for field in form.fields() {
            if !field.var().is_some_and(|var| FIELDS.contains(&var)) {
                // §4.1.5
                let error = StanzaError::new(Condition::FeatureNotImplemented);
                return Err(error.text("the form has a field that is not known here"));
            }
        }
        self.with = form.jid("with")?;
        // §4.1.2: both ends belong to it.
        self.after = form.moment("start")?.map(|micros| seq(micros).saturating_sub(1));
        self.before = form.moment("end")?.map(|micros| seq(micros).saturating_add(1));
        let id = |var| form.value(var).filter(|id| !id.is_empty()).map(Into::into);
        self.after_id = id("after-id");
        self.before_id = id("before-id");
        if form.has("ids") {
            let ids: Vec<Box<str>> =
                form.values("ids").take(IDS_MAX.saturating_add(1)).map(Into::into).collect();
            if ids.len() > IDS_MAX {
                return Err(StanzaError::new(Condition::PolicyViolation).text("too many ids"));
            }
            self.ids = Some(ids);
        }
        // XEP-0431 §2.2: an empty field asks for nothing.
        if let Some(text) = form.value(TEXT).filter(|text| !text.trim().is_empty()) {
            let words = Words::of(&text).ok_or_else(|| {
                StanzaError::new(Condition::NotAcceptable).text("there is no word to look for")
            })?;
            self.words = Some(Arc::new(words));
        }
        // §4.1.4: there are none to include.
        form.boolean("include-groupchat")?;
        Ok(())
    }

    /// Whether a client that asks so reads all that came while it was away.
    pub fn catches_up(&self) -> bool {
        self.with.is_none()
            && self.ids.is_none()
            && self.words.is_none()
            && self.before.is_none()
            && self.before_id.is_none()
    }
}

/// The fields that a query may have (§4.1.5).
pub fn write_fields(writer: &mut Writer) {
    Form::new(FormType::Form, NS)
        .field(Field::new(FieldType::JidSingle, "with"))
        .field(Field::new(FieldType::TextSingle, "start"))
        .field(Field::new(FieldType::TextSingle, "end"))
        .field(Field::new(FieldType::TextSingle, "before-id"))
        .field(Field::new(FieldType::TextSingle, "after-id"))
        .field(Field::new(FieldType::ListMulti, "ids").datatype("xs:string", Validation::Open))
        .field(Field::new(FieldType::Boolean, "include-groupchat"))
        .field(Field::new(FieldType::TextSingle, TEXT))
        .write(writer);
}

/// The place in a log that a moment stands for.
fn seq(micros: i64) -> Seq {
    Seq::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use verona_xml::{Limits, Tree};

    use super::*;

    fn read(attributes: &str, fields: &[(&str, &str)]) -> Result<Query, Condition> {
        let mut text =
            format!("<query xmlns='{NS}'{attributes}><x xmlns='jabber:x:data' type='submit'>");
        for (var, value) in fields {
            text.push_str(&format!("<field var='{var}'><value>{value}</value></field>"));
        }
        text.push_str("</x></query>");
        let tree = Tree::parse(&text, "", Limits::NONE).unwrap();
        Query::read(tree.root()).map_err(|error| error.condition)
    }

    #[test]
    fn both_ends_of_a_timespan_belong_to_it() {
        let about = ("FORM_TYPE", NS);
        let start = ("start", "1970-01-01T00:00:01Z");
        let end = ("end", "1970-01-01T00:00:02Z");
        let query = read("", &[about, start, end]).unwrap();
        assert_eq!((query.after, query.before), (Some(999_999), Some(2_000_001)));
    }

    #[test]
    fn what_makes_no_query_is_refused() {
        let about = ("FORM_TYPE", NS);
        for (attributes, fields, condition) in [
            ("", &[][..], Condition::BadRequest),
            ("", &[("FORM_TYPE", "urn:xmpp:mam:1")], Condition::BadRequest),
            ("", &[about, ("mood", "lonely")], Condition::FeatureNotImplemented),
            ("", &[about, ("with", "@")], Condition::NotAcceptable),
            ("", &[about, ("start", "at dawn")], Condition::NotAcceptable),
            (" node='balcony'", &[about], Condition::FeatureNotImplemented),
        ] {
            assert_eq!(read(attributes, fields), Err(condition), "{attributes} {fields:?}");
        }
    }
}
