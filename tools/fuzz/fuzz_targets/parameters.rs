//! Parameters of paths, queries, and headers: each round-trips, or is rejected with a reason.
#![no_main]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../api-gateway/tests/it/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::parameter(text));
