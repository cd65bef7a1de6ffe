//! Parameters of the operations on dead letters.

use std::time::Duration;

use poem_openapi::registry::MetaSchema;

use choreography_http::parameter::{Limit, Parameter};

/// The text that a filter compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterText(pub(crate) String);

impl FilterText {
    const MAX_LENGTH: usize = 256;
}

impl Parameter for FilterText {
    fn schema() -> MetaSchema {
        MetaSchema { min_length: Some(1), max_length: Some(Self::MAX_LENGTH), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if (1..=Self::MAX_LENGTH).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("must be 1 to {} characters", Self::MAX_LENGTH))
        }
    }
}

/// How long ago a dead letter was dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Duration);

impl Parameter for Age {
    fn schema() -> MetaSchema {
        MetaSchema { example: Some("15m".into()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let age = humantime::parse_duration(text).map(Self);
        age.map_err(|_| "must be a duration such as 90s, 15m, 2h, or 3d".to_owned())
    }
}

/// How many dead letters a list shows at most.
pub(crate) type ListLimit = Limit<100, 1000>;
