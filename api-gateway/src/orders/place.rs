//! The body of `POST /orders`.

use choreography_http::code::Code;
use choreography_http::form::{Fields, Form, number, whole};
use choreography_http::idempotency::{IdempotencyKey, derived_id};
use choreography_http::problem::{FieldError, Problem, internal};
use contracts::money::MAX_QUANTITY;
use contracts::order::{InvalidOrder, MAX_ITEMS, OrderDetails, OrderItem, PlaceOrder};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use uuid::Uuid;

use crate::fields::{amount, currency, id};

/// An order with valid fields, whose sum is not checked yet.
pub(crate) struct PlaceOrderForm {
    order_id: Option<OrderId>,
    customer_id: CustomerId,
    currency: Currency,
    items: Vec<OrderItem>,
    total_price: Option<Amount>,
}

impl Form for PlaceOrderForm {
    type Value = Self;
    const NAME: &'static str = "PlaceOrder";
    const ABOUT: &'static str = "An order to place.";

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let order_id = fields.optional(
            "orderId",
            id(OrderId::parse),
            "The order's id, chosen by the client. Without one it is derived from the `Idempotency-Key`: the same key \
             always\nidentifies the same order, also after the key expired. Without a key, too, each request places a \
             new order.",
        );
        let customer_id = fields.required("customerId", id(CustomerId::parse), "The id of the ordering customer.");
        let about = "The currency of every price in the order, an ISO 4217 code such as `EUR`.";
        let currency = fields.required("currency", currency(), about);
        let items = fields.list::<Item>("items", 1..=MAX_ITEMS, "The lines.");
        let about = "The sum of `quantity × unitPrice` over the items, in minor units; a wrong sum is refused.";
        let total_price = fields.optional("totalPrice", amount(), about);
        Some(Self {
            order_id: order_id?,
            customer_id: customer_id?,
            currency: currency?,
            items: items?,
            total_price: total_price?,
        })
    }
}

/// A line of an order.
pub(crate) enum Item {}

impl Form for Item {
    type Value = OrderItem;
    const NAME: &'static str = "OrderItem";
    const ABOUT: &'static str = "A line of an order.";

    fn read(fields: &mut Fields<'_>) -> Option<OrderItem> {
        let product_id = fields.required("productId", id(ProductId::parse), "The id of the product.");
        let units = number(whole(1..=MAX_QUANTITY.into()), Quantity::parse);
        let quantity = fields.required("quantity", units, "The number of units.");
        let about = "The price of one unit, in minor units of the order's currency: 1000 with `EUR` is 10.00 €.";
        let unit_price = fields.required("unitPrice", amount(), about);
        Some(OrderItem { product_id: product_id?, quantity: quantity?, unit_price: unit_price? })
    }
}

impl PlaceOrderForm {
    /// Converts the form to an order and checks its sum. An order without an id gets one: derived from the key, so that
    /// a retry has the same id, or a new one.
    pub(crate) fn into_order(self, key: Option<&IdempotencyKey>) -> Result<PlaceOrder, Problem> {
        let order_id = match (self.order_id, key) {
            (Some(order_id), _) => order_id,
            (None, Some(key)) => order_id(derived_id(&["order by key", key.as_str()]))?,
            (None, None) => order_id(Uuid::now_v7())?,
        };
        let total = self.total_price.map(Amount::minor_units);
        let details = OrderDetails::new(order_id, self.customer_id, self.currency, self.items, total);
        details.map(PlaceOrder).map_err(|error| {
            let pointer = match error {
                InvalidOrder::ItemCount(_) | InvalidOrder::TotalTooLarge => "/items",
                InvalidOrder::TotalMismatch { .. } => "/totalPrice",
            };
            Problem::with_errors(Code::VALIDATION, vec![FieldError::pointer(pointer, error.to_string())])
        })
    }
}

fn order_id(id: Uuid) -> Result<OrderId, Problem> {
    OrderId::parse(id.to_string()).map_err(|error| internal(&error, "a UUID is not a valid order id"))
}
