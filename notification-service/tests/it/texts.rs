//! Given a customer, when an event arrives, then this text.

use contracts::Currency;
use contracts::account::Line;
use contracts::declaration::{AccountMessage, NotifiableEvent};
use contracts::order::CancelReason;
use contracts::payment::DeclineReason;
use notification_service::notice::{Customer, Notice, format_amount};

use crate::given::{amount, awaiting, cancelled, changed, confirmed, deleted, products, refunded};
use contracts::declaration::NotificationMessage;

struct Given(Customer);

/// A customer after account events.
fn given(history: &[NotificationMessage]) -> Given {
    let mut customer = Customer::default();
    for message in history {
        customer.apply(account(message));
    }
    Given(customer)
}

fn account(message: &NotificationMessage) -> &AccountMessage {
    match message {
        NotificationMessage::Account(message) => message,
        NotificationMessage::Notify(_) => panic!("not an account message"),
    }
}

impl Given {
    fn when(self, notified: &NotifiableEvent) -> Notice {
        Notice::write(notified, self.0.name())
    }
}

fn then(notice: &Notice, subject: &str, text: &str) {
    assert_eq!(notice.subject, subject);
    assert_eq!(notice.text, text);
}

fn ada() -> Vec<NotificationMessage> {
    vec![changed("C1", 1, "Ada Lovelace", "ada@example.org")]
}

#[test]
fn the_text_of_a_waiting_order_has_the_products_that_are_short() {
    then(
        &given(&ada()).when(&awaiting("O1", "C1", &["CUP", "TEA"])),
        "Your order O1 waits for stock",
        "Dear Ada Lovelace,\n\nyour order O1 waits, because we do not have enough of CUP, TEA. As soon as everything \
        is in stock, we continue with it; you do not need to do anything.\n\nYour online store\n",
    );
}

#[test]
fn the_text_of_a_confirmed_order_has_its_total() {
    then(
        &given(&ada()).when(&confirmed("O1", "C1", 123_456, Currency::EUR)),
        "Your order O1 is confirmed",
        "Dear Ada Lovelace,\n\nyour order O1 is confirmed. The total is 1234.56 EUR.\n\nYour online store\n",
    );
}

#[test]
fn the_text_of_a_refund_has_the_amount() {
    then(
        &given(&ada()).when(&refunded("O1", "C1", 900, Currency::JPY)),
        "Your order O1 is refunded",
        "Dear Ada Lovelace,\n\nwe have refunded 900 JPY that you paid for your order O1.\n\nYour online store\n",
    );
}

#[test]
fn the_text_of_a_cancelled_order_has_the_reason() {
    let text = |reason| given(&ada()).when(&cancelled("O1", "C1", reason)).text;
    let reason = |reason: CancelReason| {
        let text = text(reason);
        let begin = "Dear Ada Lovelace,\n\nyour order O1 is cancelled: ";
        text.strip_prefix(begin).and_then(|rest| rest.strip_suffix("\n\nYour online store\n")).unwrap().to_owned()
    };
    assert_eq!(reason(CancelReason::Customer { text: None }), "you asked for it.");
    assert_eq!(reason(CancelReason::Customer { text: Some(" \n ".to_owned()) }), "you asked for it.");
    let own = CancelReason::Customer { text: Some("too\r\nexpensive,\tsorry".to_owned()) };
    assert_eq!(reason(own), "you asked for it. Your reason was: “too expensive, sorry”");
    let long = CancelReason::Customer { text: Some("é".repeat(500)) };
    assert_eq!(reason(long), format!("you asked for it. Your reason was: “{}…”", "é".repeat(200)));
    let unknown = |ids: &[&str]| CancelReason::UnknownProduct { product_ids: products(ids) };
    assert_eq!(reason(unknown(&["CUP"])), "we do not sell CUP.");
    let many: Vec<String> = (0..12).map(|index| format!("P{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(reason(unknown(&many)), "we do not sell P0, P1, P2, P3, P4, P5, P6, P7, P8, P9 and 2 more.");
    assert_eq!(
        reason(CancelReason::StockDeadline),
        "we did not receive the missing products in time. We are sorry to let you down."
    );
}

#[test]
fn the_text_of_a_declined_payment_has_the_reason_and_the_consequence_for_the_money() {
    let reasons = [
        (DeclineReason::NoAccount, "you have no account with us. You have not been charged."),
        (DeclineReason::NoCard, "your account has no card. You have not been charged."),
        (DeclineReason::CardExpired, "your card has expired. You have not been charged."),
        (DeclineReason::LimitExceeded, "it would exceed the limit of your account. You have not been charged."),
        (
            DeclineReason::CurrencyMismatch,
            "the order is in another currency than your account. You have not been charged.",
        ),
        (DeclineReason::ProviderDeclined, "the bank of your card did not agree to it. You have not been charged."),
        (
            DeclineReason::ProviderUnavailable,
            "it could not be completed in time. Any amount that was charged is refunded.",
        ),
    ];
    for (reason, words) in reasons {
        let notice = given(&ada()).when(&cancelled("O1", "C1", CancelReason::PaymentDeclined { reason }));
        let sentence = format!("your order O1 is cancelled: the payment was declined, because {words}\n");
        assert!(notice.text.contains(&sentence), "{}", notice.text);
        assert_eq!(notice.subject, "Your order O1 is cancelled");
    }
}

#[test]
fn a_customer_without_a_known_name_has_a_general_greeting() {
    let notified = confirmed("O1", "C1", 1000, Currency::EUR);
    assert!(given(&[]).when(&notified).text.starts_with("Dear customer,\n"));
    let history = [changed("C1", 1, "Ada", "ada@example.org"), deleted("C1", 2)];
    assert!(given(&history).when(&notified).text.starts_with("Dear customer,\n"));
}

#[test]
fn only_a_newer_version_of_an_account_counts() {
    let notified = confirmed("O1", "C1", 1000, Currency::EUR);
    let greeted = |history: &[NotificationMessage]| {
        given(history).when(&notified).text.lines().next().unwrap_or_default().to_owned()
    };
    let (first, second) = (changed("C1", 1, "Old", "a@example.org"), changed("C1", 2, "New", "a@example.org"));
    assert_eq!(greeted(&[first.clone(), second.clone()]), "Dear New,");
    assert_eq!(greeted(&[second.clone(), first.clone()]), "Dear New,");
    assert_eq!(greeted(&[second.clone(), changed("C1", 2, "Same version", "a@example.org")]), "Dear New,");
    assert_eq!(greeted(&[deleted("C1", 3), second]), "Dear customer,");
}

#[test]
fn amounts_have_as_many_decimal_places_as_their_currency() {
    assert_eq!(format_amount(amount(0), Currency::EUR), "0.00 EUR");
    assert_eq!(format_amount(amount(5), Currency::EUR), "0.05 EUR");
    assert_eq!(format_amount(amount(123_456), Currency::USD), "1234.56 USD");
    assert_eq!(format_amount(amount(1000), Currency::JPY), "1000 JPY");
    assert_eq!(format_amount(amount(1), Currency::KWD), "0.001 KWD");
    assert_eq!(format_amount(amount(12_345), Currency::CLF), "1.2345 CLF");
    // Gold has no minor unit.
    assert_eq!(format_amount(amount(3), Currency::XAU), "3 XAU");
    assert_eq!(format_amount(amount(contracts::money::MAX_AMOUNT), Currency::EUR), "90071992547409.91 EUR");
}

#[test]
fn a_name_cannot_add_lines_to_a_mail() {
    // The parser refuses names of several lines.
    assert!(Line::parse("Ada\nBcc: all@example.org").is_err());
}
