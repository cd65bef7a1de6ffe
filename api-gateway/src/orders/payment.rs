//! What the payment of an order looks like. Describes, for OpenAPI, what the payment service says and the gateway
//! relays; `contracts::query` is what it is written with.

use poem_openapi::{Enum, Object};

use crate::json::Nullable;

/// The payment of an order as it stands.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Payment {
    /// For which order.
    order_id: String,
    /// Whose money.
    customer_id: String,
    /// Where it stands.
    status: PaymentStatus,
    /// How much, in minor units.
    amount: i64,
    /// Of which currency, ISO 4217.
    currency: String,
    /// Why it was declined, where it was.
    reason: Nullable<DeclineReason>,
    /// What the payment provider knows it by, once it does.
    reference: Nullable<String>,
    /// When it last changed, RFC 3339.
    updated_at: String,
}

/// Where a payment stands. `captured` may still become `refunded`; `declined`, `refunded` and `cancelled` are final.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum PaymentStatus {
    /// Nothing is due yet: the stock is not reserved.
    Pending,
    /// It is due, and the account is not known to the payment service yet.
    AwaitingAccount,
    /// The provider has been asked, or is about to be.
    Capturing,
    /// The money is taken.
    Captured,
    /// The money is not taken, and will not be.
    Declined,
    /// What was taken is about to be given back.
    Refunding,
    /// The payment provider refuses to give back what was taken; a person takes care of it.
    RefundFailed,
    /// What was taken is given back.
    Refunded,
    /// The order was cancelled before anything was taken.
    Cancelled,
}

/// Why a payment was declined.
#[derive(Debug, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum DeclineReason {
    /// There is no account of that customer, or it was deleted.
    NoAccount,
    /// The account has no card.
    NoCard,
    /// The card is not good any more.
    CardExpired,
    /// What is paid for and not refunded would exceed the account's limit.
    LimitExceeded,
    /// The order is in another currency than the account's limit.
    CurrencyMismatch,
    /// The payment provider says no.
    ProviderDeclined,
    /// The payment provider did not say in time whether it took the money; whatever it took is given back.
    ProviderUnavailable,
}
