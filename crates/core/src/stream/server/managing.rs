//! XEP-0198 between servers: the commands, and what the initiating entity asks for.

use verona_xml::{Element, Frame, Writer};
use verona_xmpp::ns;

use crate::stream::management::Managed;

/// Asks for management and resumption (§3). Stanzas are counted from here on, and need not wait for
/// the answer (§4).
pub const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

/// A command of stream management between servers.
#[derive(Clone, Debug)]
pub enum Command {
    /// The peer, which opened the stream, wants it managed, and to be able to resume it for so many
    /// seconds; 0: not at all.
    Enable(u32),
    /// It will be managed, as this server asked.
    Enabled {
        /// The id under which it may be resumed; None: it may not.
        id: Option<Box<str>>,
        /// For how many seconds.
        secs: u32,
    },
    /// It will not be managed, or not be resumed; with the count of what was handled, if known.
    Failed(Option<u32>),
    /// The peer wants to know how much was handled.
    Request,
    /// How much the peer has handled; None: it cannot be read.
    Answer(Option<u32>),
    /// The peer, which opened the stream, resumes another; None: that cannot be read.
    Resume(Option<(Box<str>, u32)>),
    /// Another stream is resumed, as this server asked.
    Resumed(Option<(Box<str>, u32)>),
    /// None of these.
    Unknown,
}

impl Command {
    /// Reads an element of the namespace.
    pub fn read(frame: &Frame<'_>) -> Self {
        Self::of(frame.name(), |name| frame.attr(name))
    }

    /// Reads an element of the namespace.
    pub fn read_tree(element: Element<'_>) -> Self {
        Self::of(element.name(), |name| element.attr(name))
    }

    fn of<V: AsRef<str>>(name: &str, attr: impl Fn(&str) -> Option<V>) -> Self {
        let text = |name| attr(name).map(|value| Box::<str>::from(value.as_ref()));
        let number = |name| attr(name).and_then(|value| value.as_ref().parse().ok());
        let former = || Some((text("previd")?, number("h")?));
        // §3: an XML Schema boolean.
        let resume = || attr("resume").is_some_and(|value| matches!(value.as_ref(), "true" | "1"));
        let secs = || match resume() {
            // Without a wish, as long as the other side likes.
            true => number("max").unwrap_or(u32::MAX),
            false => 0,
        };
        match name {
            "enable" => Self::Enable(secs()),
            "enabled" => Self::Enabled {
                id: text("id").filter(|id| secs() > 0 && !id.is_empty()),
                secs: secs(),
            },
            "failed" => Self::Failed(number("h")),
            "r" => Self::Request,
            "a" => Self::Answer(number("h")),
            "resume" => Self::Resume(former()),
            "resumed" => Self::Resumed(former()),
            _ => Self::Unknown,
        }
    }
}

/// Asks for the resumption of a stream (§5).
pub fn resume(managed: &Managed) -> String {
    let mut writer = Writer::new(ns::SERVER);
    writer.start("resume", ns::SM).attr("previd", &managed.id);
    writer.attr("h", &managed.received.to_string()).end();
    writer.finish()
}
