//! The payment context: captured, declined, refunded.

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{Amount, Currency, CustomerId, OrderId};

messages! {
    /// The events of the payment context.
    pub enum PaymentEvent in "payment" as "event" {
        /// The payment was captured.
        Captured(PaymentCaptured) = "captured" v 1, key order_id;
        /// The payment was declined and will not be captured.
        Declined(PaymentDeclined) = "declined" v 1, key order_id;
        /// The captured amount was refunded.
        Refunded(PaymentRefunded) = "refunded" v 1, key order_id;
    }
}

/// The payment was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentDeclined {
    /// The id of the order.
    pub order_id: OrderId,
    /// The customer of the order.
    pub customer_id: CustomerId,
    /// The reason.
    pub reason: DeclineReason,
}

/// The captured amount was refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
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
