//! The invariants of the shop: stock, money, orders, notifications, and the payment provider's ledger.
//!
//! In reading order: this module queries the services; `stock` has the checks of inventory-service, `allocations`,
//! `money`, and `across` those between services; `stalled` names why an order waits for too long.

mod across;
mod allocations;
mod money;
mod stalled;
mod stock;
#[cfg(test)]
mod tests;

use choreography_ops::checks::{Check, Decide, Findings, Observed, Queries, Reply, Watcher};
use contracts::query::{
    CompareAllocations, NotificationReconciliation, OrderReconciliation, PaymentReconciliation, StockReconciliation,
};
use contracts::topology::{INVENTORY_SERVICE, NOTIFICATION_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE};

/// The reconciliation totals of the services.
#[derive(Debug)]
struct Totals {
    orders: Reply<OrderReconciliation>,
    stock: Reply<StockReconciliation>,
    payments: Reply<PaymentReconciliation>,
    notifications: Reply<NotificationReconciliation>,
}

/// Makes a watcher with the shop's checks.
#[must_use]
pub fn watcher() -> Watcher {
    Watcher::new(|queries| async move {
        let totals = query(&queries).await;
        Box::new(move |observed: &Observed| checks(observed, &totals)) as Decide
    })
}

/// Queries the services. Confirmed orders only increase, and were reserved and captured before: stock and payments are
/// queried after orders.
async fn query(queries: &Queries) -> Totals {
    let in_succession = async {
        let orders = queries.ask(ORDER_SERVICE, "order.query.reconciliation", &()).await;
        let (stock, payments) = tokio::join!(
            query_stock(queries, &orders),
            queries.ask(PAYMENT_SERVICE, "payment.query.reconciliation", &()),
        );
        (orders, stock, payments)
    };
    let notifications = queries.ask(NOTIFICATION_SERVICE, "notification.query.reconciliation", &());
    let ((orders, stock, payments), notifications) = tokio::join!(in_succession, notifications);
    Totals { orders, stock, payments, notifications }
}

/// Queries the reconciliation of the stock, with the reservations of the orders that order-service listed.
async fn query_stock(queries: &Queries, orders: &Reply<OrderReconciliation>) -> Reply<StockReconciliation> {
    let allocations = orders.as_ref().ok().and_then(|orders| orders.allocations.as_ref());
    let order_ids = allocations.into_iter().flat_map(|allocations| {
        let confirmed = allocations.newest_confirmed.iter().map(|allocation| &allocation.order_id);
        confirmed.chain(&allocations.newest_cancelled).cloned()
    });
    let request = CompareAllocations { order_ids: order_ids.collect() };
    queries.ask(INVENTORY_SERVICE, "inventory.query.reconciliation", &request).await
}

fn checks(observed: &Observed, totals: &Totals) -> Vec<(Check, Findings)> {
    vec![
        stock::conserved(totals),
        allocations::reservations(observed, totals),
        across::money(observed, totals),
        money::ledger(totals),
        across::orders(observed, totals),
        across::once(observed, totals),
    ]
}
