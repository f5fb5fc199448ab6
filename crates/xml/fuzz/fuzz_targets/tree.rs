//! Any text as one element: what is read can be written, and is read the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verona_xml::{Limits, Tree};

fuzz_target!(|text: &str| {
    let Ok(tree) = Tree::parse(text, "jabber:client", Limits::NONE) else { return };
    let written = tree.root().to_text("jabber:client");
    let again = Tree::parse(&written, "jabber:client", Limits::NONE);
    assert_eq!(again.expect("well-formed").root().to_text("jabber:client"), written);
});
