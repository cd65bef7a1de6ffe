//! An invalid request about an account gets 4xx with the location of the error, and nothing of it reaches a stream.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::bad_requests::{nothing_was_published, places};
use crate::support::{HttpResponse, Shop, an_account, an_account_view, details};

const PATH: &str = "/accounts/CUSTOMER_001";

/// An account with one property changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut account = an_account("CUSTOMER_001");
    *account.pointer_mut(pointer).unwrap() = value;
    account
}

/// An account with an additional property.
fn and(parent: &str, name: &str, value: Value) -> Value {
    let mut account = an_account("CUSTOMER_001");
    account.pointer_mut(parent).unwrap()[name] = value;
    account
}

/// An account without one property.
fn without(pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut account = an_account("CUSTOMER_001");
    account.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    account
}

fn put(shop: &Shop, body: &Value) -> RequestBuilder {
    shop.request("PUT", PATH).json(body).header("if-match", "\"1\"")
}

/// Invalid lines.
fn invalid_lines() -> Vec<Value> {
    vec![
        json!(""),
        json!("  "),
        json!("a\nb"),
        json!("a\u{0}b"),
        json!("ä".repeat(201)),
        json!(1),
        json!([]),
        Value::Null,
        json!("4111 1111 1111 1111"),
    ]
}

fn wrong_texts() -> Vec<(Value, &'static str)> {
    let lines = [
        "/name",
        "/addresses/0/street",
        "/addresses/1/postalCode",
        "/addresses/1/city",
        "/addresses/0/country",
        "/card/brand",
    ];
    let mut cases = Vec::new();
    for pointer in lines {
        cases.push((without(pointer), pointer));
        cases.extend(invalid_lines().into_iter().map(|bad| (with(pointer, bad), pointer)));
    }
    for (pointer, bad) in [
        ("/addresses/0/type", vec![json!("home"), json!("Billing"), json!(""), json!(1), Value::Null]),
        (
            "/contact/email",
            vec![json!("zoe"), json!("zoe@"), json!("a@b"), json!("a b@c.d"), json!(1), Value::Null],
        ),
        ("/contact/phone", vec![json!(""), json!("12"), json!("phone"), json!("1234567890123456"), json!(112)]),
        (
            "/card/token",
            vec![json!(""), json!("tok 1"), json!("t".repeat(101)), json!("4111.1111.1111.1111"), json!(1)],
        ),
        ("/card/lastFour", vec![json!("111"), json!("11111"), json!("111x"), json!(1111), Value::Null]),
        ("/card/expiry", vec![json!("2030"), json!("2030-13"), json!("12/30"), json!("2030-1"), json!(203_012)]),
        ("/creditLimit/currency", vec![json!("EURO"), json!("eur"), json!("ZZZ"), json!(978), Value::Null]),
    ] {
        cases.extend(bad.into_iter().map(|bad| (with(pointer, bad), pointer)));
    }
    for pointer in [
        "/addresses/0/type",
        "/contact/email",
        "/card/token",
        "/card/lastFour",
        "/card/expiry",
        "/creditLimit/currency",
    ] {
        cases.push((without(pointer), pointer));
    }
    cases
}

fn wrong_shapes() -> Vec<(Value, &'static str)> {
    let address = || an_account("x")["addresses"][0].clone();
    vec![
        (with("/creditLimit/amount", json!(-1)), "/creditLimit/amount"),
        (with("/creditLimit/amount", json!(9.99)), "/creditLimit/amount"),
        (with("/creditLimit/amount", json!("100")), "/creditLimit/amount"),
        (with("/creditLimit/amount", json!(9_007_199_254_740_992_i64)), "/creditLimit/amount"),
        (without("/creditLimit/amount"), "/creditLimit/amount"),
        (without("/creditLimit"), "/creditLimit"),
        (with("/creditLimit", Value::Null), "/creditLimit"),
        (with("/creditLimit", json!(100)), "/creditLimit"),
        (without("/contact"), "/contact"),
        (with("/contact", json!("zoe@example.org")), "/contact"),
        (with("/card", json!("tok_1")), "/card"),
        (with("/card", json!([])), "/card"),
        (without("/addresses"), "/addresses"),
        (with("/addresses", json!({})), "/addresses"),
        (with("/addresses", json!([1])), "/addresses/0"),
        (with("/addresses", Value::Array(vec![address(); 11])), "/addresses"),
        (and("", "nickname", json!("Z")), "/nickname"),
        (and("/addresses/1", "planet", json!("Earth")), "/addresses/1/planet"),
        (and("/contact", "fax", json!("1")), "/contact/fax"),
        (and("/card", "number", json!("4111111111111111")), "/card/number"),
        (and("/card", "cvc", json!("123")), "/card/cvc"),
        (and("/creditLimit", "used", json!(0)), "/creditLimit/used"),
        (json!([]), ""),
        (json!("account"), ""),
        (Value::Null, ""),
    ]
}

#[tokio::test]
async fn every_invalid_field_of_an_account_is_reported() {
    let shop = Shop::start().await;
    for (body, pointer) in wrong_texts().into_iter().chain(wrong_shapes()) {
        let mut change = body.clone();
        if let Some(change) = change.as_object_mut() {
            change.remove("customerId");
        }
        let create = shop.post("/accounts", &body).header("idempotency-key", "\"key\"");
        for (request, body) in [(create, body), (put(&shop, &change), change)] {
            let response = HttpResponse::of(request).await;
            response.is_problem(422, "validation");
            assert_eq!(places(&response), [format!("pointer {pointer}")], "{body}");
            assert!(!response.body.to_string().contains("4111"), "{response:?}");
        }
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn an_invalid_customer_id_is_reported() {
    let shop = Shop::start().await;
    let long = "k".repeat(65);
    for bad in ["a.b", "", "*", ">", "a b", "ä", &long, "4111111111111111", "4111-1111-1111-1111"] {
        let response = HttpResponse::of(shop.post("/accounts", &with("/customerId", json!(bad)))).await;
        response.is_problem(422, "validation");
        assert_eq!(places(&response), ["pointer /customerId"], "{bad}");
    }
    for body in [without("/customerId"), with("/customerId", json!(1)), with("/customerId", Value::Null)] {
        let response = HttpResponse::of(shop.post("/accounts", &body)).await;
        assert_eq!(places(&response), ["pointer /customerId"], "{body}");
    }
    let versioned = HttpResponse::of(shop.post("/accounts", &and("", "version", json!(1)))).await;
    assert_eq!(places(&versioned), ["pointer /version"], "a new account has no version");
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn a_change_that_contradicts_its_path_or_its_version_is_refused() {
    let shop = Shop::start().await;
    let response = HttpResponse::of(put(&shop, &an_account_view(&an_account("CUSTOMER_002"), 2))).await;
    response.is_problem(422, "validation");
    assert_eq!(places(&response), ["pointer /customerId", "pointer /version"]);
    for bad in [json!(0), json!("1"), json!(1.5)] {
        let response = HttpResponse::of(put(&shop, &and("", "version", bad))).await;
        assert_eq!(places(&response), ["pointer /version"]);
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn all_invalid_fields_of_an_account_are_reported_at_once() {
    let shop = Shop::start().await;
    let body = json!({
        "customerId": "a b", "name": "", "addresses": [{"type": "home", "street": "S", "zip": "1"}],
        "contact": {}, "card": {"token": "4111111111111111"}, "creditLimit": {"amount": -1, "currency": "€"}
    });
    let response = HttpResponse::of(shop.post("/accounts", &body)).await;
    response.is_problem(422, "validation");
    let expected = [
        "/customerId",
        "/name",
        "/addresses/0/type",
        "/addresses/0/postalCode",
        "/addresses/0/city",
        "/addresses/0/country",
        "/addresses/0/zip",
        "/contact/email",
        "/card/token",
        "/card/brand",
        "/card/lastFour",
        "/card/expiry",
        "/creditLimit/amount",
        "/creditLimit/currency",
    ];
    assert_eq!(places(&response), expected.map(|pointer| format!("pointer {pointer}")));
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn bodies_with_another_media_type_or_size_are_refused() {
    let shop = Shop::start().await;
    let account = an_account("CUSTOMER_001").to_string();
    let change = details(&an_account("CUSTOMER_001")).to_string();
    let large = with("/name", json!("x".repeat(64 * 1024))).to_string();
    for (method, path, body) in [("POST", "/accounts", &account), ("PUT", PATH, &change)] {
        let request = || shop.request(method, path).header("if-match", "\"1\"");
        let typed =
            |media_type: &str, body: &str| request().header("content-type", media_type).body(body.to_owned());
        HttpResponse::of(request().body(body.clone())).await.is_problem(415, "unsupported-media-type");
        HttpResponse::of(typed("text/plain", body)).await.is_problem(415, "unsupported-media-type");
        HttpResponse::of(request()).await.is_problem(415, "unsupported-media-type");
        HttpResponse::of(typed("application/json", &large)).await.is_problem(413, "body-too-large");
        HttpResponse::of(typed("application/json", &body[1..])).await.is_problem(400, "malformed-json");
        let twice = body.replacen("\"name\":", "\"name\":\"a\",\"name\":", 1);
        let response = HttpResponse::of(typed("application/json", &twice)).await;
        response.is_problem(400, "malformed-json");
        assert_eq!(places(&response), ["pointer /name"]);
    }
    nothing_was_published(&shop).await;
}

#[tokio::test]
async fn invalid_paths_parameters_and_headers_of_accounts_are_reported() {
    let shop = Shop::start().await;
    let account = an_account("CUSTOMER_001");
    let create = || shop.post("/accounts", &account);
    let long_id = format!("/accounts/{}", "k".repeat(65));
    let cases: Vec<(RequestBuilder, &str)> = vec![
        (shop.get("/accounts/a.b"), "parameter id"),
        (shop.get("/accounts/*"), "parameter id"),
        (shop.get("/accounts/%3E"), "parameter id"),
        (shop.get("/accounts/4111111111111111"), "parameter id"),
        (shop.get(&long_id), "parameter id"),
        (shop.request("PUT", "/accounts/a%20b").json(&account).header("if-match", "\"1\""), "parameter id"),
        (shop.request("DELETE", "/accounts/a.b").header("if-match", "\"1\""), "parameter id"),
        (shop.get("/accounts/CUSTOMER_001?version=1"), "parameter version"),
        (shop.post("/accounts?wait=1", &account), "parameter wait"),
        (create().header("idempotency-key", "\"open"), "header Idempotency-Key"),
        (create().header("prefer", "wait=soon"), "header Prefer"),
        (shop.get("/orders/a.b/payment"), "parameter id"),
        (shop.get("/customers/a.b/notifications"), "parameter id"),
        (shop.get("/customers/A/notifications?after=-1"), "parameter after"),
        (shop.get("/customers/A/notifications?after=x"), "parameter after"),
        (shop.get("/customers/A/notifications?after=99999999999999999999"), "parameter after"),
        (shop.get("/customers/A/notifications?limit=0"), "parameter limit"),
        (shop.get("/customers/A/notifications?limit=201"), "parameter limit"),
        (shop.get("/customers/A/notifications?cursor=1"), "parameter cursor"),
    ];
    for (request, place) in cases {
        let shown = format!("{request:?}");
        let response = HttpResponse::of(request).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(places(&response), [place], "{shown}");
    }
    for (method, path, allow) in [
        ("GET", "/accounts", "POST"),
        ("DELETE", "/accounts", "POST"),
        ("POST", PATH, "DELETE, GET, PUT"),
        ("PATCH", PATH, "DELETE, GET, PUT"),
        ("POST", "/orders/ORDER_001/payment", "GET"),
        ("POST", "/customers/A/notifications", "GET"),
    ] {
        let response = HttpResponse::of(shop.request(method, path)).await;
        response.is_problem(405, "method-not-allowed");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
    nothing_was_published(&shop).await;
}
