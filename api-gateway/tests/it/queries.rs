//! Queries are relayed unchanged, with a time limit.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bad_requests::places;
use crate::support::{FakeService, HttpResponse, Shop, a_view, an_order};

#[tokio::test]
async fn an_order_is_relayed_unchanged() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let view = a_view(&an_order("ORDER_001"), "reserved");
    service.will_reply("order.query.get.ORDER_001", Ok(view.clone()));
    let response = HttpResponse::of(shop.get("/orders/ORDER_001")).await;
    assert_eq!((response.status.as_u16(), response.header("content-type")), (200, Some("application/json")));
    assert_eq!(response.body, view);
    let head = HttpResponse::of(shop.request("HEAD", "/orders/ORDER_001")).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, Some("")));

    let history = json!({"orderId": "ORDER_001", "events": []});
    service.will_reply("order.query.history.ORDER_001", Ok(history.clone()));
    assert_eq!(HttpResponse::of(shop.get("/orders/ORDER_001/history")).await.body, history);
}

#[tokio::test]
async fn an_order_as_it_was_is_asked_of_the_service() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let view = a_view(&an_order("ORDER_001"), "placed");
    service.will_reply("order.query.get.ORDER_001", Ok(view.clone()));
    for query in ["version=2", "at=2026-11-27T10:00:00Z", "at=2026-11-27T11:30:00.5%2B01:00"] {
        let response = HttpResponse::of(shop.get(&format!("/orders/ORDER_001?{query}"))).await;
        assert_eq!((response.status.as_u16(), response.body), (200, view.clone()));
    }
    let asked: Vec<_> = service.queries().into_iter().map(|(_, body)| body).collect();
    let expected =
        [json!({"version": 2}), json!({"at": "2026-11-27T10:00:00Z"}), json!({"at": "2026-11-27T10:30:00.5Z"})];
    assert_eq!(asked, expected);

    for (query, parameter) in [
        ("version=2&at=2026-11-27T10:00:00Z", "at"),
        ("version=0", "version"),
        ("version=two", "version"),
        ("version=99999999999999999999", "version"),
        ("at=yesterday", "at"),
        ("at=2026-11-27", "at"),
    ] {
        let response = HttpResponse::of(shop.get(&format!("/orders/ORDER_001?{query}"))).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(places(&response), [format!("parameter {parameter}")], "{query}");
    }
    assert_eq!(service.queries().len(), 3, "an invalid request is not asked of the service");

    service.will_reply("order.query.get.ORDER_001", Err(404));
    let response = HttpResponse::of(shop.get("/orders/ORDER_001?version=7")).await;
    response.is_problem(404, "order-not-found");
    assert_eq!(response.body["detail"], "an error of the service");
}

#[tokio::test]
async fn the_parameters_of_a_list_reach_the_service() {
    let shop = Shop::start().await;
    let projections = FakeService::start(&shop, "projection-service", "projection").await;
    let page = json!({"items": [a_view(&an_order("ORDER_001"), "placed")], "next": "17.ORDER_001", "asOf": null});
    projections.will_reply("projection.query.orders", Ok(page.clone()));
    assert_eq!(HttpResponse::of(shop.get("/orders")).await.body, page);
    let filters = "customerId=CUSTOMER_001&productId=KETTLE&status=awaiting-stock&waitsFor=stock";
    let range = "from=1970-01-01T00:00:01Z&to=1970-01-01T00:00:02.5Z&sort=totalPrice&cursor=17.ORDER_001&limit=2";
    HttpResponse::of(shop.get(&format!("/orders?{filters}&{range}"))).await;
    let queries: Vec<_> = projections.queries().into_iter().map(|(_, body)| body).collect();
    let nothing = json!({
        "customerId": null, "productId": null, "status": null, "waitsFor": null, "from": null, "to": null,
        "sort": "-placedAt", "cursor": null, "limit": 50
    });
    let everything = json!({
        "customerId": "CUSTOMER_001", "productId": "KETTLE", "status": "awaiting-stock", "waitsFor": "stock",
        "from": 1000, "to": 2500, "sort": "totalPrice", "cursor": "17.ORDER_001", "limit": 2
    });
    assert_eq!(queries, [nothing, everything]);

    let report = json!({"items": [], "isTruncated": false, "asOf": "2026-11-27T10:00:00Z"});
    projections.will_reply("projection.query.sales", Ok(report.clone()));
    assert_eq!(HttpResponse::of(shop.get("/reports/sales?from=2026-11-26")).await.body, report);
    assert_eq!(projections.queries()[2].1, json!({"from": "2026-11-26", "to": null}));
    HttpResponse::of(shop.get("/customers/NOBODY/summary")).await.is_problem(404, "customer-has-no-orders");

    let inventory = FakeService::start(&shop, "inventory-service", "inventory").await;
    let page = json!({"items": [], "next": null});
    inventory.will_reply("inventory.query.products", Ok(page.clone()));
    assert_eq!(HttpResponse::of(shop.get("/products?cursor=PRODUCT_001&limit=200")).await.body, page);
    assert_eq!(inventory.queries()[0].1, json!({"after": "PRODUCT_001", "limit": 200}));
    let product = json!({"productId": "PRODUCT_001", "available": 5, "reserved": 1, "backordered": 0});
    inventory.will_reply("inventory.query.product.PRODUCT_001", Ok(product.clone()));
    assert_eq!(HttpResponse::of(shop.get("/products/PRODUCT_001")).await.body, product);
}

#[tokio::test]
async fn the_payment_of_an_order_is_relayed_unchanged() {
    let shop = Shop::start().await;
    let payments = FakeService::start(&shop, "payment-service", "payment").await;
    let payment = json!({
        "orderId": "ORDER_001", "customerId": "CUSTOMER_001", "status": "declined", "amount": 4000,
        "currency": "EUR", "reason": "limit-exceeded", "reference": null, "updatedAt": "2026-11-21T10:00:00Z"
    });
    payments.will_reply("payment.query.get.ORDER_001", Ok(payment.clone()));
    let response = HttpResponse::of(shop.get("/orders/ORDER_001/payment")).await;
    assert_eq!((response.status.as_u16(), response.body), (200, payment));
    HttpResponse::of(shop.get("/orders/ORDER_002/payment")).await.is_problem(404, "payment-not-found");
    payments.will_reply("payment.query.get.ORDER_002", Err(503));
    HttpResponse::of(shop.get("/orders/ORDER_002/payment")).await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn the_notifications_of_a_customer_are_relayed_page_by_page() {
    let shop = Shop::start().await;
    let subject = "notification.query.list.CUSTOMER_001";
    let service = FakeService::start(&shop, "notification-service", "notification").await;
    let page = json!({
        "items": [{
            "sequence": 18, "eventId": "0193", "customerId": "CUSTOMER_001", "orderId": "ORDER_001",
            "type": "order.confirmed.v1", "subject": "Your order", "text": "It is confirmed.",
            "createdAt": "2026-11-21T10:00:00Z", "deliveredAt": null
        }],
        "next": "18"
    });
    service.will_reply(subject, Ok(page.clone()));
    let response = HttpResponse::of(shop.get("/customers/CUSTOMER_001/notifications")).await;
    assert_eq!((response.status.as_u16(), response.body), (200, page));
    HttpResponse::of(shop.get("/customers/CUSTOMER_001/notifications?after=18&limit=1")).await;
    let queries: Vec<_> = service.queries().into_iter().map(|(_, body)| body).collect();
    assert_eq!(queries, [json!({"after": null, "limit": 50}), json!({"after": 18, "limit": 1})]);
    for body in queries {
        serde_json::from_value::<contracts::query::ListNotifications>(body).unwrap();
    }
}

#[tokio::test]
async fn an_error_of_a_service_is_a_problem_without_its_details() {
    let shop = Shop::start().await;
    let _orders = FakeService::orders(&shop).await;
    let projections = FakeService::start(&shop, "projection-service", "projection").await;
    let _inventory = FakeService::start(&shop, "inventory-service", "inventory").await;
    HttpResponse::of(shop.get("/orders/ORDER_001")).await.is_problem(404, "order-not-found");
    HttpResponse::of(shop.get("/orders/ORDER_001/history")).await.is_problem(404, "order-not-found");
    HttpResponse::of(shop.get("/products/PRODUCT_001")).await.is_problem(404, "product-not-found");
    for (code, status, problem) in
        [(400, 400, "invalid-parameter"), (503, 503, "unavailable"), (500, 503, "unavailable")]
    {
        projections.will_reply("projection.query.orders", Err(code));
        let response = HttpResponse::of(shop.get("/orders?cursor=nonsense")).await;
        response.is_problem(status, problem);
        assert_eq!(response.body.to_string().contains("an error of the service"), code == 400, "{response:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_or_hangs_is_a_503_in_time() {
    let shop = Shop::start().await;
    let start = Instant::now();
    for path in [
        "/orders",
        "/orders/ORDER_001",
        "/orders/ORDER_001/history",
        "/products",
        "/products/PRODUCT_001",
        "/orders/ORDER_001/payment",
        "/accounts/CUSTOMER_001",
        "/customers/CUSTOMER_001/notifications",
    ] {
        HttpResponse::of(shop.get(path)).await.is_problem(503, "unavailable");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "the server reports at once that there is no responder");

    let service = FakeService::orders(&shop).await;
    service.will_reply("order.query.get.ORDER_001", Err(0));
    let start = Instant::now();
    HttpResponse::of(shop.get("/orders/ORDER_001")).await.is_problem(503, "unavailable");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_timeline_is_built_with_the_permissions_of_the_gateway() {
    let shop = Shop::start().await;
    HttpResponse::of(shop.get("/orders/ORDER_001/timeline")).await.is_problem(503, "unavailable");
    HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await;
    let response = HttpResponse::of(shop.get("/orders/ORDER_001/timeline")).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.body["steps"][0]["subject"], "order.command.place.ORDER_001");
    assert_eq!(response.body["steps"][0]["consumers"][0]["status"], "unknown");
    let sources = response.body["sources"].as_array().unwrap();
    let available =
        |name: &str| sources.iter().find(|source| source["name"] == name).map(|s| s["available"] == true);
    assert_eq!(
        (available("COMMANDS"), available("EVENTS"), available("TIMERS")),
        (Some(true), Some(true), Some(true))
    );
    assert_eq!((available("DEAD_LETTERS"), available("order-service")), (None, Some(false)));
    assert!(HttpResponse::of(shop.get("/readiness")).await.status.is_success(), "nothing was refused");
}
