//! The body of `POST /products/{id}/restock`, and its response.

use choreography::Durability;
use choreography_http::form::{Fields, Form, number, whole};
use contracts::capacity::MAX_RESTOCK;
use contracts::inventory::Restock;
use contracts::{ProductId, Quantity};
use poem_openapi::{Enum, Object};

/// A valid request to restock a product.
pub(crate) struct RestockForm(Quantity);

impl Form for RestockForm {
    type Value = Self;
    const NAME: &'static str = "Restock";
    const ABOUT: &'static str = "Units to add to the stock of a product.";

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let quantity = fields.required(
            "quantity",
            number(whole(1..=MAX_RESTOCK.into()), units),
            "The number of units. Split larger restocks: each unit may release one backordered order.",
        );
        Some(Self(quantity?))
    }
}

/// Parses the number of units of one restock.
fn units(number: i64) -> Result<Quantity, String> {
    match Quantity::parse(number) {
        Ok(units) if units.get() <= MAX_RESTOCK => Ok(units),
        _ => Err(format!("must be a whole number from 1 to {MAX_RESTOCK}; split larger restocks")),
    }
}

impl RestockForm {
    /// Converts the form to a command.
    pub(crate) fn into_restock(self, product_id: ProductId) -> Restock {
        Restock { product_id, quantity: self.0 }
    }
}

/// A restock whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct RestockAccepted {
    /// The id of the product.
    product_id: String,
    /// The number of units.
    quantity: u32,
    /// Always `accepted`.
    status: RestockStatus,
    /// The failures that the stored command survives, as for an order.
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
