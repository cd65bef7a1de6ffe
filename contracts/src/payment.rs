//! The payment context: captured, declined, refunded.

use choreography::{Event, Messages};
use serde::{Deserialize, Serialize};

use crate::topology::PAYMENT_SERVICE;
use crate::{Amount, Currency, CustomerId, OrderId};

/// The events of the payment context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum PaymentEvent {
    /// The payment was captured.
    Captured(PaymentCaptured),
    /// The payment was declined and will not be captured.
    Declined(PaymentDeclined),
    /// The captured amount was refunded.
    Refunded(PaymentRefunded),
}

/// The payment was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "payment", name = "captured", version = 1, key = order_id, producer = PAYMENT_SERVICE)]
pub struct PaymentCaptured {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The amount, in minor units.
    pub amount: Amount,
    /// The currency.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
    /// The identifier of the payment at the payment provider.
    pub reference: String,
}

/// The reason why a payment was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
    /// The customer has no account, or it was deleted.
    NoAccount,
    /// The account has no card.
    NoCard,
    /// The card has expired.
    CardExpired,
    /// The customer's captured and unrefunded payments would exceed the credit limit.
    LimitExceeded,
    /// The order has another currency than the credit limit.
    CurrencyMismatch,
    /// The payment provider declined.
    ProviderDeclined,
    /// The payment provider did not report in time whether it captured the payment; a captured amount is refunded.
    ProviderUnavailable,
}

/// The payment was declined and will not be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "payment", name = "declined", version = 1, key = order_id, producer = PAYMENT_SERVICE)]
pub struct PaymentDeclined {
    /// The id of the order.
    pub order_id: OrderId,
    /// The customer of the order.
    pub customer_id: CustomerId,
    /// The reason.
    pub reason: DeclineReason,
}

/// The captured amount was refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "payment", name = "refunded", version = 1, key = order_id, producer = PAYMENT_SERVICE)]
pub struct PaymentRefunded {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The amount, in minor units.
    pub amount: Amount,
    /// The currency.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
}
