//! What the machine tells while it reads, and to whom.

use crate::error::ScanError;
use crate::scope::{Namespace, Outer, Scopes};
use crate::tag::StartTag;

/// An error, and how many bytes had to be seen to know it. What lies before may be no UTF-8 and no
/// XML characters yet; that would be the earlier error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub error: ScanError,
    pub at: usize,
}

/// What the machine tells while it reads.
pub(crate) trait Sink {
    /// An element begins; `depth` is zero for the outermost.
    fn start(&mut self, begin: &Begin<'_>);
    /// Text as written between tags, a part of it or all.
    fn text(&mut self, bytes: &[u8], start: usize, end: usize);
    /// The inside of a CDATA section.
    fn cdata(&mut self, bytes: &[u8], start: usize, end: usize);
    /// An element ended: its content before `inner`, its end tag before `end`; `depth` as at its
    /// start.
    fn end(&mut self, depth: usize, inner: usize, end: usize);
}

/// The beginning of an element.
#[derive(Clone, Copy)]
pub(crate) struct Begin<'a> {
    pub bytes: &'a [u8],
    pub depth: usize,
    /// The offset of its `<`.
    pub at: usize,
    pub tag: &'a StartTag,
    pub namespace: Namespace,
    pub scopes: &'a Scopes,
    pub outer: Outer<'a>,
    /// Its name or an attribute uses a prefix that is bound outside.
    pub uses_outer_prefix: bool,
}
