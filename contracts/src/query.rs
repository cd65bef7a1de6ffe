//! What services answer when asked: the bodies of queries and answers, JSON in camelCase.
//!
//! | subject | body | answer |
//! |---|---|---|
//! | `order.query.get.<orderId>` | | [`OrderView`] |
//! | `order.query.list` | [`ListOrders`] | [`Page`] of [`OrderView`], newest first |
//! | `order.query.history.<orderId>` | | [`OrderHistory`] |
//! | `inventory.query.product.<productId>` | | [`ProductView`] |
//! | `account.query.get.<customerId>` | | [`AccountView`] |
//! | `account.query.snapshot` | [`ListAccounts`] | [`Page`] of [`AccountSnapshotEntry`], by id, deleted ones included |
//! | `payment.query.get.<orderId>` | | [`PaymentView`] |
//! | `notification.query.list.<customerId>` | [`ListNotifications`] | [`Page`] of [`NotificationView`], oldest first |
//! | `inventory.query.products` | [`ListProducts`] | [`Page`] of [`ProductView`], by id |
//! | `order.query.balance` | | [`OrderBalance`] |
//! | `inventory.query.balance` | [`CompareAllocations`] | [`StockBalance`] |
//! | `payment.query.balance` | | [`PaymentBalance`] |
//! | `notification.query.balance` | | [`NotificationBalance`] |
//!
//! A balance is what a service's own books come to, in one reading of its database: sums, and what does not add up.

use serde::{Deserialize, Serialize};

use crate::account::AccountDetails;
use crate::inventory::StockLine;
use crate::order::{CancelReason, OrderItem};
use crate::payment::DeclineReason;
use crate::{Amount, Currency, CustomerId, OrderId, ProductId};

/// The most rows a page has.
pub const MAX_PAGE: u64 = 200;
/// The rows a page has where none are asked for.
pub const DEFAULT_PAGE: u64 = 50;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderStatus {
    /// It exists; nothing has answered it yet.
    Placed,
    /// A stock is short; it waits.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
    /// Final and good.
    Confirmed,
    /// Final and void.
    Cancelled,
}

impl OrderStatus {
    /// Returns the word for it in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::AwaitingStock => "awaiting-stock",
            Self::Reserved => "reserved",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns whether nothing can change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Confirmed | Self::Cancelled)
    }
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// Where it stands.
    pub status: OrderStatus,
    /// The currency of every price, ISO 4217.
    pub currency: Currency,
    /// The lines.
    pub items: Vec<OrderItem>,
    /// The sum of the lines, in minor units.
    pub total_price: Amount,
    /// Why it was cancelled, where it was.
    pub reason: Option<CancelReason>,
    /// The number of events in its history.
    pub version: i64,
    /// When it was placed, RFC 3339.
    pub placed_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// Which orders to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListOrders {
    /// Only this customer's.
    pub customer_id: Option<CustomerId>,
    /// Only those that stand there.
    pub status: Option<OrderStatus>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// The most rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] unless given.
    pub limit: Option<u64>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the page that follows; none where this is the last.
    pub next: Option<String>,
}

/// What happened to an order, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderHistory {
    /// Which order.
    pub order_id: OrderId,
    /// Its events, by version.
    pub events: Vec<HistoryEvent>,
}

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// Its place in the history: 1, 2, 3, …
    pub version: i64,
    /// `<context>.<name>.v<version>`.
    #[serde(rename = "type")]
    pub message_type: String,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// The id under which it was published.
    pub message_id: String,
    /// The id of the message it answers.
    pub causation_id: String,
    /// The id of the message that began the flow.
    pub correlation_id: String,
    /// Its body.
    pub data: serde_json::Value,
}

/// The stock of a product, in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductView {
    /// Which product.
    pub product_id: ProductId,
    /// On the shelf and not held for any order.
    pub available: u64,
    /// Held for orders.
    pub reserved: u64,
    /// Asked for by orders that wait.
    pub awaiting: u64,
}

/// An account as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// Whose.
    pub customer_id: CustomerId,
    /// How many changes there have been; the account's `ETag`.
    pub version: i64,
    /// What it says.
    #[serde(flatten)]
    pub details: AccountDetails,
}

/// What is left of an account, for whoever builds a copy of all of them. To be applied like an event: only where its
/// version is newer than what the copy has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountSnapshotEntry {
    /// Whose.
    pub customer_id: CustomerId,
    /// How many changes there have been; deletions count.
    pub version: i64,
    /// Whether the account is no more.
    pub deleted: bool,
    /// What it says; none where it is no more.
    pub details: Option<AccountDetails>,
}

/// Which accounts a snapshot goes on with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListAccounts {
    /// Only those behind this id: `next` of the page before.
    pub after: Option<CustomerId>,
    /// The most rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] unless given. A page of large accounts ends earlier.
    pub limit: Option<u64>,
}

/// Where the payment of an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentStatus {
    /// Nothing is due yet: the stock is not reserved.
    Pending,
    /// It is due, and the account is not known here yet.
    AwaitingAccount,
    /// The provider has been asked, or is about to be.
    Capturing,
    /// The money is taken.
    Captured,
    /// The money is not taken, and will not be.
    Declined,
    /// What was taken is about to be given back.
    Refunding,
    /// The provider refuses to give back what was taken; a person is needed.
    RefundFailed,
    /// What was taken is given back.
    Refunded,
    /// The order was cancelled before anything was taken.
    Cancelled,
}

/// The payment of an order as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView {
    /// For which order.
    pub order_id: OrderId,
    /// Whose money.
    pub customer_id: CustomerId,
    /// Where it stands.
    pub status: PaymentStatus,
    /// How much, in minor units.
    pub amount: Amount,
    /// Of which currency.
    pub currency: Currency,
    /// Why it was declined, where it was.
    pub reason: Option<DeclineReason>,
    /// What the payment provider knows it by, once it does.
    pub reference: Option<String>,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// What a customer was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationView {
    /// Its place among all notifications; ascending, so that a reader can go on behind the last one it has.
    pub sequence: i64,
    /// The id of the event it tells of.
    pub event_id: String,
    /// Who was told.
    pub customer_id: CustomerId,
    /// Which order it is about.
    pub order_id: OrderId,
    /// The type of the event it tells of.
    #[serde(rename = "type")]
    pub message_type: String,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// When it was written, RFC 3339.
    pub created_at: String,
    /// When it was handed to the mail server; none until then, or where there is no address.
    pub delivered_at: Option<String>,
}

/// Which notifications to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListNotifications {
    /// Only those behind this sequence: `next` of the page before.
    pub after: Option<i64>,
    /// The most rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] unless given.
    pub limit: Option<u64>,
}

/// Which products to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListProducts {
    /// Only those behind this id: `next` of the page before.
    pub after: Option<ProductId>,
    /// The most rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] unless given.
    pub limit: Option<u64>,
}

/// The most rows of a kind in a balance that are there to name something.
pub const MAX_NAMED: u64 = 20;
/// The most totals in a balance.
pub const MAX_TOTALS: u64 = 4000;
/// The most orders per status whose reservations are compared one by one.
pub const MAX_COMPARED: u64 = 200;

/// What the orders come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderBalance {
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
    /// The newest confirmed orders with their units, [`MAX_COMPARED`] at the most.
    pub newest_confirmed: Vec<Allocation>,
    /// The newest cancelled orders, [`MAX_COMPARED`] at the most.
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

/// The orders whose reservations a balance of the stock includes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompareAllocations {
    /// The orders, twice [`MAX_COMPARED`] at the most.
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
    /// Those that came there first, [`MAX_NAMED`] at the most.
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
pub struct StockBalance {
    /// How many products there are.
    pub products: u64,
    /// The products whose pieces do not add up, [`MAX_NAMED`] at the most.
    pub wrong: Vec<ProductBalance>,
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

/// The pieces of a product, each counted in two places: `available` and `reserved` against `intake`, `reserved` against
/// `held`, `awaiting` against `waited`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductBalance {
    /// Which product.
    pub product_id: String,
    /// What came in, ever.
    pub intake: i64,
    /// On the shelf.
    pub available: i64,
    /// Held for orders.
    pub reserved: i64,
    /// What the reservations of orders name.
    pub held: i64,
    /// Asked for by orders that wait.
    pub awaiting: i64,
    /// What the lines of waiting orders name.
    pub waited: i64,
}

/// What the payments come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentBalance {
    /// How many customers and currencies there are payments of.
    pub accounts: u64,
    /// Where what counts against a limit is not the sum of the payments that do, [`MAX_NAMED`] at the most.
    pub wrong: Vec<ExposureBalance>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub wrong_total: u64,
    /// What captured payments come to, by customer and currency, in that order; the first [`MAX_TOTALS`].
    pub captured: Vec<CustomerTotal>,
    /// Whether there are more of these.
    pub more: bool,
    /// How many payments are under way: being captured or given back, or waiting for their accounts.
    pub unfinished: u64,
    /// Those that are longest, [`MAX_NAMED`] at the most.
    pub oldest: Vec<OpenPayment>,
    /// How many captures, voids, and refunds have been unfinished for longer than they may.
    #[serde(default)]
    pub overdue: u64,
    /// How many payments need a person: the provider refused a refund or a void for good, or it names other money.
    #[serde(default)]
    pub alarms: u64,
    /// The payments of both kinds, alarms first, then oldest first, [`MAX_NAMED`] of each kind at the most.
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
    /// The first of them, [`MAX_NAMED`] at the most.
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
pub struct ExposureBalance {
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
pub struct NotificationBalance {
    /// How many of the most recent notifications were looked at.
    pub looked: u64,
    /// What was told more than once of the same order, [`MAX_NAMED`] at the most.
    pub repeated: Vec<ToldAgain>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub repeated_total: u64,
}

/// Something that was told more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldAgain {
    /// Of which order.
    pub order_id: String,
    /// The type of the event that was told of.
    #[serde(rename = "type")]
    pub message_type: String,
    /// How often.
    pub count: i64,
}
