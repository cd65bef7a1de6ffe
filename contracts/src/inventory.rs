//! The inventory context: its commands and its events.

use choreography::{Command, Event, Messages};
use serde::{Deserialize, Serialize};

use crate::topology::{API_GATEWAY, INVENTORY_SERVICE};
use crate::{OrderId, ProductId, Quantity};

/// The commands of the inventory context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum InventoryCommand {
    /// Add units of a product to its stock.
    Restock(Restock),
}

/// The events of the inventory context. The key of all but [`Restocked`] is the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum InventoryEvent {
    /// Every line of an order is reserved.
    Reserved(StockReserved),
    /// At least one line of an order is short; the order is backordered.
    Backordered(StockBackordered),
    /// An order contains unknown products; nothing is reserved.
    Refused(StockRefused),
    /// The units reserved for a cancelled order are available again.
    Released(StockReleased),
    /// Units of a product were received.
    Restocked(Restocked),
}

/// Units of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockLine {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units, summed over the order's lines of that product.
    pub quantity: u64,
}

/// Add units of a product to its stock.
///
/// An unknown product is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "restock", version = 1, key = product_id, producer = API_GATEWAY)]
pub struct Restock {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: Quantity,
}

/// Every line of an order is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "reserved", version = 1, key = order_id, producer = INVENTORY_SERVICE)]
pub struct StockReserved {
    /// The id of the order.
    pub order_id: OrderId,
    /// The reserved units, one line per product.
    pub lines: Vec<StockLine>,
}

/// At least one line of an order is short; the order is backordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "backordered", version = 1, key = order_id, producer = INVENTORY_SERVICE)]
pub struct StockBackordered {
    /// The id of the order.
    pub order_id: OrderId,
    /// The products whose stock is short, or promised to earlier orders.
    pub short: Vec<ProductId>,
}

/// An order contains unknown products; nothing is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "refused", version = 1, key = order_id, producer = INVENTORY_SERVICE)]
pub struct StockRefused {
    /// The id of the order.
    pub order_id: OrderId,
    /// The unknown products.
    pub unknown_products: Vec<ProductId>,
}

/// The units reserved for a cancelled order are available again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "released", version = 1, key = order_id, producer = INVENTORY_SERVICE)]
pub struct StockReleased {
    /// The id of the order.
    pub order_id: OrderId,
    /// The released units, one line per product; never empty.
    pub lines: Vec<StockLine>,
}

/// Units of a product were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "inventory", name = "restocked", version = 1, key = product_id, producer = INVENTORY_SERVICE)]
pub struct Restocked {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units received.
    pub quantity: Quantity,
    /// The number of available units before backordered orders are served.
    pub available: u64,
}
