//! The JSON of an order's payment. It describes, for OpenAPI, the payment service's replies, which the gateway relays;
//! `contracts::query` has the types that serialise them.

use poem_openapi::{Enum, Object};

use choreography_http::json::Nullable;

/// The payment of an order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Payment {
    /// The id of the order.
    order_id: String,
    /// The id of the paying customer.
    customer_id: String,
    /// The current status.
    status: PaymentStatus,
    /// The amount, in minor units.
    amount: i64,
    /// The currency, ISO 4217.
    currency: String,
    /// Why the payment was declined; null if it was not.
    reason: Nullable<DeclineReason>,
    /// The payment provider's reference; null until it has one.
    reference: Nullable<String>,
    /// When it last changed, RFC 3339.
    updated_at: String,
}

/// The status of a payment. `captured` can become `refunded`; `declined`, `refunded` and `cancelled` are final.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum PaymentStatus {
    /// Not due yet: the stock is not reserved.
    Pending,
    /// Due, but the payment service has no account of the customer yet.
    AwaitingAccount,
    /// The capture is sent to the payment provider, or about to be.
    Capturing,
    /// The money is captured.
    Captured,
    /// The money is not captured, and will not be.
    Declined,
    /// The refund is sent to the payment provider, or about to be.
    Refunding,
    /// The payment provider refused the refund; a person has to settle it.
    RefundFailed,
    /// The money is refunded.
    Refunded,
    /// The order was cancelled before anything was captured.
    Cancelled,
}

/// Why a payment was declined.
#[derive(Debug, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum DeclineReason {
    /// The customer has no account, or it was deleted.
    NoAccount,
    /// The account has no card.
    NoCard,
    /// The card has expired.
    CardExpired,
    /// The customer's paid and not refunded orders would exceed the account's limit.
    LimitExceeded,
    /// The currency of the order differs from the one of the account's limit.
    CurrencyMismatch,
    /// The payment provider declined.
    ProviderDeclined,
    /// The payment provider did not report the capture in time; a captured amount is refunded.
    ProviderUnavailable,
}
