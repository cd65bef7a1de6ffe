//! The body of `POST /orders`.

use contracts::money::{MAX_AMOUNT, MAX_QUANTITY};
use contracts::order::{InvalidOrder, MAX_ITEMS, OrderDetails, OrderItem, PlaceOrder};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use poem_openapi::Object;
use uuid::Uuid;

use crate::body::{Fields, Form, currency, number, text};
use crate::idempotency::{IdempotencyKey, derived_id};
use crate::problem::{Code, FieldError, Problem};

/// An order to place.
#[derive(Object)]
#[oai(rename = "PlaceOrder", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlaceOrderSchema {
    /// The order's id, chosen by the client. Without one it is derived from the `Idempotency-Key`: the same key always
    /// identifies the same order, also after the key expired. Without a key, too, each request places a new order.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    order_id: Option<String>,
    /// The id of the ordering customer.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    customer_id: String,
    /// The currency of every price in the order, an ISO 4217 code such as `EUR`.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    currency: String,
    /// The lines.
    #[oai(validator(min_items = 1, max_items = 100))]
    items: Vec<ItemSchema>,
    /// The sum of `quantity × unitPrice` over the items, in minor units; a wrong sum is refused.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    total_price: Option<i64>,
}

/// A line of an order.
#[derive(Object)]
#[oai(rename = "OrderItem", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ItemSchema {
    /// The id of the product.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    product_id: String,
    /// The number of units.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    quantity: i64,
    /// The price of one unit, in minor units of the order's currency: 1000 with `EUR` is 10.00 €.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    unit_price: i64,
}

// The macro accepts only literals in the schema.
const _: () = assert!(MAX_ITEMS == 100 && MAX_QUANTITY == 1_000_000 && MAX_AMOUNT == 9_007_199_254_740_991);

/// An order with valid fields, whose sum is not checked yet.
pub(crate) struct PlaceOrderForm {
    order_id: Option<OrderId>,
    customer_id: CustomerId,
    currency: Currency,
    items: Vec<OrderItem>,
    total_price: Option<Amount>,
}

impl Form for PlaceOrderForm {
    type Schema = PlaceOrderSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let order_id = fields.optional("orderId", text(OrderId::parse));
        let customer_id = fields.required("customerId", text(CustomerId::parse));
        let currency = fields.required("currency", text(currency));
        let items = fields.list("items", 1..=MAX_ITEMS, item);
        let total_price = fields.optional("totalPrice", number(Amount::parse));
        Some(Self {
            order_id: order_id?,
            customer_id: customer_id?,
            currency: currency?,
            items: items?,
            total_price: total_price?,
        })
    }
}

fn item(fields: &mut Fields<'_>) -> Option<OrderItem> {
    let product_id = fields.required("productId", text(ProductId::parse));
    let quantity = fields.required("quantity", number(Quantity::parse));
    let unit_price = fields.required("unitPrice", number(Amount::parse));
    Some(OrderItem { product_id: product_id?, quantity: quantity?, unit_price: unit_price? })
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
            Problem::with_errors(Code::Validation, vec![FieldError::pointer(pointer, error.to_string())])
        })
    }
}

fn order_id(id: Uuid) -> Result<OrderId, Problem> {
    OrderId::parse(id.to_string()).map_err(|error| {
        tracing::error!(%error, "a UUID is not a valid order id");
        Problem::new(Code::Internal)
    })
}
