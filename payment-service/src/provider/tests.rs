use contracts::{Amount, Currency, CustomerId};
use serde_json::json;

use super::*;

#[test]
fn a_response_whose_body_contradicts_its_status_has_no_effect() {
    for status in ["declined", "pending", "refunded", ""] {
        let body: Body = serde_json::from_value(json!({"status": status, "reference": "cap_1"})).unwrap();
        assert!(matches!(body.expect_status("captured"), Err(ProviderError::Unavailable { .. })), "{status}");
    }
}

type Lookup = fn() -> Result<Option<Known>, ProviderError>;

/// A provider that refuses every void, with a lookup that is the same for every key.
struct Refusing(Lookup);

impl PaymentProvider for Refusing {
    async fn capture(&self, _: &Money, _: &CardToken) -> Result<Capture, ProviderError> {
        Ok(Capture::Declined)
    }

    async fn lookup(&self, _: &Money) -> Result<Option<Known>, ProviderError> {
        self.0()
    }

    async fn void(&self, _: &Money) -> Result<Option<String>, ProviderError> {
        Err(ProviderError::Refused("422".to_owned()))
    }

    async fn refund(&self, _: &Money, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn ledger(&self, _: Option<&str>) -> Result<Option<LedgerPage>, ProviderError> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_refused_void_is_accepted_only_after_a_lookup_of_the_key() {
    let charge = Charge {
        customer_id: CustomerId::parse("ANN").unwrap(),
        amount: Amount::try_from(60).unwrap(),
        currency: Currency::EUR,
    };
    let money = Money { key: "K".to_owned(), order_id: OrderId::parse("A").unwrap(), charge };
    let refused = Outcome::Refused { why: "422".to_owned() };
    let cases: [(Lookup, Outcome); 4] = [
        (|| Err(ProviderError::Mismatch("another".to_owned())), Outcome::Mismatch { why: "another".to_owned() }),
        (|| Ok(Some(Known::Voided)), Outcome::Voided),
        (|| Ok(Some(Known::Captured { reference: "cap_1".to_owned() })), refused.clone()),
        (|| Ok(None), refused),
    ];
    for (known, outcome) in cases {
        assert_eq!(execute(&Refusing(known), &money, &Call::Void).await, outcome);
    }
}

#[tokio::test]
async fn an_unavailable_provider_is_reported_without_the_credentials_in_its_url() {
    // Port 1 is reserved and closed.
    let provider = HttpProvider::new("http://shop:s3cret@127.0.0.1:1/v1", Duration::from_secs(5)).unwrap();
    let text = format!("{:?}", provider.ledger(None).await.unwrap_err());
    assert!(text.contains("connect") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_reference_that_cannot_be_stored_or_published_is_invalid() {
    let long = "r".repeat(MAX_REFERENCE + 1);
    for text in ["", " ", "cap\u{0}1", "cap\n", long.as_str()] {
        assert!(!is_reference(text), "{text:?}");
    }
    assert!(is_reference("cap_00000001") && is_reference(&long[1..]));
}
