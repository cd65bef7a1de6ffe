//! Ids and texts of accounts: each valid one round-trips and contains no card number.
#![no_main]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../contracts/tests/it/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::text(text));
