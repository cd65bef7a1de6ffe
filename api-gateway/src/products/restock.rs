//! The body of `POST /products/{id}/restock`, and its answer.

use contracts::inventory::Restock;
use contracts::{ProductId, Quantity};
use messaging::Durability;
use poem_openapi::{Enum, Object};

use crate::body::{Fields, Form, number};

/// Pieces that come in.
#[derive(Object)]
#[oai(rename = "Restock", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RestockSchema {
    /// How many units.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    quantity: i64,
}

/// A restock whose fields are right.
pub(crate) struct RestockForm {
    quantity: Quantity,
}

impl Form for RestockForm {
    type Schema = RestockSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { quantity: fields.required("quantity", number(Quantity::parse))? })
    }
}

impl RestockForm {
    /// Makes the command.
    pub(crate) fn into_restock(self, product_id: ProductId) -> Restock {
        Restock { product_id, quantity: self.quantity }
    }
}

/// A restock whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct RestockAccepted {
    /// Which product.
    product_id: String,
    /// How many units.
    quantity: u32,
    /// Always `accepted`.
    status: RestockStatus,
    /// What the command survives from now on, as for an order.
    durability: String,
}

#[derive(Debug, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum RestockStatus {
    Accepted,
}

impl RestockAccepted {
    pub(crate) fn new(restock: &Restock, durability: Durability) -> Self {
        let Restock { product_id, quantity } = restock;
        Self {
            product_id: product_id.to_string(),
            quantity: quantity.get(),
            status: RestockStatus::Accepted,
            durability: durability.to_string(),
        }
    }
}
