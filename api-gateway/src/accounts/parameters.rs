//! Parameters for the id and the version of an account.

use contracts::CustomerId;
use contracts::account::looks_like_a_card_number;
use poem_openapi::registry::MetaSchema;

use choreography_http::parameter::{Id, Parameter};

/// The id of a customer with an account. It must not look like a card number, because ids appear in subjects and logs.
#[derive(Debug, Clone)]
pub(crate) struct AccountId(pub(crate) CustomerId);

impl Parameter for AccountId {
    fn schema() -> MetaSchema {
        Id::<CustomerId>::schema()
    }

    fn parse(text: &str) -> Result<Self, String> {
        if looks_like_a_card_number(text) {
            return Err("must not contain what looks like a card number".to_owned());
        }
        CustomerId::parse(text).map(Self).map_err(|error| error.to_string())
    }
}

/// The version that a change is based on: the `ETag` that the client read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) i64);

impl Parameter for IfMatch {
    fn schema() -> MetaSchema {
        MetaSchema { example: Some("\"1\"".into()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches([' ', '\t']);
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        // As `ETag` writes it: without sign and leading zeros.
        let version = digits.parse().ok().filter(|version: &i64| *version > 0 && version.to_string() == digits);
        version.map(Self).ok_or_else(|| "must be the ETag of one version, such as \"1\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_the_etag_of_one_version() {
        assert_eq!(IfMatch::parse("\"1\""), Ok(IfMatch(1)));
        assert_eq!(IfMatch::parse(" \"9223372036854775807\" "), Ok(IfMatch(i64::MAX)));
        for bad in [
            "",
            "1",
            "\"\"",
            "\"0\"",
            "\"-1\"",
            "\"+1\"",
            "\"01\"",
            "\"a\"",
            "W/\"1\"",
            "*",
            "\"1\", \"2\"",
            "\"1",
            "\"1\"\"",
        ] {
            assert!(IfMatch::parse(bad).is_err(), "{bad}");
        }
        assert!(IfMatch::parse("\"9223372036854775808\"").is_err());
    }

    #[test]
    fn a_card_number_is_not_a_valid_account_id() {
        assert!(AccountId::parse("CUSTOMER_001").is_ok());
        assert!(AccountId::parse("4111111111111112").is_ok());
        for bad in ["", "a.b", "4111111111111111", "4111-1111-1111-1111", "CARD_4111111111111111"] {
            let error = AccountId::parse(bad).unwrap_err();
            assert!(!error.contains("4111"), "{error}");
        }
    }
}
