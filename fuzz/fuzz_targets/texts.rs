//! Ids and texts of accounts: what is taken reads the same again and holds no number of a card.
#![no_main]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../contracts/tests/it/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::text(text));
