//! Queries on the read models of projection-service.

use serde::{Deserialize, Serialize};

use super::{OrderStatus, OrderView};
use crate::{Currency, CustomerId, ProductId};

/// What an order that is not final waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// The reservation by the inventory.
    Reservation,
    /// A restock of a product.
    Stock,
    /// The capture of the payment.
    Payment,
}

impl WaitsFor {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Reservation, Self::Stock, Self::Payment];

    /// Returns its name in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Stock => "stock",
            Self::Payment => "payment",
        }
    }
}

/// The order of a list of orders. Orders with equal values are sorted by their id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderSort {
    /// Newest first.
    #[default]
    #[serde(rename = "-placedAt")]
    Newest,
    /// Oldest first.
    #[serde(rename = "placedAt")]
    Oldest,
    /// Last change first.
    #[serde(rename = "-updatedAt")]
    LastChanged,
    /// Longest without a change first.
    #[serde(rename = "updatedAt")]
    LongestUnchanged,
    /// Largest total first, whatever the currency.
    #[serde(rename = "-totalPrice")]
    Largest,
    /// Smallest total first, whatever the currency.
    #[serde(rename = "totalPrice")]
    Smallest,
}

impl OrderSort {
    /// All values.
    pub const ALL: [Self; 6] =
        [Self::Newest, Self::Oldest, Self::LastChanged, Self::LongestUnchanged, Self::Largest, Self::Smallest];

    /// Returns its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "-placedAt",
            Self::Oldest => "placedAt",
            Self::LastChanged => "-updatedAt",
            Self::LongestUnchanged => "updatedAt",
            Self::Largest => "-totalPrice",
            Self::Smallest => "totalPrice",
        }
    }
}

/// Selects a page of orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SearchOrders {
    /// Only orders of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only orders with this product.
    pub product_id: Option<ProductId>,
    /// Only orders with this status.
    pub status: Option<OrderStatus>,
    /// Only orders that wait for this.
    pub waits_for: Option<WaitsFor>,
    /// Only orders placed at this time or later, in milliseconds since 1970.
    pub from: Option<i64>,
    /// Only orders placed before this time, in milliseconds since 1970.
    pub to: Option<i64>,
    /// The order of the list.
    pub sort: OrderSort,
    /// The `next` of the previous page, with the same sort.
    pub cursor: Option<String>,
    /// The maximum number of rows, 1 to [`MAX_PAGE`](super::MAX_PAGE); [`DEFAULT_PAGE`](super::DEFAULT_PAGE) if absent.
    pub limit: Option<u64>,
}

/// An order that a search has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundOrder {
    /// The order.
    #[serde(flatten)]
    pub order: OrderView,
    /// What it waits for; null if it is final.
    pub waits_for: Option<WaitsFor>,
}

/// A page of orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundOrders {
    /// The orders.
    pub items: Vec<FoundOrder>,
    /// The cursor of the next page; null on the last page.
    pub next: Option<String>,
    /// Up to when the read model contains all orders, RFC 3339; null while it is built.
    pub as_of: Option<String>,
}

/// Selects the days of a sales report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReportSales {
    /// The first day, such as `2026-11-27`, in UTC.
    pub from: Option<String>,
    /// The last day.
    pub to: Option<String>,
}

/// The sales of a product on a day, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductSales {
    /// The day, in UTC.
    pub day: String,
    /// The product.
    pub product_id: ProductId,
    /// The currency of the amounts.
    pub currency: Currency,
    /// Units of orders that were confirmed on the day.
    pub confirmed_units: i64,
    /// Their money, in minor units.
    pub confirmed_amount: i64,
    /// Units of orders that were cancelled on the day.
    pub cancelled_units: i64,
    /// Their money, in minor units.
    pub cancelled_amount: i64,
}

/// The sales of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SalesReport {
    /// By day, product, and currency.
    pub items: Vec<ProductSales>,
    /// Whether there are more rows than a report has at most; choose fewer days.
    pub is_truncated: bool,
    /// Up to when the read model contains all orders, RFC 3339; null while it is built.
    pub as_of: Option<String>,
}

/// The orders of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerSummary {
    /// The customer.
    pub customer_id: CustomerId,
    /// The number of placed orders.
    pub orders: i64,
    /// The number of orders that are not final.
    pub open: i64,
    /// The number of confirmed orders.
    pub confirmed: i64,
    /// The number of cancelled orders.
    pub cancelled: i64,
    /// The money of confirmed orders, by currency.
    pub spent: Vec<Spent>,
    /// When an order of the customer last changed, RFC 3339.
    pub last_contact: String,
    /// Up to when the read model contains all orders, RFC 3339; null while it is built.
    pub as_of: Option<String>,
}

/// A sum of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// The currency.
    pub currency: Currency,
    /// The sum, in minor units.
    pub amount: i64,
}
