//! Headers of messages: a line with the subject, then one `name: value` per line. Each valid envelope round-trips.
#![cfg_attr(fuzzing, no_main)]

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};

#[path = "../../../crates/choreography/tests/it/checks.rs"]
mod checks;

fuzz::target!(|text: &str| {
    let (subject, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in rest.split('\n').filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    checks::envelope(subject, &headers, text.as_bytes());
});
