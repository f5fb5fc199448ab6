//! Result sets in pages (XEP-0059): what is asked for, and what is said about a page.

use std::borrow::Cow;
use std::ops::Range;

use verona_xml::{Element, Writer};

use crate::error::{Condition, StanzaError};
use crate::ns;

/// Which part of a result set is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// How many items at most; none: as many as the service likes to give.
    pub max: Option<u32>,
    /// Where the page lies.
    pub page: Page,
}

/// Where a page lies in the result set. The ids are those of a former page: opaque to who asks,
/// and to be checked by who gave them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Page {
    /// At the beginning (XEP-0059 §2.1).
    #[default]
    First,
    /// Right behind this item (XEP-0059 §2.2).
    After(Box<str>),
    /// Right before this item (XEP-0059 §2.3).
    Before(Box<str>),
    /// At the end (XEP-0059 §2.5).
    Last,
    /// From this item on, counted from 0 (XEP-0059 §2.6).
    Index(u32),
}

impl Request {
    /// Reads the `<set/>` among the children of a query; without one, all is asked for.
    pub fn find(query: Element<'_>) -> Result<Option<Self>, StanzaError> {
        query.child("set", ns::RSM).map(Self::read).transpose()
    }

    /// Reads a `<set/>`.
    pub fn read(set: Element<'_>) -> Result<Self, StanzaError> {
        let text = |name| set.child(name, ns::RSM).map(|child| child.text());
        let max = text("max").map(|max| number(&max)).transpose()?;
        // XEP-0059 §2.2: without a place the page is the first one. An empty `after` is no place.
        let after = text("after").filter(|after| !after.is_empty());
        let page = match (after, text("before"), text("index")) {
            (None, None, None) => Page::First,
            (Some(after), None, None) => Page::After(after.into()),
            (None, Some(before), None) if before.is_empty() => Page::Last,
            (None, Some(before), None) => Page::Before(before.into()),
            (None, None, Some(index)) => Page::Index(number(&index)?),
            _ => return Err(bad("more than one place for a page")),
        };
        Ok(Self { max, page })
    }

    /// Writes the `<set/>`.
    pub fn write(&self, writer: &mut Writer) {
        writer.start("set", ns::RSM);
        if let Some(max) = self.max {
            leaf(writer, "max", &max.to_string());
        }
        match &self.page {
            Page::First => {}
            Page::After(id) => leaf(writer, "after", id),
            Page::Before(id) => leaf(writer, "before", id),
            Page::Last => leaf(writer, "before", ""),
            Page::Index(index) => leaf(writer, "index", &index.to_string()),
        }
        writer.end();
    }

    /// The page of a list in memory: `count` items, of which no answer holds more than `limit`.
    ///
    /// `position` finds an item by its id; if it cannot, the answer is `item-not-found` (XEP-0059
    /// §2.4). An index behind the end gives an empty page (XEP-0059 §2.6).
    pub fn range(
        &self,
        count: usize,
        limit: usize,
        position: impl FnOnce(&str) -> Option<usize>,
    ) -> Result<Range<usize>, StanzaError> {
        let max = self.max.and_then(|max| usize::try_from(max).ok()).unwrap_or(limit).min(limit);
        let find = |id| position(id).ok_or(Condition::ItemNotFound);
        let from = |start: usize| {
            let start = start.min(count);
            start..start.saturating_add(max).min(count)
        };
        let until = |end: usize| {
            let end = end.min(count);
            end.saturating_sub(max)..end
        };
        Ok(match &self.page {
            Page::First => from(0),
            Page::After(id) => from(find(id)?.saturating_add(1)),
            Page::Before(id) => until(find(id)?),
            Page::Last => until(count),
            Page::Index(index) => from(usize::try_from(*index).unwrap_or(count)),
        })
    }
}

/// What is said about a page beside its items.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Response<'a> {
    /// The ids of the first and the last item; none on an empty page (XEP-0059 §2.2).
    pub ends: Option<(Cow<'a, str>, Cow<'a, str>)>,
    /// How many items precede the page.
    pub index: Option<u64>,
    /// How many items the whole set has.
    pub count: Option<u64>,
}

impl<'a> Response<'a> {
    /// Writes the `<set/>`.
    pub fn write(&self, writer: &mut Writer) {
        writer.start("set", ns::RSM);
        if let Some((first, last)) = &self.ends {
            writer.start("first", ns::RSM);
            if let Some(index) = self.index {
                writer.attr("index", &index.to_string());
            }
            writer.text(first).end();
            leaf(writer, "last", last);
        }
        if let Some(count) = self.count {
            leaf(writer, "count", &count.to_string());
        }
        writer.end();
    }

    /// Reads the `<set/>` of an answer, as far as it makes sense.
    pub fn read(set: Element<'a>) -> Self {
        let child = |name| set.child(name, ns::RSM);
        let first = child("first");
        let ends = first.zip(child("last")).map(|(first, last)| (first.text(), last.text()));
        let index = first.and_then(|first| first.attr("index")?.trim().parse().ok());
        let count = child("count").and_then(|count| count.text().trim().parse().ok());
        Self { ends, index, count }
    }
}

fn leaf(writer: &mut Writer, name: &str, text: &str) {
    writer.start(name, ns::RSM).text(text).end();
}

/// A number that is not negative; one beyond 32 bits asks for no more than the highest.
fn number(text: &str) -> Result<u32, StanzaError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("not a number"));
    }
    Ok(text.parse().unwrap_or(u32::MAX))
}

fn bad(text: &'static str) -> StanzaError {
    StanzaError::new(Condition::BadRequest).text(text)
}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::testing::{LIMITS, Noise};

    fn read(content: &str) -> Result<Request, StanzaError> {
        let text = format!("<set xmlns='{}'>{content}</set>", ns::RSM);
        Request::read(Tree::parse(&text, "", LIMITS).unwrap().root())
    }

    #[test]
    fn each_kind_of_page_is_read_and_written() {
        for (content, max, page) in [
            ("", None, Page::First),
            ("<max>10</max>", Some(10), Page::First),
            ("<max>0</max>", Some(0), Page::First),
            ("<max>99999999999</max>", Some(u32::MAX), Page::First),
            ("<max>10</max><after>a&amp;b</after>", Some(10), Page::After("a&b".into())),
            ("<max>10</max><before>ab</before>", Some(10), Page::Before("ab".into())),
            ("<max>10</max><before/>", Some(10), Page::Last),
            ("<max>10</max><index>371</index>", Some(10), Page::Index(371)),
            ("<max> 10 </max><after/>", Some(10), Page::First),
        ] {
            let request = Request { max, page };
            assert_eq!(read(content).as_ref(), Ok(&request), "{content}");
            let mut writer = Writer::new("");
            request.write(&mut writer);
            let tree = Tree::parse(&writer.finish(), "", LIMITS).unwrap();
            assert_eq!(Request::read(tree.root()), Ok(request), "{content}");
        }
    }

    #[test]
    fn request_that_makes_no_sense_is_a_bad_request() {
        for content in [
            "<max/>",
            "<max>-1</max>",
            "<max>ten</max>",
            "<max>+1</max>",
            "<index/>",
            "<after>a</after><before>b</before>",
            "<before/><index>1</index>",
        ] {
            let condition = read(content).map_err(|error| error.condition);
            assert_eq!(condition, Err(Condition::BadRequest), "{content}");
        }
    }

    #[test]
    fn set_is_found_only_in_its_namespace() {
        let query = |text: &str| Request::find(Tree::parse(text, "", LIMITS).unwrap().root());
        assert_eq!(query("<query><set><max>1</max></set></query>"), Ok(None));
        let text = format!("<query><set xmlns='{}'><max>1</max></set></query>", ns::RSM);
        assert_eq!(query(&text), Ok(Some(Request { max: Some(1), page: Page::First })));
    }

    #[test]
    fn pages_of_a_list_join_without_gap_or_overlap() {
        let items = ["a", "b", "c", "d", "e"];
        let find = |id: &str| items.iter().position(|item| *item == id);
        let range = |max, page| Request { max, page }.range(items.len(), 3, find);
        assert_eq!(range(Some(2), Page::First), Ok(0..2));
        assert_eq!(range(Some(2), Page::After("b".into())), Ok(2..4));
        assert_eq!(range(Some(2), Page::After("d".into())), Ok(4..5));
        assert_eq!(range(Some(2), Page::After("e".into())), Ok(5..5));
        assert_eq!(range(Some(2), Page::Last), Ok(3..5));
        assert_eq!(range(Some(2), Page::Before("d".into())), Ok(1..3));
        assert_eq!(range(Some(2), Page::Before("b".into())), Ok(0..1));
        assert_eq!(range(Some(2), Page::Before("a".into())), Ok(0..0));
        assert_eq!(range(Some(2), Page::Index(4)), Ok(4..5));
        assert_eq!(range(Some(2), Page::Index(u32::MAX)), Ok(5..5));
        assert_eq!(range(Some(0), Page::First), Ok(0..0));
        assert_eq!(range(None, Page::First), Ok(0..3));
        assert_eq!(range(Some(9), Page::Last), Ok(2..5));
        let unknown = range(None, Page::After("x".into()));
        assert_eq!(unknown, Err(Condition::ItemNotFound.into()));
    }

    #[test]
    fn response_names_the_ends_of_the_page() {
        let page = Response {
            ends: Some(("stpeter@jabber.org".into(), "peterpan@neverland.lit".into())),
            index: Some(0),
            count: Some(800),
        };
        let empty = Response { count: Some(790), ..Response::default() };
        for (response, expected) in [
            (
                page,
                "<set xmlns='http://jabber.org/protocol/rsm'>\
                 <first index='0'>stpeter@jabber.org</first>\
                 <last>peterpan@neverland.lit</last><count>800</count></set>",
            ),
            (empty, "<set xmlns='http://jabber.org/protocol/rsm'><count>790</count></set>"),
        ] {
            let mut writer = Writer::new("");
            response.write(&mut writer);
            let text = writer.finish();
            assert_eq!(text, expected);
            let tree = Tree::parse(&text, "", LIMITS).unwrap();
            assert_eq!(Response::read(tree.root()), response);
        }
    }

    #[test]
    fn no_set_makes_a_reader_panic() {
        let mut noise = Noise::new(7);
        let seed = "<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>a</after>\
            <first index='0'>b</first><last>c</last><count>8</count></set>";
        for _ in 0..5_000 {
            let text = noise.mutated(seed);
            let Ok(tree) = Tree::parse(&text, "", LIMITS) else { continue };
            let _ = Response::read(tree.root());
            if let Ok(request) = Request::read(tree.root()) {
                let range = request.range(5, 3, |_| Some(usize::MAX)).unwrap();
                assert!(range.start <= range.end && range.end <= 5, "{text}");
            }
        }
    }
}
