//! The declarations of the services: the messages that each consumes and publishes, as types, and its queries.
//!
//! Consumers, permissions in `nats.conf`, the AsyncAPI document, and the map of the dashboard follow from them.

use choreography::declaration::ProjectionSpec;
use choreography::{Declaration, DeclarationError, Messages, Topology};

use crate::account::{AccountChanged, AccountCommand, AccountDeleted, AccountEvent};
use crate::identity::{IdentityCommand, IdentityEvent};
use crate::inventory::{InventoryEvent, Restock, StockBackordered, StockRefused, StockReserved};
use crate::order::{
    CancelOrder, OrderAwaitingStock, OrderCancelled, OrderConfirmed, OrderEvent, OrderPlaced, OrderReserved,
    OrderTimer, PlaceOrder, StockDeadlinePassed,
};
use crate::payment::{PaymentCaptured, PaymentDeclined, PaymentEvent, PaymentRefunded};
use crate::topology::{
    ACCOUNT_SERVICE, EVENTS, IDENTITY_SERVICE, INVENTORY_SERVICE, NOTIFICATION_SERVICE, ORDER_SERVICE,
    PAYMENT_SERVICE, PROJECTION_SERVICE, streams,
};
use crate::{CustomerId, OrderId};

/// Returns the declarations of the shop's services, without [`identity_service`], which runs only with sign-in. The
/// gateway consumes nothing; each command names it as its producer.
#[must_use]
pub fn declarations() -> [Declaration; 6] {
    [
        order_service(),
        inventory_service(),
        account_service(),
        payment_service(),
        notification_service(),
        projection_service(),
    ]
}

/// Returns the declarations of all services, including [`identity_service`].
#[must_use]
pub fn full_declarations() -> [Declaration; 7] {
    let [order, inventory, account, payment, notification, projection] = declarations();
    [order, inventory, account, payment, notification, projection, identity_service()]
}

/// Returns the streams, and the consumers of the shop's services. Without sign-in, identity-service does not run: a
/// consumer of it would only collect messages that no process handles.
///
/// # Errors
///
/// If a declaration does not match the streams.
pub fn topology() -> Result<Topology, DeclarationError> {
    declarations().iter().try_fold(streams()?, Topology::with)
}

/// Returns the streams, and the consumers of all services, including identity-service.
///
/// # Errors
///
/// If a declaration does not match the streams.
pub fn full_topology() -> Result<Topology, DeclarationError> {
    full_declarations().iter().try_fold(streams()?, Topology::with)
}

/// Returns the [`topology`] of a shop without sign-in, or the [`full_topology`] of one with it.
///
/// # Errors
///
/// If a declaration does not match the streams.
pub fn topology_for(auth: bool) -> Result<Topology, DeclarationError> {
    if auth { full_topology() } else { topology() }
}

/// Declares order-service.
#[must_use]
pub fn order_service() -> Declaration {
    Declaration::new(ORDER_SERVICE)
        .consumes::<OrderMessage>()
        .publishes::<OrderEvent>()
        .publishes::<OrderTimer>()
        .replies_to("order.query.>")
}

/// Declares inventory-service.
#[must_use]
pub fn inventory_service() -> Declaration {
    Declaration::new(INVENTORY_SERVICE)
        .consumes::<StockMessage>()
        .publishes::<InventoryEvent>()
        .replies_to("inventory.query.>")
}

/// Declares account-service.
#[must_use]
pub fn account_service() -> Declaration {
    Declaration::new(ACCOUNT_SERVICE)
        .consumes::<AccountCommand>()
        .publishes::<AccountEvent>()
        .replies_to("account.query.>")
}

/// Declares payment-service. It replays EVENTS to rebuild its copies of accounts.
#[must_use]
pub fn payment_service() -> Declaration {
    Declaration::new(PAYMENT_SERVICE)
        .consumes::<PaymentMessage>()
        .publishes::<PaymentEvent>()
        .replies_to("payment.query.>")
        .requests("account.query.snapshot")
        .requests("account.query.get.*")
        .reads(EVENTS)
}

/// Declares notification-service. It publishes no events.
#[must_use]
pub fn notification_service() -> Declaration {
    Declaration::new(NOTIFICATION_SERVICE).consumes::<NotificationMessage>().replies_to("notification.query.>")
}

/// Declares identity-service.
#[must_use]
pub fn identity_service() -> Declaration {
    Declaration::new(IDENTITY_SERVICE)
        .consumes::<IdentityCommand>()
        .publishes::<IdentityEvent>()
        .replies_to("identity.query.>")
}

/// The projection for searches of orders: its name and version.
pub const ORDER_SEARCH: (&str, u32) = ("order-search", 1);
/// The projection of sales.
pub const SALES: (&str, u32) = ("sales", 1);
/// The projection of customers.
pub const CUSTOMERS: (&str, u32) = ("customers", 1);
/// All projections of the shop.
pub const PROJECTIONS: [(&str, u32); 3] = [ORDER_SEARCH, SALES, CUSTOMERS];
/// The contexts whose history the projections read from an event store.
pub const EVENT_STORES: &[&str] = &["order"];

/// Declares projection-service. It publishes no events.
#[must_use]
pub fn projection_service() -> Declaration {
    let project = |declaration: Declaration, (name, version): (&str, u32)| {
        declaration.projects(ProjectionSpec::new::<OrderChange>(name, version, EVENT_STORES))
    };
    let declaration = Declaration::new(PROJECTION_SERVICE).replies_to("projection.query.>");
    PROJECTIONS.into_iter().fold(declaration, project)
}

/// The events that the projections read: the history of orders.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum OrderChange {
    /// The order was placed.
    Placed(OrderPlaced),
    /// Stock is short.
    AwaitingStock(OrderAwaitingStock),
    /// The stock of every line is reserved.
    Reserved(OrderReserved),
    /// The order is confirmed.
    Confirmed(OrderConfirmed),
    /// The order is cancelled.
    Cancelled(OrderCancelled),
}

/// The messages that an order reacts to.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum OrderMessage {
    /// Place an order.
    Place(PlaceOrder),
    /// Cancel an order.
    Cancel(CancelOrder),
    /// The inventory has reserved every line.
    StockReserved(StockReserved),
    /// The inventory lacks stock for a line; the order waits.
    StockBackordered(StockBackordered),
    /// The inventory does not know a product.
    StockRefused(StockRefused),
    /// The payment is captured.
    PaymentCaptured(PaymentCaptured),
    /// The payment is declined for good.
    PaymentDeclined(PaymentDeclined),
    /// The order has reached its stock deadline.
    StockDeadline(StockDeadlinePassed),
}

impl OrderMessage {
    /// Returns the id of the order that the message concerns.
    #[must_use]
    pub fn order_id(&self) -> &OrderId {
        match self {
            Self::Place(command) => &command.order_id,
            Self::Cancel(command) => &command.order_id,
            Self::StockReserved(event) => &event.order_id,
            Self::StockBackordered(event) => &event.order_id,
            Self::StockRefused(event) => &event.order_id,
            Self::PaymentCaptured(event) => &event.order_id,
            Self::PaymentDeclined(event) => &event.order_id,
            Self::StockDeadline(timer) => &timer.order_id,
        }
    }
}

/// The messages that stock reacts to.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum StockMessage {
    /// An order was placed; its lines are to be reserved.
    Placed(OrderPlaced),
    /// An order was cancelled; its lines are to be released.
    Cancelled(OrderCancelled),
    /// Units were received.
    Restock(Restock),
}

/// The messages that payments react to.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum PaymentMessage {
    /// An account was created or changed.
    AccountChanged(AccountChanged),
    /// An account was deleted.
    AccountDeleted(AccountDeleted),
    /// An order was placed: it has the customer and the amount.
    Placed(OrderPlaced),
    /// The stock of an order is reserved: its payment is due.
    Reserved(StockReserved),
    /// An order was cancelled.
    Cancelled(OrderCancelled),
}

impl PaymentMessage {
    /// Returns the id of the order that the message concerns, if any.
    #[must_use]
    pub fn order_id(&self) -> Option<&OrderId> {
        match self {
            Self::AccountChanged(_) | Self::AccountDeleted(_) => None,
            Self::Placed(order) => Some(&order.order_id),
            Self::Reserved(stock) => Some(&stock.order_id),
            Self::Cancelled(order) => Some(&order.order_id),
        }
    }
}

/// The messages that notification-service reacts to.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum NotificationMessage {
    /// A change of an account.
    Account(AccountMessage),
    /// An event to notify a customer of.
    Notify(NotifiableEvent),
}

impl NotificationMessage {
    /// Returns the customer's id.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::Account(message) => message.customer_id(),
            Self::Notify(notified) => notified.customer_id(),
        }
    }
}

/// A change of an account.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum AccountMessage {
    /// The account was created or changed.
    Changed(AccountChanged),
    /// The account was deleted.
    Deleted(AccountDeleted),
}

impl AccountMessage {
    /// Returns the customer's id.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::Changed(event) => &event.customer_id,
            Self::Deleted(event) => &event.customer_id,
        }
    }

    /// Returns the version of the account after the change.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Changed(event) => event.version,
            Self::Deleted(event) => event.version,
        }
    }
}

/// An event that the customer is notified of.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum NotifiableEvent {
    /// A product is out of stock; the order waits.
    AwaitingStock(OrderAwaitingStock),
    /// The order is confirmed.
    Confirmed(OrderConfirmed),
    /// The order is cancelled.
    Cancelled(OrderCancelled),
    /// The payment is refunded.
    Refunded(PaymentRefunded),
}

impl NotifiableEvent {
    /// Returns the id of the customer to notify.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::AwaitingStock(event) => &event.customer_id,
            Self::Confirmed(event) => &event.customer_id,
            Self::Cancelled(event) => &event.customer_id,
            Self::Refunded(event) => &event.customer_id,
        }
    }

    /// Returns the order's id.
    #[must_use]
    pub fn order_id(&self) -> &OrderId {
        match self {
            Self::AwaitingStock(event) => &event.order_id,
            Self::Confirmed(event) => &event.order_id,
            Self::Cancelled(event) => &event.order_id,
            Self::Refunded(event) => &event.order_id,
        }
    }
}
