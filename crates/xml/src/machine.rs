//! Reads one element, token by token, and proves it.
//!
//! A token is a tag, a reference, or a stretch of text. When one is cut, the machine remembers
//! where it began and how far its end was looked for, so that each byte is searched once however
//! the bytes arrive. The bytes handed in are always those from the first `<` of the element on.

use memchr::{memchr, memchr2, memchr3};

use crate::chars::{SPACE, class};
use crate::error::ScanError;
use crate::escape::reference_end;
use crate::limits::Limits;
use crate::scope::{Namespace, Outer, Scopes};
use crate::sink::{Begin, Fault, Sink};
use crate::tag::{self, AttrAt, Name, StartTag, Stop};

#[derive(Clone, Copy, Debug)]
struct Open {
    name: Name,
    default: Namespace,
    /// How many prefixes were bound before it.
    mark: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Mode {
    Cdata,
    Reference,
    #[default]
    Tag,
    Text,
}

/// How reading went on.
enum Progress {
    /// One more token is read.
    On,
    /// The rest of the token is missing.
    Cut,
    /// The element ends here.
    Done(usize),
}

/// The state of reading one element.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    open: Vec<Open>,
    scopes: Scopes,
    tag: StartTag,
    mode: Mode,
    /// Where the token begins that is read now.
    token: usize,
    /// How far its end was looked for.
    searched: usize,
    /// The quote that was open there; zero for none.
    quote: u8,
    /// Where the text or CDATA section begins.
    run: usize,
    elements: u32,
}

impl Machine {
    pub fn clear(&mut self) {
        self.open.clear();
        self.scopes.clear();
        self.mode = Mode::Tag;
        self.token = 0;
        self.searched = 0;
        self.quote = 0;
        self.elements = 0;
    }

    /// Bytes of memory held beyond the machine itself.
    pub fn heap_bytes(&self) -> usize {
        let open = self.open.capacity().saturating_mul(size_of::<Open>());
        let attrs = self.tag.attrs.capacity().saturating_mul(size_of::<AttrAt>());
        open.saturating_add(attrs)
    }

    pub fn take_kept(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.scopes.kept)
    }

    /// The default namespace of the innermost open element.
    pub fn default_namespace(&self) -> Namespace {
        self.open.last().map_or(Namespace::Outer(0), |open| open.default)
    }

    /// Reads on to the end of the element and gives the place behind it. `Ok(None)`: more bytes
    /// are needed, to be handed in together with those that were.
    pub fn element(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        outer: Outer<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<usize>, Fault> {
        loop {
            let progress = match self.mode {
                Mode::Text => self.text(bytes, sink)?,
                Mode::Tag => self.tag(bytes, limits, outer, sink)?,
                Mode::Reference => self.reference(bytes)?,
                Mode::Cdata => self.cdata(bytes, sink),
            };
            match progress {
                Progress::On => {}
                Progress::Cut => return Ok(None),
                Progress::Done(end) => return Ok(Some(end)),
            }
        }
    }

    /// Reads text that is one element and nothing else.
    pub fn whole(
        &mut self,
        text: &str,
        limits: &Limits,
        outer: Outer<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ScanError> {
        if !text.starts_with('<') {
            return Err(ScanError::NotWellFormed);
        }
        let end =
            self.element(text.as_bytes(), limits, outer, sink).map_err(|fault| fault.error)?;
        if end == Some(text.len()) { Ok(()) } else { Err(ScanError::NotWellFormed) }
    }

    /// Reads only a start tag and leaves its element open.
    pub fn root(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<Option<usize>, Fault> {
        let nothing = Outer { default: "", bindings: &[], lang: "" };
        if !self.read_start(bytes, limits)? {
            return Ok(None);
        }
        self.begin(bytes, limits, nothing, sink).map_err(|e| fault(e, self.tag.end))?;
        Ok(Some(self.tag.end))
    }

    /// Reads an end tag that stands alone.
    pub fn end_of(&mut self, bytes: &[u8], name: &[u8]) -> Result<Option<usize>, Fault> {
        self.read_end(bytes, name)
    }

    /// Finds the end of what begins with `<?`, behind its `>`.
    pub fn end_of_declaration(&mut self, bytes: &[u8]) -> Option<usize> {
        let rest = bytes.get(self.searched..).unwrap_or_default();
        let end = memchr(b'>', rest).map(|n| n.saturating_add(self.searched).saturating_add(1));
        self.searched = bytes.len();
        end
    }

    fn text(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Progress, Fault> {
        let mut i = self.token;
        loop {
            let rest = bytes.get(i..).unwrap_or_default();
            let found = match rest.first() {
                Some(b'<') => Some(0),
                _ => memchr3(b'<', b'&', b'>', rest),
            };
            let Some(found) = found else {
                self.token = bytes.len();
                return Ok(Progress::Cut);
            };
            let at = i.saturating_add(found);
            i = at.saturating_add(1);
            match rest.get(found) {
                Some(b'<') => {
                    if at > self.run {
                        sink.text(bytes, self.run, at);
                    }
                    self.begin_token(Mode::Tag, at);
                    return Ok(Progress::On);
                }
                Some(b'&') => {
                    self.begin_token(Mode::Reference, at);
                    return Ok(Progress::On);
                }
                // XML 1.0 §2.4. No tag ends with `]`, so both brackets are of this text.
                _ if bytes.get(..at).is_some_and(|before| before.ends_with(b"]]")) => {
                    return Err(fault(ScanError::NotWellFormed, i));
                }
                _ => {}
            }
        }
    }

    fn begin_token(&mut self, mode: Mode, at: usize) {
        self.mode = mode;
        self.token = at;
        self.searched = at;
        self.quote = 0;
    }

    fn begin_text(&mut self, at: usize) {
        self.mode = Mode::Text;
        self.token = at;
        self.run = at;
    }

    fn reference(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let from = self.searched.max(self.token.saturating_add(1));
        match reference_end(bytes, self.token, from).map_err(|(e, at)| fault(e, at))? {
            Some(end) => {
                self.mode = Mode::Text;
                self.token = end;
                Ok(Progress::On)
            }
            None => {
                self.searched = bytes.len();
                Ok(Progress::Cut)
            }
        }
    }

    fn cdata(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Progress {
        loop {
            let rest = bytes.get(self.token..).unwrap_or_default();
            let Some(found) = memchr(b'>', rest) else {
                self.token = bytes.len();
                return Progress::Cut;
            };
            let at = self.token.saturating_add(found);
            self.token = at.saturating_add(1);
            if bytes.get(self.run..at).is_some_and(|inside| inside.ends_with(b"]]")) {
                sink.cdata(bytes, self.run, at.saturating_sub(2));
                self.begin_text(self.token);
                return Progress::On;
            }
        }
    }

    #[inline]
    fn tag(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        outer: Outer<'_>,
        sink: &mut impl Sink,
    ) -> Result<Progress, Fault> {
        let second = self.token.saturating_add(1);
        match bytes.get(second) {
            None => Ok(Progress::Cut),
            Some(b'/') => self.end_tag(bytes, sink),
            Some(b'!') => self.begin_cdata(bytes),
            // RFC 6120 §11.1: no processing instructions. A second XML declaration is one.
            Some(b'?') => Err(fault(ScanError::Restricted, second.saturating_add(1))),
            Some(_) => self.start_tag(bytes, limits, outer, sink),
        }
    }

    fn begin_cdata(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        const BEGIN: &[u8] = b"<![CDATA[";
        let there = bytes.get(self.token..).unwrap_or_default();
        let same = there.iter().zip(BEGIN).take_while(|(a, b)| a == b).count();
        let end = self.token.saturating_add(same);
        if same == BEGIN.len() && !self.open.is_empty() {
            self.mode = Mode::Cdata;
            self.token = end;
            self.run = end;
            return Ok(Progress::On);
        }
        if same == there.len() {
            return Ok(Progress::Cut);
        }
        if same == BEGIN.len() {
            return Err(fault(ScanError::Text, end));
        }
        // RFC 6120 §11.1: no comments and nothing of a DTD.
        Err(fault(ScanError::Restricted, end.saturating_add(1)))
    }

    #[inline]
    fn end_tag(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Progress, Fault> {
        let Some(&open) = self.open.last() else {
            return Err(fault(ScanError::NotWellFormed, self.token.saturating_add(2)));
        };
        match self.read_end(bytes, open.name.whole_in(bytes))? {
            Some(end) => Ok(self.finish(self.token, end, sink)),
            None => Ok(Progress::Cut),
        }
    }

    #[inline]
    fn read_end(&mut self, bytes: &[u8], name: &[u8]) -> Result<Option<usize>, Fault> {
        let inside = self.token.saturating_add(2);
        let behind = inside.saturating_add(name.len());
        if bytes.get(behind) == Some(&b'>') && bytes.get(inside..behind) == Some(name) {
            return Ok(Some(behind.saturating_add(1)));
        }
        let rest = bytes.get(self.searched.max(inside)..).unwrap_or_default();
        let Some(found) = memchr2(b'>', b'<', rest) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let at = self.searched.max(inside).saturating_add(found);
        let end = at.saturating_add(1);
        let written = bytes.get(inside..at).unwrap_or_default();
        let space = written.strip_prefix(name);
        let fine = space.is_some_and(|s| s.iter().all(|&b| class(b) & SPACE != 0));
        if fine && bytes.get(at) == Some(&b'>') {
            Ok(Some(end))
        } else {
            Err(fault(ScanError::NotWellFormed, end))
        }
    }

    #[inline]
    fn start_tag(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        outer: Outer<'_>,
        sink: &mut impl Sink,
    ) -> Result<Progress, Fault> {
        if !self.read_start(bytes, limits)? {
            return Ok(Progress::Cut);
        }
        let end = self.tag.end;
        self.begin(bytes, limits, outer, sink).map_err(|e| fault(e, end))?;
        if self.tag.empty {
            Ok(self.finish(end, end, sink))
        } else {
            self.begin_text(end);
            Ok(Progress::On)
        }
    }

    /// Reads a start tag at once if it is all there. If not, or if there is something wrong, its
    /// end is looked for first: so the same bytes give the same error, however they are cut.
    #[inline]
    fn read_start(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Fault> {
        if self.searched <= self.token
            && tag::read(bytes, self.token, limits.attributes_max, &mut self.tag).is_ok()
        {
            return Ok(true);
        }
        self.read_start_slowly(bytes, limits)
    }

    #[cold]
    fn read_start_slowly(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Fault> {
        let from = self.searched.max(self.token.saturating_add(1));
        let end = match tag::find_end(bytes, from, &mut self.quote) {
            Ok(Some(end)) => end,
            Ok(None) => {
                self.searched = bytes.len();
                return Ok(false);
            }
            Err(at) => return Err(fault(ScanError::NotWellFormed, at)),
        };
        match tag::read(bytes, self.token, limits.attributes_max, &mut self.tag) {
            Ok(()) => Ok(true),
            Err(Stop::Cut) => Err(fault(ScanError::NotWellFormed, end)),
            Err(Stop::Wrong(error)) => Err(fault(error, end)),
        }
    }

    /// Opens the element of the tag that was read.
    #[inline]
    fn begin(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        outer: Outer<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ScanError> {
        let depth = self.open.len();
        self.count(depth, limits)?;
        let mark = self.scopes.mark();
        let (default, has_prefixed) = self.declare(bytes, limits)?;
        let mut uses_outer_prefix = false;
        let mut namespace = default;
        if self.tag.name.is_prefixed() {
            let prefix = self.tag.name.prefix_in(bytes);
            namespace = self.scopes.resolve(prefix, bytes, outer).ok_or(ScanError::BadNamespace)?;
            uses_outer_prefix = matches!(namespace, Namespace::Outer(_));
        }
        if has_prefixed {
            uses_outer_prefix |= self.scopes.check_attributes(&self.tag.attrs, bytes, outer)?;
        }
        self.open.push(Open { name: self.tag.name, default, mark });
        sink.start(&Begin {
            bytes,
            depth,
            at: self.token,
            tag: &self.tag,
            namespace,
            scopes: &self.scopes,
            outer,
            uses_outer_prefix,
        });
        Ok(())
    }

    #[inline]
    fn count(&mut self, depth: usize, limits: &Limits) -> Result<(), ScanError> {
        if depth >= usize::from(limits.depth_max) {
            return Err(ScanError::TooDeep);
        }
        self.elements = self.elements.saturating_add(1);
        if self.elements > limits.elements_max {
            return Err(ScanError::TooManyElements);
        }
        Ok(())
    }

    /// Takes in what the tag declares; gives the default namespace and whether an attribute has a
    /// prefix.
    #[inline(always)]
    fn declare(&mut self, bytes: &[u8], limits: &Limits) -> Result<(Namespace, bool), ScanError> {
        let mut default = self.default_namespace();
        let mut has_prefixed = false;
        for attr in &self.tag.attrs {
            if attr.declares {
                default = self.scopes.declare(attr, bytes)?.unwrap_or(default);
            } else {
                has_prefixed |= attr.name.is_prefixed();
            }
        }
        if self.scopes.bound().len() > usize::from(limits.namespaces_max) {
            return Err(ScanError::TooManyNamespaces);
        }
        if tag::has_duplicate(bytes, &self.tag.attrs) {
            return Err(ScanError::NotWellFormed);
        }
        Ok((default, has_prefixed))
    }

    #[inline]
    fn finish(&mut self, inner: usize, end: usize, sink: &mut impl Sink) -> Progress {
        if let Some(open) = self.open.pop() {
            self.scopes.leave(open.mark);
        }
        sink.end(self.open.len(), inner, end);
        if self.open.is_empty() {
            return Progress::Done(end);
        }
        self.begin_text(end);
        Progress::On
    }
}

fn fault(error: ScanError, at: usize) -> Fault {
    Fault { error, at }
}
