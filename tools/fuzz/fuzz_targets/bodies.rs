//! Request bodies: each yields a command that its service can read, or a problem with the invalid place.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "each target checks a part")]

#[path = "../../../api-gateway/tests/it/checks.rs"]
mod checks;

fuzz::target!(|body: &[u8]| checks::body(body));
