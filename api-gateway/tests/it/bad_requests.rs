//! An invalid request gets 4xx with the location of the error, and nothing of it reaches a stream.

use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop, an_order};

/// An order with one property changed.
fn order_with(pointer: &str, value: Value) -> Value {
    let mut order = an_order("ORDER_001");
    *order.pointer_mut(pointer).unwrap() = value;
    order
}

fn order_without(name: &str) -> Value {
    let mut order = an_order("ORDER_001");
    order.as_object_mut().unwrap().remove(name).unwrap();
    order
}

/// Returns the locations of a problem's errors.
pub(crate) fn places(response: &HttpResponse) -> Vec<String> {
    let errors = response.body["errors"].as_array().cloned().unwrap_or_default();
    let place = |error: &Value| {
        ["pointer", "parameter", "header"]
            .iter()
            .find_map(|kind| error[*kind].as_str().map(|text| format!("{kind} {text}")))
            .unwrap()
    };
    errors.iter().map(place).collect()
}

pub(crate) async fn nothing_was_published(shop: &Shop) {
    assert_eq!(shop.commands().await, []);
    assert_eq!(shop.keys().await, 0);
}

#[tokio::test]
async fn every_invalid_field_of_an_order_is_reported() {
    let shop = Shop::start().await;
    let long = "k".repeat(65);
    let cases: Vec<(Value, &str)> = vec![
        (order_with("/orderId", json!("a.b")), "/orderId"),
        (order_with("/orderId", json!("")), "/orderId"),
        (order_with("/orderId", json!("*")), "/orderId"),
        (order_with("/orderId", json!(">")), "/orderId"),
        (order_with("/orderId", json!("a b")), "/orderId"),
        (order_with("/orderId", json!("ä")), "/orderId"),
        (order_with("/orderId", json!("a\u{0}")), "/orderId"),
        (order_with("/orderId", json!(long)), "/orderId"),
        (order_with("/orderId", json!(1)), "/orderId"),
        (order_with("/customerId", json!("a/b")), "/customerId"),
        (order_with("/customerId", Value::Null), "/customerId"),
        (order_without("customerId"), "/customerId"),
        (order_with("/currency", json!("EURO")), "/currency"),
        (order_with("/currency", json!("eur")), "/currency"),
        (order_with("/currency", json!("ZZZ")), "/currency"),
        (order_with("/currency", json!(978)), "/currency"),
        (order_without("currency"), "/currency"),
        (order_without("items"), "/items"),
        (order_with("/items", json!([])), "/items"),
        (order_with("/items", json!({})), "/items"),
        (order_with("/items", json!([1])), "/items/0"),
        (order_with("/items", Value::Array(vec![an_order("x")["items"][0].clone(); 101])), "/items"),
        (order_with("/items/1/productId", json!("a.b")), "/items/1/productId"),
        (order_with("/items/1", json!({"quantity": 1, "unitPrice": 1})), "/items/1/productId"),
        (order_with("/items/0/quantity", json!(0)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(-1)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(1.5)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(1e30)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(1_000_001)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!("3")), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(true)), "/items/0/quantity"),
        (order_with("/items/0/quantity", json!(u64::MAX)), "/items/0/quantity"),
        (order_with("/items/1/unitPrice", json!(-1)), "/items/1/unitPrice"),
        (order_with("/items/1/unitPrice", json!(9.99)), "/items/1/unitPrice"),
        (order_with("/items/1/unitPrice", json!(9_007_199_254_740_992_i64)), "/items/1/unitPrice"),
        (order_with("/items/1/unitPrice", json!([1])), "/items/1/unitPrice"),
        (order_with("/totalPrice", json!(3999)), "/totalPrice"),
        (order_with("/totalPrice", json!(-4000)), "/totalPrice"),
        (order_with("/totalPrice", json!("4000")), "/totalPrice"),
        (order_with("/items/0/unitPrice", json!(9_007_199_254_740_991_i64)), "/items"),
        (json!([]), ""),
        (json!("order"), ""),
        (Value::Null, ""),
    ];
    for (body, pointer) in cases {
        let response = HttpResponse::of(shop.post("/orders", &body).header("idempotency-key", "\"key\"")).await;
        response.is_problem(422, "validation");
        assert_eq!(places(&response), [format!("pointer {pointer}")], "{body}");
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn all_invalid_fields_are_reported_at_once() {
    let shop = Shop::start().await;
    let body = json!({
        "customerId": "a b", "currency": "EUR", "gift/wrap~": true, "totalPrice": 1.5,
        "items": [{"productId": "P", "quantity": 0, "unitPrice": "1", "colour": "red"}]
    });
    let response = HttpResponse::of(shop.post("/orders", &body)).await;
    response.is_problem(422, "validation");
    let expected = [
        "pointer /customerId",
        "pointer /items/0/quantity",
        "pointer /items/0/unitPrice",
        "pointer /items/0/colour",
        "pointer /totalPrice",
        "pointer /gift~1wrap~0",
    ];
    assert_eq!(places(&response), expected);
    let detail = &response.body["errors"][1]["detail"];
    assert_eq!(detail, "must be a whole number from 1 to 1000000");
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn a_body_that_is_not_valid_json_is_refused_with_line_and_column() {
    let shop = Shop::start().await;
    let send = |body: Vec<u8>| {
        HttpResponse::of(shop.request("POST", "/orders").header("content-type", "application/json").body(body))
    };
    let twice = b"{\"customerId\": \"a\",\n \"customerId\": \"b\"}".to_vec();
    for (body, line, place) in [
        (b"".to_vec(), "line 1", "pointer "),
        (b"{".to_vec(), "line 1", "pointer "),
        (b"{\n  \"customerId\": \"a\",\n}".to_vec(), "line 3", "pointer "),
        (b"{\"currency\": \"\xff\"}".to_vec(), "line 1", "pointer /currency"),
        (b"{\"currency\": \"\\ud800\"}".to_vec(), "line 1", "pointer /currency"),
        (b"{\"items\": [{\"quantity\": 1e400}]}".to_vec(), "line 1", "pointer /items/0/quantity"),
        (b"{\"items\": [{\"quantity\": NaN}]}".to_vec(), "line 1", "pointer /items/0/quantity"),
        (b"{} {}".to_vec(), "line 1 column 4", "pointer "),
        (twice, "line 2", "pointer /customerId"),
        (b"[".repeat(60_000), "line 1", "pointer "),
    ] {
        let response = send(body.clone()).await;
        response.is_problem(400, "malformed-json");
        let detail = response.body["detail"].as_str().unwrap();
        assert!(detail.contains(line), "{detail}");
        assert!(places(&response)[0].starts_with(place), "{response:?}");
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn a_body_with_another_media_type_or_size_is_refused() {
    let shop = Shop::start().await;
    let order = an_order("ORDER_001").to_string();
    let with_type = |content_type: &str| {
        shop.request("POST", "/orders").header("content-type", content_type).body(order.clone())
    };
    for request in [
        shop.request("POST", "/orders").body(order.clone()),
        with_type("text/plain"),
        with_type("application/x-www-form-urlencoded"),
        with_type("application/json; charset=iso-8859-1"),
        with_type("application/json-patch+json"),
        with_type("nonsense"),
        with_type("application/json").header("content-encoding", "gzip"),
        shop.request("POST", "/orders"),
        shop.request("POST", "/orders/ORDER_001/cancel").body("{}"),
    ] {
        HttpResponse::of(request).await.is_problem(415, "unsupported-media-type");
    }
    let large = format!("{{\"customerId\": \"{}\"}}", "x".repeat(64 * 1024));
    let request = || shop.request("POST", "/orders").header("content-type", "application/json");
    HttpResponse::of(request().body(large.clone())).await.is_problem(413, "body-too-large");
    let chunks = futures::stream::iter(
        large.into_bytes().chunks(1000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    HttpResponse::of(request().body(reqwest::Body::wrap_stream(chunks))).await.is_problem(413, "body-too-large");
    nothing_was_published(&shop).await;

    let accepted = HttpResponse::of(with_type("Application/JSON; charset=\"UTF-8\"")).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
}

#[tokio::test]
async fn invalid_paths_parameters_and_headers_are_reported() {
    let shop = Shop::start().await;
    let order = an_order("ORDER_001");
    let place = || shop.post("/orders", &order);
    let restock = |path: &str| shop.post(path, &json!({"quantity": 5}));
    let not_ascii = HeaderValue::from_bytes(b"\"k\xc3\xa4\"").unwrap();
    let long_key = format!("\"{}\"", "k".repeat(256));
    let long_id = format!("/orders/{}", "k".repeat(65));
    let cases: Vec<(RequestBuilder, &str)> = vec![
        (place().header("idempotency-key", ""), "header Idempotency-Key"),
        (place().header("idempotency-key", "\"\""), "header Idempotency-Key"),
        (place().header("idempotency-key", "\"open"), "header Idempotency-Key"),
        (place().header("idempotency-key", "two words"), "header Idempotency-Key"),
        (place().header("idempotency-key", long_key), "header Idempotency-Key"),
        (place().header("idempotency-key", not_ascii), "header Idempotency-Key"),
        (place().header("idempotency-key", "\"a\"").header("idempotency-key", "\"b\""), "header Idempotency-Key"),
        (place().header("prefer", "wait=soon"), "header Prefer"),
        (place().header("prefer", "wait=-1"), "header Prefer"),
        (shop.get("/events").header("last-event-id", "abc"), "header Last-Event-ID"),
        (shop.get("/events").header("last-event-id", "-1"), "header Last-Event-ID"),
        (shop.get("/events?lastEventId=1.5"), "parameter lastEventId"),
        (shop.get("/events?orderId=*"), "parameter orderId"),
        (shop.get("/orders/a.b"), "parameter id"),
        (shop.get("/orders/a%20b"), "parameter id"),
        (shop.get("/orders/%3E/history"), "parameter id"),
        (shop.get("/orders/*"), "parameter id"),
        (shop.get(&long_id), "parameter id"),
        (shop.get("/products/a.b"), "parameter id"),
        (shop.request("POST", "/orders/a.b/cancel"), "parameter id"),
        (restock("/products/a.b/restock"), "parameter id"),
        (shop.get("/orders?limit=0"), "parameter limit"),
        (shop.get("/orders?limit=201"), "parameter limit"),
        (shop.get("/orders?limit=ten"), "parameter limit"),
        (shop.get("/orders?limit="), "parameter limit"),
        (shop.get("/orders?limit=1&limit=2"), "parameter limit"),
        (shop.get("/orders?status=done"), "parameter status"),
        (shop.get("/orders?customerId=a.b"), "parameter customerId"),
        (shop.get("/orders?cursor=a%20b"), "parameter cursor"),
        (shop.get("/orders?customer=CUSTOMER_001"), "parameter customer"),
        (shop.get("/products?cursor=a.b"), "parameter cursor"),
        (shop.post("/orders?wait=1", &order), "parameter wait"),
    ];
    for (request, place) in cases {
        let shown = format!("{request:?}");
        let response = HttpResponse::of(request).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(places(&response), [place], "{shown}");
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn an_invalid_cancellation_or_restock_is_refused() {
    let shop = Shop::start().await;
    for body in [
        json!({"reason": "r".repeat(501)}),
        json!({"reason": 1}),
        json!({"reason": "a\u{0}b"}),
        json!({"why": "because"}),
        json!([]),
    ] {
        HttpResponse::of(shop.post("/orders/ORDER_001/cancel", &body)).await.is_problem(422, "validation");
    }
    for body in [
        json!({}),
        json!({"quantity": 0}),
        json!({"quantity": "5"}),
        json!({"quantity": 5.5}),
        json!({"quantity": 40_001}),
        json!({"quantity": 5, "productId": "PRODUCT_002"}),
    ] {
        HttpResponse::of(shop.post("/products/PRODUCT_001/restock", &body)).await.is_problem(422, "validation");
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let shop = Shop::start().await;
    for path in ["/order", "/orders/", "/orders/ORDER_001/", "/orders/ORDER_001/pay", "/problems/none", "/../x"] {
        HttpResponse::of(shop.get(path)).await.is_problem(404, "route-not-found");
    }
    for (method, path, allow) in [
        ("DELETE", "/orders", "GET, POST"),
        ("PUT", "/orders/ORDER_001", "GET"),
        ("GET", "/orders/ORDER_001/cancel", "POST"),
        ("PATCH", "/products", "GET"),
        ("POST", "/events", "GET"),
        ("HEAD", "/orders/ORDER_001/cancel", "POST"),
        ("POST", "/openapi.json", "GET"),
        ("DELETE", "/liveness", "GET"),
        ("BREW", "/orders", "GET, POST"),
    ] {
        let response = HttpResponse::of(shop.request(method, path)).await;
        assert_eq!((response.status.as_u16(), response.header("allow")), (405, Some(allow)), "{method} {path}");
        if method != "HEAD" {
            response.is_problem(405, "method-not-allowed");
        }
    }
    let explained = HttpResponse::of(shop.get("/problems/validation")).await;
    assert!(explained.body.as_str().unwrap().starts_with("Invalid content (422"), "{explained:?}");
    nothing_was_published(&shop).await;
}
