//! The inventory context: its commands and its events.

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{OrderId, ProductId, Quantity};

messages! {
    /// The commands of the inventory context.
    pub enum InventoryCommand in "inventory" as "command" {
        /// Add units of a product to its stock.
        Restock(Restock) = "restock" v 1, key product_id;
    }
}

messages! {
    /// The events of the inventory context. The key of all but [`Restocked`] is the order's id.
    pub enum InventoryEvent in "inventory" as "event" {
        /// Every line of an order is reserved.
        Reserved(StockReserved) = "reserved" v 1, key order_id;
        /// At least one line of an order is short; the order is backordered.
        Backordered(StockBackordered) = "backordered" v 1, key order_id;
        /// An order contains unknown products; nothing is reserved.
        Refused(StockRefused) = "refused" v 1, key order_id;
        /// The units reserved for a cancelled order are available again.
        Released(StockReleased) = "released" v 1, key order_id;
        /// Units of a product were received.
        Restocked(Restocked) = "restocked" v 1, key product_id;
    }
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

/// Add units of a product to its stock; an unknown product is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Restock {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: Quantity,
}

/// Every line of an order is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// The id of the order.
    pub order_id: OrderId,
    /// The reserved units, one line per product.
    pub lines: Vec<StockLine>,
}

/// At least one line of an order is short; the order is backordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockBackordered {
    /// The id of the order.
    pub order_id: OrderId,
    /// The products whose stock is short, or promised to earlier orders.
    pub short: Vec<ProductId>,
}

/// An order contains unknown products; nothing is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockRefused {
    /// The id of the order.
    pub order_id: OrderId,
    /// The unknown products.
    pub unknown_products: Vec<ProductId>,
}

/// The units reserved for a cancelled order are available again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// The id of the order.
    pub order_id: OrderId,
    /// The released units, one line per product; never empty.
    pub lines: Vec<StockLine>,
}

/// Units of a product were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Restocked {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units received.
    pub quantity: Quantity,
    /// The number of available units before backordered orders are served.
    pub available: u64,
}
