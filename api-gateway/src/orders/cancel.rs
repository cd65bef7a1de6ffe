//! The body of `POST /orders/{id}/cancel`.

use contracts::OrderId;
use contracts::order::CancelOrder;
use poem_openapi::Object;

use crate::body::{Fields, Form, text};

/// The most characters a reason may have.
const MAX_REASON: usize = 500;

/// Why an order is to be cancelled; the whole body may be absent.
#[derive(Object)]
#[oai(rename = "CancelOrder", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CancelOrderSchema {
    /// Why, in the customer's words. Line breaks and tabs are the only control characters it may hold.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// A cancellation whose fields are right.
pub(crate) struct CancelOrderForm {
    reason: Option<String>,
}

impl Form for CancelOrderForm {
    type Schema = CancelOrderSchema;
    const OPTIONAL: bool = true;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { reason: fields.optional("reason", text(reason))? })
    }
}

fn reason(text: String) -> Result<String, String> {
    // U+0000 above all: PostgreSQL takes no text that holds it.
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.chars().count() > MAX_REASON || text.chars().any(control) {
        return Err(format!("must be at most {MAX_REASON} characters and hold no control characters"));
    }
    Ok(text)
}

impl CancelOrderForm {
    /// Makes the command.
    pub(crate) fn into_cancellation(self, order_id: OrderId) -> CancelOrder {
        CancelOrder { order_id, reason: self.reason }
    }
}
