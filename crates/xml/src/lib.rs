//! Bytes to XML elements and back, knowing nothing of XMPP.
//!
//! - [`Scanner`] reads bytes as they arrive and yields whole [`Frame`]s: the text of an element as
//!   it came, with an [`Index`] of its start tag and its children. It proves well-formedness, in
//!   XML and in namespaces, and refuses what RFC 6120 §11.1 refuses.
//! - [`Tree`] is one element read through, for payloads that somebody wants to understand.
//! - [`Writer`] is the way out: it escapes, and declares namespaces where they change.
//!
//! All three work in loops, never by recursion: the depth of what a peer sends costs no stack.

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
