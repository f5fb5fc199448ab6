//! Any text as an address: it has one normal form, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/proof/jid.rs"]
mod jid;

fuzz_target!(|text: &str| {
    jid::everything(text);
});
