//! Where the parts of an element stand in its text.

use smallvec::SmallVec;

use crate::chars::prove;
use crate::error::ScanError;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::scope::{Namespace, Outer};
use crate::sink::{Begin, Sink};
use crate::tag::{AttrAt, Name, offset};

/// An index says where the name, the attributes and the first-level children of an element stand
/// in its text. It is of use only together with that text: see [`Frame`](crate::Frame).
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub(crate) name: Name,
    pub(crate) namespace: Namespace,
    /// Behind the `>` of the start tag.
    pub(crate) tag_end: u32,
    content_end: u32,
    pub(crate) empty: bool,
    pub(crate) uses_outer_prefix: bool,
    pub(crate) uses_outer_default: bool,
    plain: bool,
    wide_names: bool,
    /// Namespace declarations included.
    pub(crate) attrs: SmallVec<[AttrAt; 8]>,
    pub(crate) children: SmallVec<[ChildAt; 4]>,
    /// Namespaces that are written with references, as they mean.
    pub(crate) kept: Vec<Box<str>>,
}

/// Where a first-level child stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ChildAt {
    pub start: u32,
    pub end: u32,
    pub name: Name,
    pub namespace: Namespace,
}

impl Index {
    /// Makes the index of one element, without white space around it, where `default_ns` is the
    /// default namespace.
    pub fn of(text: &str, default_ns: &str, limits: Limits) -> Result<Self, ScanError> {
        if text.len() > limits.bytes() {
            return Err(ScanError::TooLarge);
        }
        prove(text.as_bytes())?;
        let mut machine = Machine::default();
        let mut index = Self::default();
        let outer = Outer { default: default_ns, bindings: &[], lang: "" };
        machine.whole(text, &limits, outer, &mut index)?;
        index.keep(machine.take_kept());
        Ok(index)
    }

    /// The length of the start tag.
    pub fn start_tag_len(&self) -> usize {
        self.tag_end as usize
    }

    /// The offset at which the content ends and the end tag begins; for an empty-element tag, the
    /// length of that.
    pub fn content_end(&self) -> usize {
        self.content_end as usize
    }

    /// Whether the element was written as an empty-element tag, `<a/>`.
    pub fn is_empty_tag(&self) -> bool {
        self.empty
    }

    /// How many first-level children the element has.
    pub fn children_len(&self) -> usize {
        self.children.len()
    }

    /// Whether the element is written in the common way: neither it nor a first-level child has a
    /// prefix, it declares none, and none from outside is used within. Then its start tag can be
    /// replaced and its children moved between elements of the same default namespace, as text.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether a name of an element or attribute anywhere inside has characters beyond ASCII. Such
    /// names are well-formed, but parsers that follow an edition of XML 1.0 before the fifth refuse
    /// many of them: forwarded, they may cost a peer its stream.
    pub fn has_wide_names(&self) -> bool {
        self.wide_names
    }

    /// The name with its prefix.
    pub(crate) fn qualified_name<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.name.start as usize..self.name.end as usize).unwrap_or_default()
    }

    /// Takes what namespaces the machine has kept.
    pub(crate) fn keep(&mut self, kept: Vec<Box<str>>) {
        self.kept = kept;
    }

    pub(crate) fn clear(&mut self) {
        self.attrs.clear();
        self.children.clear();
        self.uses_outer_prefix = false;
        self.uses_outer_default = false;
        self.wide_names = false;
        if !self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }

    /// Bytes of memory held beyond the index itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let attrs = self.attrs.capacity().saturating_mul(size_of::<AttrAt>());
        let children = self.children.capacity().saturating_mul(size_of::<ChildAt>());
        attrs.saturating_add(children)
    }

    #[inline]
    fn start_outermost(&mut self, begin: &Begin<'_>) {
        self.name = begin.tag.name;
        self.namespace = begin.namespace;
        self.tag_end = offset(begin.tag.end);
        self.content_end = self.tag_end;
        self.empty = begin.tag.empty;
        self.attrs.extend_from_slice(&begin.tag.attrs);
        self.plain = !begin.tag.name.is_prefixed() && begin.scopes.bound().is_empty();
    }
}

impl Sink for Index {
    #[inline]
    fn start(&mut self, begin: &Begin<'_>) {
        self.uses_outer_prefix |= begin.uses_outer_prefix;
        self.uses_outer_default |= begin.namespace == Namespace::Outer(0);
        self.wide_names |= begin.tag.wide;
        match begin.depth {
            0 => self.start_outermost(begin),
            1 => {
                self.plain &= !begin.tag.name.is_prefixed();
                self.children.push(ChildAt {
                    start: offset(begin.at),
                    end: 0,
                    name: begin.tag.name,
                    namespace: begin.namespace,
                });
            }
            _ => {}
        }
        self.plain &= !begin.uses_outer_prefix;
    }

    fn text(&mut self, _: &[u8], _: usize, _: usize) {}

    fn cdata(&mut self, _: &[u8], _: usize, _: usize) {}

    #[inline]
    fn end(&mut self, depth: usize, inner: usize, end: usize) {
        match depth {
            0 => self.content_end = offset(inner),
            1 => {
                if let Some(child) = self.children.last_mut() {
                    child.end = offset(end);
                }
            }
            _ => {}
        }
    }
}
