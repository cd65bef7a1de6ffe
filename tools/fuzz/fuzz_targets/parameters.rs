//! Parameters of paths, queries, and headers: each round-trips, or is rejected with a reason.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../api-gateway/tests/it/checks.rs"]
mod checks;

fuzz::target!(|text: &str| checks::parameter(text));
