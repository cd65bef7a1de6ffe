//! The body of `POST /orders/{id}/cancel`.

use contracts::OrderId;
use contracts::order::{CancelOrder, MAX_REASON, Reason};
use poem_openapi::Object;

use crate::body::{Fields, Form, text};

/// A request to cancel an order; the body may be absent.
#[derive(Object)]
#[oai(rename = "CancelOrder", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CancelOrderSchema {
    /// The reason, in the customer's words. Line breaks and tabs are the only control characters allowed.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// A valid request to cancel an order.
pub(crate) struct CancelOrderForm {
    reason: Option<Reason>,
}

impl Form for CancelOrderForm {
    type Schema = CancelOrderSchema;
    const OPTIONAL: bool = true;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { reason: fields.optional("reason", text(Reason::parse))? })
    }
}

// The attribute above accepts only literals.
const _: () = assert!(MAX_REASON == 500);

impl CancelOrderForm {
    /// Converts the form to a command.
    pub(crate) fn into_cancellation(self, order_id: OrderId) -> CancelOrder {
        CancelOrder { order_id, reason: self.reason }
    }
}
