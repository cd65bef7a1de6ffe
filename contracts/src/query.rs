//! Queries: the bodies of requests and replies, JSON in camelCase.
//!
//! | subject | request | reply |
//! |---|---|---|
//! | `order.query.get.<orderId>` | nothing, or a [`Point`](choreography::time_travel::Point) of its history | [`OrderView`] |
//! | `order.query.history.<orderId>` | | [`OrderHistory`] |
//! | `inventory.query.product.<productId>` | nothing, or a time ([`Point`](choreography::time_travel::Point)) | [`ProductView`] |
//! | `account.query.get.<customerId>` | | [`AccountView`] |
//! | `account.query.snapshot` | [`ListAccounts`] | [`Page`] of [`AccountSnapshotEntry`], by id, deleted ones included |
//! | `payment.query.get.<orderId>` | | [`PaymentView`] |
//! | `notification.query.list.<customerId>` | [`ListNotifications`] | [`Page`] of [`NotificationView`], oldest first |
//! | `inventory.query.products` | [`ListProducts`] | [`Page`] of [`ProductView`], by id |
//! | `order.query.events` | [`EventsRequest`](choreography::history::EventsRequest) | [`EventsPage`](choreography::history::EventsPage), for projections |
//! | `projection.query.orders` | [`SearchOrders`] | [`FoundOrders`] |
//! | `projection.query.sales` | [`ReportSales`] | [`SalesReport`] |
//! | `projection.query.customer.<customerId>` | | [`CustomerSummary`] |
//! | `order.query.reconciliation` | | [`OrderReconciliation`] |
//! | `inventory.query.reconciliation` | [`CompareAllocations`] | [`StockReconciliation`] |
//! | `payment.query.reconciliation` | | [`PaymentReconciliation`] |
//! | `notification.query.reconciliation` | | [`NotificationReconciliation`] |
//!
//! A reconciliation holds the totals of a service, from one read of its database, and the mismatches.

mod reconciliation;
mod reports;

use serde::{Deserialize, Serialize};

use crate::account::AccountDetails;
use crate::order::{CancelReason, OrderItem};
use crate::payment::DeclineReason;
use crate::{Amount, Currency, CustomerId, OrderId, ProductId};
pub use reconciliation::*;
pub use reports::*;

/// The maximum number of rows per page.
pub const MAX_PAGE: u64 = 200;
/// The default number of rows per page.
pub const DEFAULT_PAGE: u64 = 50;

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderStatus {
    /// It was placed, and its stock is not reserved yet.
    Placed,
    /// Stock is short; it waits for a restock.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
    /// Confirmed. Terminal.
    Confirmed,
    /// Cancelled. Terminal.
    Cancelled,
}

impl OrderStatus {
    /// Returns its name in JSON and in tables.
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

    /// Returns whether the status is terminal.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Confirmed | Self::Cancelled)
    }
}

/// The current state of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The current status.
    pub status: OrderStatus,
    /// The currency of every price, ISO 4217.
    pub currency: Currency,
    /// The lines.
    pub items: Vec<OrderItem>,
    /// The sum of the lines, in minor units.
    pub total_price: Amount,
    /// The reason if it was cancelled.
    pub reason: Option<CancelReason>,
    /// The number of events in its history.
    pub version: i64,
    /// When it was placed, RFC 3339.
    pub placed_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last page.
    pub next: Option<String>,
}

/// The history of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderHistory {
    /// The id of the order.
    pub order_id: OrderId,
    /// Its events, by version.
    pub events: Vec<HistoryEvent>,
}

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// Its position in the history: 1, 2, 3, …
    pub version: i64,
    /// `<context>.<name>.v<version>`.
    #[serde(rename = "type")]
    pub message_type: String,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// The id of the published message.
    pub message_id: String,
    /// The id of the message that caused it.
    pub causation_id: String,
    /// The id of the first message of the flow.
    pub correlation_id: String,
    /// Its body.
    pub data: serde_json::Value,
}

/// The stock of a product, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductView {
    /// The id of the product.
    pub product_id: ProductId,
    /// In stock and not reserved.
    pub available: u64,
    /// Reserved for orders.
    pub reserved: u64,
    /// Requested by backordered orders.
    pub backordered: u64,
    /// When these units last changed, RFC 3339.
    pub updated_at: String,
}

/// The current state of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The number of changes so far; the account's `ETag`.
    pub version: i64,
    /// The details of the account.
    #[serde(flatten)]
    pub details: AccountDetails,
}

/// An account in a snapshot, for services that build a copy of all accounts. A copy applies it like an event: only if
/// its version is newer than the copy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountSnapshotEntry {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The number of changes so far, including deletions.
    pub version: i64,
    /// Whether the account was deleted.
    pub deleted: bool,
    /// The details of the account; absent if it was deleted.
    pub details: Option<AccountDetails>,
}

/// Selects a page of the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListAccounts {
    /// Only accounts after this id: the `next` of the previous page.
    pub after: Option<CustomerId>,
    /// The maximum number of rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] if absent. A page of large accounts is
    /// shorter.
    pub limit: Option<u64>,
}

/// The status of the payment of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentStatus {
    /// It is not due: the stock is not reserved.
    Pending,
    /// It is due, but payment-service has no copy of the account yet.
    AwaitingAccount,
    /// The capture is requested, or about to be requested, from the provider.
    Capturing,
    /// The payment was captured.
    Captured,
    /// The payment was declined and will not be captured.
    Declined,
    /// The refund is requested, or about to be requested, from the provider.
    Refunding,
    /// The provider refuses the refund; manual action is needed.
    RefundFailed,
    /// The captured amount was refunded.
    Refunded,
    /// The order was cancelled before the capture.
    Cancelled,
}

/// The current state of the payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The current status.
    pub status: PaymentStatus,
    /// The amount, in minor units.
    pub amount: Amount,
    /// The currency.
    pub currency: Currency,
    /// The reason if it was declined.
    pub reason: Option<DeclineReason>,
    /// The identifier of the payment at the payment provider, once known.
    pub reference: Option<String>,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// A notification of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationView {
    /// Its position among all notifications; ascending, so that a reader can continue after its last one.
    pub sequence: i64,
    /// The id of the event that caused it.
    pub event_id: String,
    /// The notified customer.
    pub customer_id: CustomerId,
    /// The order that it is about.
    pub order_id: OrderId,
    /// The type of the event that caused it.
    #[serde(rename = "type")]
    pub message_type: String,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// When it was written, RFC 3339.
    pub created_at: String,
    /// When the mail server accepted it; absent until then, or if the customer has no address.
    pub delivered_at: Option<String>,
}

/// Selects a page of notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListNotifications {
    /// Only notifications after this sequence: the `next` of the previous page.
    pub after: Option<i64>,
    /// The maximum number of rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] if absent.
    pub limit: Option<u64>,
}

/// Selects a page of products.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListProducts {
    /// Only products after this id: the `next` of the previous page.
    pub after: Option<ProductId>,
    /// The maximum number of rows, 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] if absent.
    pub limit: Option<u64>,
}
