//! The checks are checked: a sound record passes, and each way of doctoring it is found out by the right invariant.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod doctored;
mod story;
