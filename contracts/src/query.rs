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
//! | `order.query.reconciliation` | | [`OrderReconciliation`] |
//! | `inventory.query.reconciliation` | [`CompareAllocations`] | [`StockReconciliation`] |
//! | `payment.query.reconciliation` | | [`PaymentReconciliation`] |
//! | `notification.query.reconciliation` | | [`NotificationReconciliation`] |
//!
//! A reconciliation holds the totals of a service, from one read of its database, and what does not agree.

mod reconciliation;

use serde::{Deserialize, Serialize};

use crate::account::AccountDetails;
use crate::order::{CancelReason, OrderItem};
use crate::payment::DeclineReason;
use crate::{Amount, Currency, CustomerId, OrderId, ProductId};
pub use reconciliation::*;

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

/// The stock of a product, in units.
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
    pub backordered: u64,
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
