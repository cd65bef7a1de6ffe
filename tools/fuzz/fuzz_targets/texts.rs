//! Ids and texts of accounts: each valid one round-trips and contains no card number.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../contracts/tests/it/checks.rs"]
mod checks;

fuzz::target!(|text: &str| checks::text(text));
