//! Tests of the checks: a sound record passes, and each doctored one violates the right invariant. Also tests of the
//! faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod clock;
mod doctored;
mod sound_record;
