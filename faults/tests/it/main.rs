//! The checks are checked: a sound record passes, and each way of doctoring it is found out by the right invariant. And what
//! breaks a process breaks it as it is meant to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod clock;
mod doctored;
mod story;
