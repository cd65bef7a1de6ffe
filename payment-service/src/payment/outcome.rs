//! The calls to the provider and their outcomes.

use std::time::Duration;

use contracts::OrderId;
use contracts::account::CardToken;

use super::Charge;

/// A call to the payment provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Capture the payment.
    Capture {
        /// The order's id.
        order_id: OrderId,
        /// The token of the card.
        token: CardToken,
        /// The customer, the amount, and the currency.
        charge: Charge,
    },
    /// Look up the status of the capture.
    Lookup,
    /// Void the capture: prevent it, or refund it if it has succeeded.
    Void,
    /// Refund the payment.
    Refund {
        /// The provider's reference of the capture.
        reference: String,
    },
}

impl Call {
    /// Returns the name of the span in traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capture { .. } => "capture",
            Self::Lookup => "lookup",
            Self::Void => "void",
            Self::Refund { .. } => "refund",
        }
    }
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The payment is captured.
    Captured {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The provider declined the payment.
    Declined,
    /// The provider has not captured the payment and never will.
    Voided,
    /// The payment is refunded.
    Refunded {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The provider does not know the capture, yet.
    NotFound,
    /// The provider refuses the request for good: repeating it changes nothing.
    Refused {
        /// The provider's explanation.
        why: String,
    },
    /// The provider has another order, amount, or currency than the payment.
    Mismatch {
        /// Both contents, for the operator.
        why: String,
    },
    /// The outcome is unknown.
    Unavailable {
        /// The response, or the error of the connection.
        why: String,
        /// The provider's `Retry-After`.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// Returns the outcome of a request without a usable response.
    #[must_use]
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), retry_after: None }
    }
}
