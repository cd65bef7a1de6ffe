//! The bodies of reconciliation queries: the totals of a service, and its mismatches.

use serde::{Deserialize, Serialize};

use crate::inventory::StockLine;
use crate::query::{OrderStatus, PaymentStatus};
use crate::{Currency, CustomerId, OrderId};

/// The maximum number of listed items of one kind per reply.
pub const MAX_NAMED: u64 = 20;
/// The maximum number of totals per reply.
pub const MAX_TOTALS: u64 = 4000;
/// The maximum number of orders per status whose reservations are compared individually.
pub const MAX_COMPARED: u64 = 200;

/// The reconciliation totals of the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReconciliation {
    /// The orders that are not terminal, by status.
    pub open: Vec<OpenOrders>,
    /// The totals of confirmed orders, sorted by customer and currency; the first [`MAX_TOTALS`].
    pub confirmed: Vec<CustomerTotal>,
    /// Whether there are more totals.
    pub more: bool,
    /// The maximum time an order may await stock, in seconds; absent from a service of an earlier release.
    #[serde(default)]
    pub stock_deadline_seconds: Option<u64>,
    /// The orders that must have reservations; absent from a service of an earlier release.
    #[serde(default)]
    pub allocations: Option<OrderAllocations>,
}

/// The orders that must have reservations, and those that must have none: all as a count, the newest individually.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderAllocations {
    /// The number of confirmed orders; it only increases.
    pub confirmed: u64,
    /// The newest confirmed orders with their units, at most [`MAX_COMPARED`].
    pub newest_confirmed: Vec<Allocation>,
    /// The newest cancelled orders, at most [`MAX_COMPARED`].
    pub newest_cancelled: Vec<OrderId>,
}

/// The units of one order, one line per product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// The order.
    pub order_id: OrderId,
    /// Its lines.
    pub lines: Vec<StockLine>,
}

/// The orders whose reservations the reconciliation of the stock includes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompareAllocations {
    /// The orders, at most twice [`MAX_COMPARED`].
    pub order_ids: Vec<OrderId>,
}

/// The orders of one status that is not terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrders {
    /// The status.
    pub status: OrderStatus,
    /// The number of orders.
    pub count: u64,
    /// The orders that have had the status for longest, at most [`MAX_NAMED`].
    pub oldest: Vec<Open>,
}

/// An order that is not terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// The id of the order.
    pub order_id: OrderId,
    /// Since when it has its status, RFC 3339.
    pub since: String,
}

/// A total of one customer in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerTotal {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The currency.
    pub currency: Currency,
    /// The number of orders or payments.
    pub count: u64,
    /// The amount, in minor units.
    pub amount: i64,
}

/// The reconciliation totals of the stock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReconciliation {
    /// The number of products.
    pub products: u64,
    /// The products with mismatches, at most [`MAX_NAMED`].
    pub wrong: Vec<ProductReconciliation>,
    /// The number of products with mismatches; 0 from a service of an earlier release.
    #[serde(default)]
    pub wrong_total: u64,
    /// The reservations of orders; absent from a service of an earlier release.
    #[serde(default)]
    pub allocations: Option<StockAllocations>,
}

/// The reservations of orders: all as a count, and those of the orders in [`CompareAllocations`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockAllocations {
    /// The number of orders with reserved units.
    pub reserved: u64,
    /// The reservations of the compared orders.
    pub compared: Vec<Allocation>,
}

/// The units of a product, each counted twice: `available` and `reserved` against `received`, `reserved` against
/// `reservation_lines`, `backordered` against `backorder_lines`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductReconciliation {
    /// The id of the product.
    pub product_id: String,
    /// Units ever received.
    pub received: i64,
    /// In stock and not reserved.
    pub available: i64,
    /// Reserved for orders.
    pub reserved: i64,
    /// The sum of the reservations of orders.
    pub reservation_lines: i64,
    /// Requested by backordered orders.
    pub backordered: i64,
    /// The sum of the backorder lines of orders.
    pub backorder_lines: i64,
}

/// The reconciliation totals of the payments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentReconciliation {
    /// The number of pairs of customer and currency with payments.
    pub accounts: u64,
    /// The exposures that are not the sum of their payments, at most [`MAX_NAMED`].
    pub wrong: Vec<ExposureReconciliation>,
    /// The number of these mismatches; 0 from a service of an earlier release.
    #[serde(default)]
    pub wrong_total: u64,
    /// The totals of captured payments, sorted by customer and currency; the first [`MAX_TOTALS`].
    pub captured: Vec<CustomerTotal>,
    /// Whether there are more totals.
    pub more: bool,
    /// The number of payments in progress: captures, refunds, and payments that await their accounts.
    pub unfinished: u64,
    /// The oldest of them, at most [`MAX_NAMED`].
    pub oldest: Vec<OpenPayment>,
    /// The number of captures, voids, and refunds that are overdue.
    #[serde(default)]
    pub overdue: u64,
    /// The number of payments that need manual action: the provider refused a refund or a void for good, or it
    /// reports another amount.
    #[serde(default)]
    pub alarms: u64,
    /// The overdue payments and those that need manual action, alarms first, then oldest first; at most [`MAX_NAMED`]
    /// of each kind.
    #[serde(default)]
    pub issues: Vec<PaymentIssue>,
    /// The comparison of the provider's ledger with the payments; absent from a service of an earlier release.
    #[serde(default)]
    pub ledger: Option<LedgerCheck>,
}

/// A payment that is overdue at the provider, or that needs manual action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentIssue {
    /// The id of the order.
    pub order_id: OrderId,
    /// The status of the payment.
    pub status: PaymentStatus,
    /// Whether manual action is needed; otherwise the service retries by itself.
    pub alarm: bool,
    /// Since when it has its status, RFC 3339.
    pub since: String,
    /// The number of requests to the provider.
    pub attempts: i64,
    /// The provider's last response, if it was not a success.
    pub answer: Option<String>,
}

/// The provider's ledger compared with the payments, as of the last complete comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCheck {
    /// When that comparison ended, RFC 3339; absent before the first one.
    pub checked_at: Option<String>,
    /// Why there is no comparison, or no newer one: the provider offers no ledger, or does not respond.
    pub unavailable: Option<String>,
    /// The number of charges of this shop in the ledger.
    pub charges: u64,
    /// The number of differences.
    pub total: u64,
    /// The first of them, at most [`MAX_NAMED`].
    pub differences: Vec<LedgerDifference>,
}

/// A difference between the provider's ledger and the payments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerDifference {
    /// The id of the order.
    pub order_id: String,
    /// The kind of difference.
    pub kind: LedgerDifferenceKind,
    /// Both sides, as a sentence.
    pub explanation: String,
}

/// A kind of difference between the provider's ledger and the payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerDifferenceKind {
    /// A captured payment that the ledger does not have.
    Missing,
    /// A charge of this shop without a payment.
    Extra,
    /// More than one charge for one order.
    Doubled,
    /// A charge of another amount, currency, or reference than the payment.
    Content,
    /// A charge that is refunded on one side only.
    Refund,
}

/// The exposure of an account, which counts against its credit limit, computed twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposureReconciliation {
    /// The id of the customer.
    pub customer_id: String,
    /// The currency, ISO 4217.
    pub currency: String,
    /// The stored exposure, in minor units.
    pub exposure: i64,
    /// The sum of the payments.
    pub counted: i64,
}

/// A payment in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPayment {
    /// The id of the order.
    pub order_id: OrderId,
    /// The status.
    pub status: PaymentStatus,
    /// Since when it has its status, RFC 3339.
    pub since: String,
}

/// The reconciliation of the notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationReconciliation {
    /// The number of most recent notifications that were examined.
    pub examined: u64,
    /// The duplicate notifications about the same order, at most [`MAX_NAMED`].
    pub repeated: Vec<RepeatedNotification>,
    /// The number of these duplicates; 0 from a service of an earlier release.
    #[serde(default)]
    pub repeated_total: u64,
}

/// A notification that a customer received more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepeatedNotification {
    /// The id of the order.
    pub order_id: String,
    /// The type of the event that caused it.
    #[serde(rename = "type")]
    pub message_type: String,
    /// The number of notifications.
    pub count: i64,
}
