//! Any bytes as a handshake: it ends, and nobody gets in by it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/proof/sasl.rs"]
mod sasl;

fuzz_target!(|bytes: &[u8]| {
    sasl::everything(bytes);
});
