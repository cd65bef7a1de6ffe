//! What the provider is asked, and what comes of it.

use std::time::Duration;

use contracts::OrderId;
use contracts::account::CardToken;

use super::Charge;

/// What to ask the payment provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// To take the money.
    Capture {
        /// For which order.
        order_id: OrderId,
        /// From which card.
        token: CardToken,
        /// How much.
        charge: Charge,
    },
    /// Whether it has taken the money.
    Lookup,
    /// To take no money, and to give back what it has taken.
    Void,
    /// To give the money back.
    Refund {
        /// What it knows the money by.
        reference: String,
    },
}

impl Call {
    /// Returns what it is called in traces.
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

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken.
    Captured {
        /// What the provider knows it by.
        reference: String,
    },
    /// The provider does not take the money.
    Declined,
    /// The provider has taken no money, and will take none.
    Voided,
    /// The money is given back.
    GivenBack {
        /// What the provider knew it by.
        reference: String,
    },
    /// The provider has not heard of the capture, yet.
    Unheard,
    /// The provider refuses the request for good: repeating it changes nothing.
    Refused {
        /// What it answered.
        why: String,
    },
    /// The provider names another order, amount, or currency than the payment's.
    Mismatch {
        /// What it names.
        why: String,
    },
    /// There is no knowing.
    Unavailable {
        /// What was answered, or why nothing was.
        why: String,
        /// How long the provider asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// Makes the outcome of a request without a usable answer.
    #[must_use]
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), retry_after: None }
    }
}
