//! The projections: given events, then rows; and the queries on them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod pages;

use choreography::query::{Query, QueryError};
use choreography_test::ProjectionSpec;
use contracts::order::{
    CancelReason, OrderAwaitingStock, OrderCancelled, OrderConfirmed, OrderDetails, OrderEvent, OrderItem,
    OrderPlaced, OrderReserved,
};
use contracts::query::{FoundOrders, OrderSort, OrderStatus, SearchOrders, Spent, WaitsFor};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use projection_service::customers::Customers;
use projection_service::queries::{customer, report, search};
use projection_service::sales::{Sales, open_orders, product_sales};
use projection_service::search::OrderSearch;

const CUSTOMER: &str = "CUSTOMER_1";

fn placed(order: &str, lines: &[(&str, i64, i64)]) -> OrderEvent {
    placed_by(CUSTOMER, order, lines)
}

fn placed_by(customer: &str, order: &str, lines: &[(&str, i64, i64)]) -> OrderEvent {
    let item = |(product, quantity, price): &(&str, i64, i64)| OrderItem {
        product_id: ProductId::parse(*product).unwrap(),
        quantity: Quantity::parse(*quantity).unwrap(),
        unit_price: Amount::parse(*price).unwrap(),
    };
    let items = lines.iter().map(item).collect();
    let (order, customer) = (OrderId::parse(order).unwrap(), CustomerId::parse(customer).unwrap());
    OrderEvent::Placed(OrderPlaced(OrderDetails::new(order, customer, eur(), items, None).unwrap()))
}

fn eur() -> Currency {
    Currency::from_code("EUR").unwrap()
}

fn awaiting_stock(order: &str) -> OrderEvent {
    let (order_id, customer_id) = (OrderId::parse(order).unwrap(), CustomerId::parse(CUSTOMER).unwrap());
    OrderEvent::AwaitingStock(OrderAwaitingStock {
        order_id,
        customer_id,
        short: vec![ProductId::parse("CUP").unwrap()],
    })
}

fn reserved(order: &str) -> OrderEvent {
    OrderEvent::Reserved(OrderReserved { order_id: OrderId::parse(order).unwrap() })
}

fn confirmed(order: &str, total: i64) -> OrderEvent {
    let (order_id, customer_id) = (OrderId::parse(order).unwrap(), CustomerId::parse(CUSTOMER).unwrap());
    let total_price = Amount::parse(total).unwrap();
    OrderEvent::Confirmed(OrderConfirmed { order_id, customer_id, currency: eur(), total_price })
}

fn cancelled(order: &str) -> OrderEvent {
    let (order_id, customer_id) = (OrderId::parse(order).unwrap(), CustomerId::parse(CUSTOMER).unwrap());
    OrderEvent::Cancelled(OrderCancelled { order_id, customer_id, reason: CancelReason::StockDeadline })
}

fn asked(request: &SearchOrders) -> Query {
    Query { key: String::new(), body: serde_json::to_vec(request).unwrap().into() }
}

fn ids(page: &FoundOrders) -> Vec<&str> {
    page.items.iter().map(|found| found.order.order_id.as_str()).collect()
}

/// Four orders, in the order of their ids: confirmed, waiting for stock, waiting for payment, cancelled.
async fn searched() -> ProjectionSpec<OrderSearch> {
    let mut spec = ProjectionSpec::new(OrderSearch).await.unwrap();
    let second = std::time::Duration::from_secs(1);
    spec.given([placed("A", &[("CUP", 1, 500), ("CUP", 2, 500)])]).await;
    spec.advance(second).given([placed("B", &[("CUP", 9, 100), ("TEA", 1, 1)]), awaiting_stock("B")]).await;
    spec.advance(second).given([placed_by("OTHER", "C", &[("TEA", 1, 3000)]), reserved("C")]).await;
    spec.advance(second).given([placed("D", &[("POT", 1, 10)]), cancelled("D")]).await;
    spec.advance(second).given([reserved("A"), confirmed("A", 1500)]).await;
    spec
}

#[tokio::test]
async fn orders_are_found_by_customer_product_status_time_and_what_they_wait_for() {
    let spec = searched().await;
    let find = async |request: SearchOrders| search(spec.db().clone(), asked(&request)).await.unwrap();
    let all = find(SearchOrders::default()).await;
    assert_eq!(ids(&all), ["D", "C", "B", "A"], "newest first");
    assert_eq!(all.items[3].order.version, 3);
    let by_customer = SearchOrders { customer_id: Some(CustomerId::parse("OTHER").unwrap()), ..Default::default() };
    assert_eq!(ids(&find(by_customer).await), ["C"]);
    let by_product = SearchOrders { product_id: Some(ProductId::parse("CUP").unwrap()), ..Default::default() };
    assert_eq!(ids(&find(by_product).await), ["B", "A"]);
    let by_status = SearchOrders { status: Some(OrderStatus::Confirmed), ..Default::default() };
    assert_eq!(ids(&find(by_status).await), ["A"]);
    let stuck = find(SearchOrders { waits_for: Some(WaitsFor::Stock), ..Default::default() }).await;
    assert_eq!((ids(&stuck), stuck.items[0].waits_for), (vec!["B"], Some(WaitsFor::Stock)));
    let start = choreography::envelope::unix_millis(choreography_test::START);
    let by_time = SearchOrders { from: Some(start + 1000), to: Some(start + 3000), ..Default::default() };
    assert_eq!(ids(&find(by_time).await), ["C", "B"]);
}

#[tokio::test]
async fn pages_of_every_sort_follow_each_other_without_a_gap() {
    let spec = searched().await;
    let expected = [
        (OrderSort::Newest, ["D", "C", "B", "A"]),
        (OrderSort::Oldest, ["A", "B", "C", "D"]),
        (OrderSort::LastChanged, ["A", "D", "C", "B"]),
        (OrderSort::LongestUnchanged, ["B", "C", "D", "A"]),
        (OrderSort::Largest, ["C", "A", "B", "D"]),
        (OrderSort::Smallest, ["D", "B", "A", "C"]),
    ];
    for (sort, expected) in expected {
        let mut request = SearchOrders { sort, limit: Some(1), ..Default::default() };
        for id in expected {
            let page = search(spec.db().clone(), asked(&request)).await.unwrap();
            assert_eq!(ids(&page), [id], "{sort:?}");
            request.cursor = page.next;
        }
        assert_eq!(request.cursor, None, "{sort:?}");
    }
}

#[tokio::test]
async fn sales_count_units_and_money_on_the_day_an_order_becomes_final() {
    let mut spec = ProjectionSpec::new(Sales).await.unwrap();
    spec.given([placed("A", &[("CUP", 2, 500), ("TEA", 1, 100)]), placed("B", &[("CUP", 3, 500)])]).await;
    spec.advance(std::time::Duration::from_secs(24 * 3600)).given([confirmed("A", 1100), cancelled("B")]).await;
    spec.given([placed("C", &[("CUP", 1, 500)]), confirmed("C", 500), placed("D", &[("POT", 1, 1)])]).await;
    let row = |product: &str, confirmed: (i64, i64), cancelled: (i64, i64)| product_sales::Model {
        day: "2030-01-02".to_owned(),
        product_id: product.to_owned(),
        currency: "EUR".to_owned(),
        confirmed_units: confirmed.0,
        confirmed_amount: confirmed.1,
        cancelled_units: cancelled.0,
        cancelled_amount: cancelled.1,
    };
    spec.then::<product_sales::Entity>([row("CUP", (3, 1500), (3, 1500)), row("TEA", (1, 100), (0, 0))]).await;
    let items = r#"[{"productId":"POT","quantity":1,"unitPrice":1}]"#.to_owned();
    let open = open_orders::Model { order_id: "D".to_owned(), currency: "EUR".to_owned(), items };
    spec.then::<open_orders::Entity>([open]).await;

    let days = |from: &str| Query { key: String::new(), body: format!(r#"{{"from": "{from}"}}"#).into() };
    assert_eq!(report(spec.db().clone(), days("2030-01-02")).await.unwrap().items.len(), 2);
    assert_eq!(report(spec.db().clone(), days("2030-01-03")).await.unwrap().items.len(), 0);
    let refused = report(spec.db().clone(), days("yesterday")).await.unwrap_err();
    assert!(matches!(refused, QueryError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn a_customer_has_orders_spending_and_a_last_contact() {
    let mut spec = ProjectionSpec::new(Customers).await.unwrap();
    spec.given([placed("A", &[("CUP", 1, 500)]), placed("B", &[("CUP", 1, 700)]), placed("C", &[("CUP", 1, 1)])])
        .await;
    spec.advance(std::time::Duration::from_secs(60))
        .given([confirmed("A", 500), confirmed("B", 700), cancelled("C")])
        .await;
    spec.given([placed("D", &[("CUP", 1, 900)]), reserved("D")]).await;
    let asked = |id: &str| Query { key: id.to_owned(), body: "".into() };
    let summary = customer(spec.db().clone(), asked(CUSTOMER)).await.unwrap();
    assert_eq!((summary.orders, summary.open, summary.confirmed, summary.cancelled), (4, 1, 2, 1));
    assert_eq!(summary.spent, [Spent { currency: eur(), amount: 1200 }]);
    assert_eq!(summary.last_contact, "2030-01-01T00:01:00Z");
    let unknown = customer(spec.db().clone(), asked("NOBODY")).await.unwrap_err();
    assert!(matches!(unknown, QueryError::NotFound(_)), "{unknown}");
}
