//! The payment context: taken, declined, given back.

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{Amount, Currency, CustomerId, OrderId};

messages! {
    /// What has happened to the payment of an order.
    pub enum PaymentEvent in "payment" as "event" {
        /// The money is taken.
        Captured(PaymentCaptured) = "captured" v 1, key order_id;
        /// The money is not taken, and will not be.
        Declined(PaymentDeclined) = "declined" v 1, key order_id;
        /// What was taken is given back.
        Refunded(PaymentRefunded) = "refunded" v 1, key order_id;
    }
}

/// The money is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentCaptured {
    /// For which order.
    pub order_id: OrderId,
    /// Whose money.
    pub customer_id: CustomerId,
    /// How much, in minor units.
    pub amount: Amount,
    /// Of which currency.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
    /// What the payment provider knows it by.
    pub reference: String,
}

/// Why a payment was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
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

/// The money is not taken, and will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentDeclined {
    /// For which order.
    pub order_id: OrderId,
    /// Who wanted to pay.
    pub customer_id: CustomerId,
    /// Why not.
    pub reason: DeclineReason,
}

/// What was taken is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    /// For which order.
    pub order_id: OrderId,
    /// Whose money.
    pub customer_id: CustomerId,
    /// How much, in minor units.
    pub amount: Amount,
    /// Of which currency.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
}
