//! The inventory context: its commands and its events.

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{OrderId, ProductId, Quantity};

messages! {
    /// What others ask of the inventory context.
    pub enum InventoryCommand in "inventory" as "command" {
        /// Put units of a product on the shelf.
        Restock(Restock) = "restock" v 1, key product_id;
    }
}

messages! {
    /// What has happened to stock. The key of all but [`Restocked`] is the order's id.
    pub enum InventoryEvent in "inventory" as "event" {
        /// Every line of an order is reserved.
        Reserved(StockReserved) = "reserved" v 1, key order_id;
        /// Some line of an order is short; the order waits its turn.
        Backordered(StockBackordered) = "backordered" v 1, key order_id;
        /// An order names products that do not exist; nothing is reserved.
        Refused(StockRefused) = "refused" v 1, key order_id;
        /// What was reserved for a cancelled order is back on the shelf.
        Released(StockReleased) = "released" v 1, key order_id;
        /// Pieces came in.
        Restocked(Restocked) = "restocked" v 1, key product_id;
    }
}

/// Pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockLine {
    /// Which product.
    pub product_id: ProductId,
    /// How many units, summed over the order's lines of that product.
    pub quantity: u64,
}

/// Put units of a product on the shelf; a product that does not exist begins to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Restock {
    /// Which product.
    pub product_id: ProductId,
    /// How many units.
    pub quantity: Quantity,
}

/// Every line of an order is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// For which order.
    pub order_id: OrderId,
    /// What is held for it, a line a product.
    pub lines: Vec<StockLine>,
}

/// Some line of an order is short; the order waits its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockBackordered {
    /// Which order.
    pub order_id: OrderId,
    /// The products whose stock is short, or promised to orders that came before.
    pub short: Vec<ProductId>,
}

/// An order names products that do not exist; nothing is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockRefused {
    /// Which order.
    pub order_id: OrderId,
    /// The products that do not exist.
    pub unknown_products: Vec<ProductId>,
}

/// What was reserved for a cancelled order is back on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// For which order it was held.
    pub order_id: OrderId,
    /// What came back, a line a product; never empty.
    pub lines: Vec<StockLine>,
}

/// Pieces came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Restocked {
    /// Which product.
    pub product_id: ProductId,
    /// How many units came in.
    pub quantity: Quantity,
    /// How many are on the shelf, before waiting orders are served from it.
    pub available: u64,
}
