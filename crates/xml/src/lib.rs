//! Bytes to XML elements and back, knowing nothing of XMPP.
//!
//! - [`Scanner`] reads bytes as they arrive and yields whole [`Frame`]s: the text of an element as
//!   it came, with an [`Index`] of its start tag and its children. It proves well-formedness, in
//!   XML and in namespaces, and refuses what RFC 6120 §11.1 refuses.
//! - [`Tree`] is one element read through, for payloads that somebody wants to understand.
//! - [`Writer`] is the way out: it escapes, and declares namespaces where they change.
//!
//! All three work in loops, never by recursion: the depth of what a peer sends costs no stack.
//!
//! ```
//! use verona_xml::{Event, Limits, Scanner, Writer};
//!
//! let mut scanner = Scanner::elements(Limits::NONE, "jabber:client");
//! let mut input = &b"<message to='juliet@capulet.lit'><body>Art thou not Romeo?</body></mess"[..];
//! assert!(scanner.next(&mut input)?.is_none());
//! input = b"age>";
//! let Some(Event::Element(message)) = scanner.next(&mut input)? else { panic!() };
//! assert_eq!(message.attr("to").as_deref(), Some("juliet@capulet.lit"));
//!
//! let body = message.child("body", "jabber:client").expect("the one we sent").tree()?;
//! let mut writer = Writer::new("jabber:client");
//! writer.start("message", "jabber:client").attr("type", "chat");
//! body.root().write(&mut writer);
//! assert_eq!(writer.finish(), "<message type='chat'><body>Art thou not Romeo?</body></message>");
//! # Ok::<_, verona_xml::ScanError>(())
//! ```

mod chars;
mod declaration;
mod error;
mod escape;
mod frame;
mod index;
mod limits;
mod machine;
mod scanner;
mod scope;
mod sink;
mod tag;
mod tree;
mod work;
mod writer;

pub use chars::is_name;
pub use error::ScanError;
pub use escape::{escape_attr, escape_text};
pub use frame::{Attr, Child, Declaration, Frame};
pub use index::Index;
pub use limits::Limits;
pub use scanner::{Event, Scanner};
pub use scope::NS_XML;
pub use tree::{Element, Node, Tree, TreeAttr};
pub use writer::Writer;
