//! Any bytes as a stream: the same however they are cut, and as rxml reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/proof/check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| {
    check::everything(bytes, bytes.len() as u64);
});
