//! The bodies of reconciliation queries: the totals of a service, and what does not reconcile, named.

use serde::{Deserialize, Serialize};

use crate::inventory::StockLine;
use crate::query::{OrderStatus, PaymentStatus};
use crate::{Currency, CustomerId, OrderId};

/// The most rows of a kind in a reply that are there to name something.
pub const MAX_NAMED: u64 = 20;
/// The most totals in a reply.
pub const MAX_TOTALS: u64 = 4000;
/// The most orders per status whose reservations are compared one by one.
pub const MAX_COMPARED: u64 = 200;

/// What the orders come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReconciliation {
    /// The orders that are not final, by where they stand.
    pub open: Vec<OpenOrders>,
    /// What confirmed orders come to, by customer and currency, in that order; the first [`MAX_TOTALS`].
    pub confirmed: Vec<CustomerTotal>,
    /// Whether there are more of these.
    pub more: bool,
    /// How long an order may await stock, in seconds; none from a service of an earlier release.
    #[serde(default)]
    pub stock_deadline_seconds: Option<u64>,
    /// The orders that must have reservations; none from a service of an earlier release.
    #[serde(default)]
    pub allocations: Option<OrderAllocations>,
}

/// The orders that must have reservations, and those that must have none: all as a number, the newest one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderAllocations {
    /// The number of confirmed orders; it only ever grows.
    pub confirmed: u64,
    /// The newest confirmed orders with their units, [`MAX_COMPARED`] at most.
    pub newest_confirmed: Vec<Allocation>,
    /// The newest cancelled orders, [`MAX_COMPARED`] at most.
    pub newest_cancelled: Vec<OrderId>,
}

/// The units of one order, a line per product.
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
    /// The orders, twice [`MAX_COMPARED`] at most.
    pub order_ids: Vec<OrderId>,
}

/// The orders that stand somewhere and are not final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrders {
    /// Where.
    pub status: OrderStatus,
    /// How many.
    pub count: u64,
    /// Those that came there first, [`MAX_NAMED`] at most.
    pub oldest: Vec<Open>,
}

/// Something that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// Of which order.
    pub order_id: OrderId,
    /// Since when it stands where it does, RFC 3339.
    pub since: String,
}

/// What something of a customer comes to in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerTotal {
    /// Whose.
    pub customer_id: CustomerId,
    /// Of which currency.
    pub currency: Currency,
    /// How many.
    pub count: u64,
    /// How much, in minor units.
    pub amount: i64,
}

/// What the stock comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReconciliation {
    /// How many products there are.
    pub products: u64,
    /// The products whose units do not agree, [`MAX_NAMED`] at most.
    pub wrong: Vec<ProductReconciliation>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub wrong_total: u64,
    /// The reservations of orders; none from a service of an earlier release.
    #[serde(default)]
    pub allocations: Option<StockAllocations>,
}

/// The reservations of orders: all as a number, and those of the orders in [`CompareAllocations`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockAllocations {
    /// The number of orders with reserved units.
    pub reserved: u64,
    /// Those among the compared orders.
    pub compared: Vec<Allocation>,
}

/// The units of a product, each counted in two places: `available` and `reserved` against `received`, `reserved` against
/// `reservation_lines`, `backordered` against `backorder_lines`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductReconciliation {
    /// Which product.
    pub product_id: String,
    /// What came in, ever.
    pub received: i64,
    /// On the shelf.
    pub available: i64,
    /// Held for orders.
    pub reserved: i64,
    /// What the reservations of orders name.
    pub reservation_lines: i64,
    /// Asked for by orders that wait.
    pub backordered: i64,
    /// What the lines of waiting orders name.
    pub backorder_lines: i64,
}

/// What the payments come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentReconciliation {
    /// How many customers and currencies there are payments of.
    pub accounts: u64,
    /// Where what counts against a limit is not the sum of the payments that do, [`MAX_NAMED`] at most.
    pub wrong: Vec<ExposureReconciliation>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub wrong_total: u64,
    /// What captured payments come to, by customer and currency, in that order; the first [`MAX_TOTALS`].
    pub captured: Vec<CustomerTotal>,
    /// Whether there are more of these.
    pub more: bool,
    /// How many payments are under way: being captured or given back, or waiting for their accounts.
    pub unfinished: u64,
    /// Those that are longest, [`MAX_NAMED`] at most.
    pub oldest: Vec<OpenPayment>,
    /// How many captures, voids, and refunds have been unfinished for longer than they may.
    #[serde(default)]
    pub overdue: u64,
    /// How many payments need a person: the provider refused a refund or a void for good, or it names other money.
    #[serde(default)]
    pub alarms: u64,
    /// The payments of both kinds, alarms first, then oldest first, [`MAX_NAMED`] of each kind at most.
    #[serde(default)]
    pub issues: Vec<PaymentIssue>,
    /// The provider's ledger against the payments; none from a service of an earlier release.
    #[serde(default)]
    pub ledger: Option<LedgerCheck>,
}

/// A payment that is overdue at the provider, or that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentIssue {
    /// For which order.
    pub order_id: OrderId,
    /// Where the payment stands.
    pub status: PaymentStatus,
    /// Whether a person is needed; otherwise the service goes on by itself.
    pub alarm: bool,
    /// Since when, RFC 3339.
    pub since: String,
    /// How often the provider was asked.
    pub attempts: i64,
    /// What the provider answered last, where that was no success.
    pub answer: Option<String>,
}

/// The provider's ledger against the payments, as of the last complete comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCheck {
    /// When that ended, RFC 3339; none before the first one has ended.
    pub checked_at: Option<String>,
    /// Why there is none, or none newer: the provider offers no ledger, or does not answer.
    pub unavailable: Option<String>,
    /// How many charges of this shop the ledger has.
    pub charges: u64,
    /// How many differences there are.
    pub total: u64,
    /// The first of them, [`MAX_NAMED`] at most.
    pub differences: Vec<LedgerDifference>,
}

/// A difference between the provider's ledger and the payments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerDifference {
    /// For which order.
    pub order_id: String,
    /// What differs.
    pub kind: LedgerDifferenceKind,
    /// Both sides, for people.
    pub explanation: String,
}

/// A kind of difference between the provider's ledger and the payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerDifferenceKind {
    /// A captured payment that the ledger does not have.
    Missing,
    /// A charge of this shop that no payment stands for.
    Extra,
    /// More than one charge for one order.
    Doubled,
    /// A charge of another amount, currency, or reference than the payment.
    Content,
    /// A charge that is given back on one side only.
    Refund,
}

/// What counts against the limit of an account, counted in two places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposureReconciliation {
    /// Whose.
    pub customer_id: String,
    /// Of which currency, ISO 4217.
    pub currency: String,
    /// As it is kept, in minor units.
    pub exposure: i64,
    /// The sum of the payments.
    pub counted: i64,
}

/// A payment that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPayment {
    /// For which order.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What customers were told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationReconciliation {
    /// How many of the most recent notifications were looked at.
    pub examined: u64,
    /// What was told more than once of the same order, [`MAX_NAMED`] at most.
    pub repeated: Vec<RepeatedNotification>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub repeated_total: u64,
}

/// Something that was told more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepeatedNotification {
    /// Of which order.
    pub order_id: String,
    /// The type of the event that was told of.
    #[serde(rename = "type")]
    pub message_type: String,
    /// How often.
    pub count: i64,
}
