//! The flow of one order through the services' own transactions, without processes and without a broker.

use std::time::{Duration, Instant};

use choreography::{EventSourced, clock};
use choreography_test::{Flow, Published, Spec, cancelled, published, scheduled};
use contracts::account::{AccountChanged, AccountDetails, Card, CardToken, Contact, CreditLimit, Email, Expiry};
use contracts::account::{LastFour, Line};
use contracts::inventory::{Restock, StockBackordered, StockLine, StockReleased, StockReserved};
use contracts::order::{
    CancelReason, OrderAwaitingStock, OrderCancelled, OrderConfirmed, OrderDetails, OrderItem, OrderPlaced,
    OrderReserved, PlaceOrder, StockDeadlinePassed,
};
use contracts::payment::{DeclineReason, PaymentCaptured, PaymentDeclined};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use inventory_service::handler::InventoryHandler;
use order_service::handler::OrderDecider;
use payment_service::handler::PaymentHandler;
use payment_service::reconciliation::Overdue;
use tokio::sync::watch;

use super::services::POLICY;

const STOCK_DEADLINE: Duration = Duration::from_secs(3600);

/// Orders, inventory, and payments; each message is delivered twice.
async fn shop() -> Flow {
    let orders = EventSourced(OrderDecider { stock_deadline: STOCK_DEADLINE });
    let payments = PaymentHandler {
        policy: POLICY,
        clock: clock::now,
        wake: watch::channel(()).0,
        overdue: Overdue(Duration::from_secs(60)),
    };
    let mut orders = Spec::new::<order_service::migration::Migrator>("order-service", orders).await.unwrap();
    let mut stock =
        Spec::new::<inventory_service::migration::Migrator>("inventory-service", InventoryHandler).await.unwrap();
    let mut payments =
        Spec::new::<payment_service::migration::Migrator>("payment-service", payments).await.unwrap();
    orders.delivered_twice();
    stock.delivered_twice();
    payments.delivered_twice();
    Flow::new().with(orders).with(stock).with(payments)
}

fn order_id() -> OrderId {
    OrderId::parse("ORDER_001").unwrap()
}

fn customer_id() -> CustomerId {
    CustomerId::parse("ANN").unwrap()
}

fn product_id() -> ProductId {
    ProductId::parse("PRODUCT_001").unwrap()
}

/// Two units for 10 each.
fn details() -> OrderDetails {
    let item = OrderItem {
        product_id: product_id(),
        quantity: Quantity::parse(2).unwrap(),
        unit_price: Amount::parse(10).unwrap(),
    };
    OrderDetails::new(order_id(), customer_id(), Currency::EUR, vec![item], None).unwrap()
}

fn restock() -> Restock {
    Restock { product_id: product_id(), quantity: Quantity::parse(5).unwrap() }
}

fn account(has_card: bool) -> AccountChanged {
    let card = || Card {
        token: CardToken::parse("tok_1").unwrap(),
        brand: Line::parse("VISA").unwrap(),
        last_four: LastFour::parse("1111").unwrap(),
        expiry: Expiry::parse("2999-12").unwrap(),
    };
    let details = AccountDetails {
        name: Line::parse("Ann").unwrap(),
        addresses: vec![],
        contact: Contact { email: Email::parse("a@example.org").unwrap(), phone: None },
        card: has_card.then(card),
        credit_limit: CreditLimit { amount: Amount::parse(100).unwrap(), currency: Currency::EUR },
    };
    AccountChanged { customer_id: customer_id(), version: 1, details }
}

fn lines() -> Vec<StockLine> {
    vec![StockLine { product_id: product_id(), quantity: 2 }]
}

/// The events from a placed order to its reservation.
fn placed_and_reserved() -> Vec<Published> {
    vec![
        published(OrderPlaced(details())).version(1),
        published(StockReserved { order_id: order_id(), lines: lines() }).version(1),
        published(OrderReserved { order_id: order_id() }).version(2),
    ]
}

fn order_cancelled(reason: CancelReason) -> OrderCancelled {
    OrderCancelled { order_id: order_id(), customer_id: customer_id(), reason }
}

#[tokio::test]
async fn an_order_with_stock_and_payment_is_confirmed() {
    let start = Instant::now();
    let mut shop = shop().await;
    shop.when(restock()).when(account(true)).then_published().await;
    shop.when(PlaceOrder(details())).then(placed_and_reserved()).await;
    let OrderDetails { order_id, customer_id, currency, total_price, .. } = details();
    let captured = PaymentCaptured {
        order_id: order_id.clone(),
        customer_id: customer_id.clone(),
        amount: total_price,
        currency,
        reference: "REFERENCE".to_owned(),
    };
    let confirmed = OrderConfirmed { order_id, customer_id, currency, total_price };
    shop.when(captured).then([published(confirmed).version(3)]).await;
    eprintln!("three services, one order, every message delivered twice: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_declined_payment_cancels_the_order_and_releases_its_stock() {
    let mut shop = shop().await;
    shop.when(restock()).when(account(false)).then_published().await;
    let reason = DeclineReason::NoCard;
    let declined = PaymentDeclined { order_id: order_id(), customer_id: customer_id(), reason };
    let mut expected = placed_and_reserved();
    expected.extend([
        published(declined).version(3),
        published(order_cancelled(CancelReason::PaymentDeclined { reason })).version(3),
        published(StockReleased { order_id: order_id(), lines: lines() }).version(2),
    ]);
    shop.when(PlaceOrder(details())).then(expected).await;
}

#[tokio::test]
async fn an_order_without_stock_is_cancelled_at_its_deadline() {
    let mut shop = shop().await;
    let mut restock = restock();
    restock.quantity = Quantity::parse(1).unwrap();
    shop.when(restock).when(account(true)).then_published().await;
    let (deadline, short) = (StockDeadlinePassed { order_id: order_id() }, vec![product_id()]);
    let backordered = StockBackordered { order_id: order_id(), short: short.clone() };
    let awaiting = OrderAwaitingStock { order_id: order_id(), customer_id: customer_id(), short };
    let due = shop.now() + STOCK_DEADLINE;
    shop.when(PlaceOrder(details()))
        .then([
            published(OrderPlaced(details())).version(1),
            published(backordered).version(1),
            published(awaiting).version(2),
            scheduled(deadline.clone(), due).version(2),
        ])
        .await;
    shop.advance(STOCK_DEADLINE)
        .then([published(order_cancelled(CancelReason::StockDeadline)).version(3), cancelled(deadline).version(3)])
        .await;
}
