//! The texts.

use contracts::ProductId;
use contracts::declaration::NotifiableEvent;
use contracts::order::CancelReason;
use contracts::payment::DeclineReason;

use super::format_amount;

/// The largest number of products in a text.
const MAX_NAMED: usize = 10;
/// The largest number of characters of the customer's own reason in a text.
const MAX_QUOTED: usize = 200;

/// The subject and text of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The subject line.
    pub subject: String,
    /// The text, lines separated by `\n`.
    pub text: String,
}

impl Notice {
    /// Writes the notification of an event to a customer with that name, if it is known.
    #[must_use]
    pub fn write(notified: &NotifiableEvent, name: Option<&str>) -> Self {
        let order = notified.order_id();
        let (outcome, paragraph) = match notified {
            NotifiableEvent::AwaitingStock(event) => (
                "waits for stock",
                format!(
                    "your order {order} waits, because we do not have enough of {}. As soon as everything is \
                    in stock, we continue with it; you do not need to do anything.",
                    named(&event.short),
                ),
            ),
            NotifiableEvent::Confirmed(event) => (
                "is confirmed",
                format!(
                    "your order {order} is confirmed. The total is {}.",
                    format_amount(event.total_price, event.currency)
                ),
            ),
            NotifiableEvent::Cancelled(event) => {
                ("is cancelled", format!("your order {order} is cancelled: {}", reason(&event.reason)))
            }
            NotifiableEvent::Refunded(event) => (
                "is refunded",
                format!(
                    "we have refunded {} that you paid for your order {order}.",
                    format_amount(event.amount, event.currency)
                ),
            ),
        };
        let text = format!("Dear {},\n\n{paragraph}\n\nYour online store\n", name.unwrap_or("customer"));
        Self { subject: format!("Your order {order} {outcome}"), text }
    }
}

/// The reason of a cancellation, as the end of a sentence.
fn reason(reason: &CancelReason) -> String {
    match reason {
        CancelReason::Customer { text } => match text.as_deref().map(quoted).filter(|text| !text.is_empty()) {
            Some(text) => format!("you asked for it. Your reason was: \u{201c}{text}\u{201d}"),
            None => "you asked for it.".to_owned(),
        },
        CancelReason::UnknownProduct { product_ids } => {
            format!("we do not sell {}.", named(product_ids))
        }
        CancelReason::StockDeadline => {
            "we did not receive the missing products in time. We are sorry to let you down.".to_owned()
        }
        CancelReason::PaymentDeclined { reason } => {
            format!("the payment was declined, because {}.", declined(*reason))
        }
    }
}

/// The reason of a declined payment, as the end of a sentence, and its consequence for the customer's money.
fn declined(reason: DeclineReason) -> &'static str {
    match reason {
        DeclineReason::NoAccount => "you have no account with us. You have not been charged",
        DeclineReason::NoCard => "your account has no card. You have not been charged",
        DeclineReason::CardExpired => "your card has expired. You have not been charged",
        DeclineReason::LimitExceeded => "it would exceed the limit of your account. You have not been charged",
        DeclineReason::CurrencyMismatch => {
            "the order is in another currency than your account. You have not been charged"
        }
        DeclineReason::ProviderDeclined => "the bank of your card did not agree to it. You have not been charged",
        DeclineReason::ProviderUnavailable => {
            "it could not be completed in time. Any amount that was charged is refunded"
        }
    }
}

/// Lists products, the first few of them.
fn named(products: &[ProductId]) -> String {
    let names: Vec<&str> = products.iter().take(MAX_NAMED).map(ProductId::as_str).collect();
    match products.len().saturating_sub(MAX_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Returns free text as one line of bounded length.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|character| !character.is_control()).collect();
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
