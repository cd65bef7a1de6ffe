//! Bodies of messages and queries: each round-trips, or is rejected.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../contracts/tests/it/checks.rs"]
mod checks;

fuzz::target!(|body: &[u8]| checks::body(body));
