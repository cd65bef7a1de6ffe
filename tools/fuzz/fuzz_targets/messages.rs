//! Bodies of messages and queries: each round-trips, or is rejected.
#![no_main]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../contracts/tests/it/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|body: &[u8]| checks::body(body));
