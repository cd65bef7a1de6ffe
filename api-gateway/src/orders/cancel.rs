//! The body of `POST /orders/{id}/cancel`.

use choreography_http::form::{Fields, Form, length, text};
use contracts::OrderId;
use contracts::order::{CancelOrder, MAX_REASON, Reason};

/// A valid request to cancel an order.
pub(crate) struct CancelOrderForm(Option<Reason>);

impl Form for CancelOrderForm {
    type Value = Self;
    const NAME: &'static str = "CancelOrder";
    const ABOUT: &'static str = "A request to cancel an order; the body may be absent.";
    const OPTIONAL: bool = true;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let reason = fields.optional(
            "reason",
            text(length(0..=MAX_REASON), Reason::parse),
            "The reason, in the customer's words. Line breaks and tabs are the only control characters allowed.",
        );
        Some(Self(reason?))
    }
}

impl CancelOrderForm {
    /// Converts the form to a command.
    pub(crate) fn into_cancellation(self, order_id: OrderId) -> CancelOrder {
        CancelOrder { order_id, reason: self.0 }
    }
}
