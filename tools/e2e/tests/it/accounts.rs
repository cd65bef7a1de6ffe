//! Accounts in events (event-carried state transfer): services keep copies and never query.

use async_nats::HeaderMap;
use demo::Component;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, Response, World, account, eventually, order, order_of, send};

/// The details of an account, as in its events.
fn details(token: &str, limit: u64) -> Value {
    let mut details = account("", token, limit);
    details.as_object_mut().unwrap().remove("customerId");
    details
}

impl World {
    /// Publishes an account event as account-service; without details, a deletion. Waits until it is handled.
    async fn publish_account(&self, id: Uuid, customer: &str, version: u64, details: Option<Value>) {
        let name = if details.is_some() { "changed" } else { "deleted" };
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", id.to_string());
        headers.insert("ce-type", format!("account.{name}.v1"));
        headers.insert("ce-source", "/account-service");
        headers.insert("ce-subject", customer);
        headers.insert("ce-time", "2026-01-02T03:04:05Z");
        headers.insert("ce-correlationid", id.to_string());
        let mut body = json!({"customerId": customer, "version": version});
        if let Some(details) = details {
            body["details"] = details;
        }
        let subject = format!("account.event.{name}.{customer}");
        self.publish_as("account-service", &subject, headers, body.to_string().into_bytes()).await;
        eventually("the account event is handled", || async {
            let info = self.stream("EVENTS").await.consumer_info("payment-service").await.unwrap();
            info.num_pending == 0 && info.num_ack_pending == 0
        })
        .await;
    }

    /// Publishes a new account event.
    async fn publish_new(&self, customer: &str, version: u64, details: Option<Value>) {
        self.publish_account(Uuid::now_v7(), customer, version, details).await;
    }

    /// Orders one unit for 10 EUR; returns the final status, and the card token or the reason.
    async fn buys(&self, customer: &str, n: u32) -> (String, String) {
        let id = format!("{customer}_{n}");
        let placed = self.place_and_wait(&order_of(customer, &id, "PRODUCT_001", 1)).await;
        self.outcome(&placed, &id).await
    }

    async fn outcome(&self, placed: &Response, id: &str) -> (String, String) {
        let entries = self.ledger().await;
        let paid = entries.iter().find(|entry| entry["orderId"] == id).map(|entry| entry["token"].clone());
        let status = placed.body["status"].as_str().unwrap_or_else(|| panic!("{placed:?}"));
        let reason = &placed.body["reason"]["reason"];
        let token = paid.as_ref().or(Some(reason)).and_then(Value::as_str).unwrap_or_default();
        (status.to_owned(), token.to_owned())
    }
}

fn confirmed_by(token: &str) -> (String, String) {
    ("confirmed".to_owned(), token.to_owned())
}

fn declined(reason: &str) -> (String, String) {
    ("cancelled".to_owned(), reason.to_owned())
}

#[tokio::test]
async fn duplicate_late_and_unordered_account_changes_have_the_right_result() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;

    // Duplicates: the same message, and the same version in another message.
    let first = Uuid::now_v7();
    for id in [first, first, Uuid::now_v7()] {
        world.publish_account(id, "TWICE", 1, Some(details("tok_a", 1500))).await;
    }
    assert_eq!(world.buys("TWICE", 1).await, confirmed_by("tok_a"));
    world.publish_account(first, "TWICE", 1, Some(details("tok_a", 1500))).await;
    assert_eq!(world.buys("TWICE", 2).await, declined("limit-exceeded"));

    // Out of order: an older version changes nothing.
    for (version, token, limit) in [(3, "tok_new", 5000), (1, "tok_decline", 10), (2, "tok_old", 20)] {
        world.publish_new("UNORDERED", version, Some(details(token, limit))).await;
    }
    assert_eq!(world.buys("UNORDERED", 1).await, confirmed_by("tok_new"));
    world.publish_new("UNORDERED", 4, Some(details("tok_newer", 1999))).await;
    world.publish_new("UNORDERED", 3, Some(details("tok_new", 5000))).await;
    assert_eq!(world.buys("UNORDERED", 2).await, declined("limit-exceeded"));

    // Deleted, with a late change from before; then opened again, with a duplicate deletion.
    world.publish_new("GONE", 1, Some(details("tok_a", 5000))).await;
    world.publish_new("GONE", 3, None).await;
    world.publish_new("GONE", 2, Some(details("tok_a", 5000))).await;
    assert_eq!(world.buys("GONE", 1).await, declined("no-account"));
    world.publish_new("GONE", 4, Some(details("tok_again", 5000))).await;
    world.publish_new("GONE", 3, None).await;
    assert_eq!(world.buys("GONE", 2).await, confirmed_by("tok_again"));
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 100)]).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_order_waits_until_its_account_arrives() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;
    for customer in ["LATE", "LATER", "LEFT"] {
        world.post("/orders", &order_of(customer, &format!("{customer}_1"), "PRODUCT_001", 1)).await;
    }
    let waiting = async || {
        let mut waiting = Vec::new();
        for customer in ["LATE", "LATER", "LEFT"] {
            waiting.push(world.payment(&format!("{customer}_1")).await);
        }
        waiting
    };
    eventually("all wait", || async { waiting().await == ["awaiting-account"; 3] }).await;

    world.publish_new("LATE", 1, Some(details("tok_late", 1000))).await;
    world.eventually_status("LATE_1", "confirmed").await;
    assert_eq!(world.charges_of("LATE_1").await, (1, 0));

    // The second change overtakes the first, whose limit would have been sufficient.
    world.publish_new("LATER", 2, Some(details("tok_later", 999))).await;
    world.eventually_status("LATER_1", "cancelled").await;
    world.publish_new("LATER", 1, Some(details("tok_late", 1000))).await;

    // So does the deletion.
    world.publish_new("LEFT", 2, None).await;
    world.eventually_status("LEFT_1", "cancelled").await;
    world.publish_new("LEFT", 1, Some(details("tok_late", 1000))).await;

    world.settled().await;
    let reason = async |id: &str| world.get(&format!("/orders/{id}")).await.body["reason"].clone();
    assert_eq!(reason("LATER_1").await, json!({"code": "payment-declined", "reason": "limit-exceeded"}));
    assert_eq!(reason("LEFT_1").await, json!({"code": "payment-declined", "reason": "no-account"}));
    world.totals_reconcile(&[("PRODUCT_001", 100)]).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn without_the_account_service_known_customers_buy_and_others_wait_and_are_declined() {
    let mut world = World::start_set(&[("ACCOUNT_WAIT_SECONDS", "3")]).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.settled().await;
    world.kill(Component::AccountService).await;
    assert_eq!(world.get("/accounts/CUSTOMER_001").await.status, 503);
    let opened = world.request(Method::POST, "/accounts").header("prefer", "wait=0");
    assert_eq!(send(opened.json(&account("NEW", "tok_new", 5000))).await.status, 202);

    let known = world.place_and_wait(&order("KNOWN", "PRODUCT_001", 3)).await;
    assert_eq!(known.body["status"], "confirmed", "{known:?}");

    world.post("/orders", &order_of("NEW", "UNKNOWN", "PRODUCT_001", 3)).await;
    eventually("the payment waits", || async { world.payment("UNKNOWN").await == "awaiting-account" }).await;
    assert_eq!(world.stock("PRODUCT_001").await, (4, 6, 0));
    world.eventually_status("UNKNOWN", "cancelled").await;
    let unknown = world.get("/orders/UNKNOWN").await.body;
    assert_eq!(unknown["reason"], json!({"code": "payment-declined", "reason": "no-account"}));
    eventually("the units are back", || async { world.stock("PRODUCT_001").await == (7, 3, 0) }).await;
    world.totals_reconcile(&[("PRODUCT_001", 10)]).await;

    // The account requested meanwhile is opened.
    world.start_again(Component::AccountService).await;
    eventually("the account is there", || async { world.get("/accounts/NEW").await.status == 200 }).await;
    world.settled().await;
    let placed = world.place_and_wait(&order_of("NEW", "NEWLY", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 10)]).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn of_several_changes_to_one_version_one_succeeds_and_invalid_ones_change_nothing() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;
    let put = |tag: Option<&str>, body: Value| {
        let request = world.request(Method::PUT, "/accounts/CUSTOMER_001").json(&body);
        send(tag.iter().fold(request, |request, tag| request.header("if-match", *tag)))
    };
    let raced = join_all((0..5).map(|n| put(Some("\"1\""), details(&format!("tok_{n}"), 100_000)))).await;
    let mut statuses: Vec<u16> = raced.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412]);
    let before = world.get("/accounts/CUSTOMER_001").await;
    assert_eq!(before.headers["etag"], "\"2\"");

    assert_eq!(put(None, details("tok_x", 1)).await.status, 428);
    assert_eq!(put(Some("\"1\""), details("tok_x", 1)).await.status, 412);
    assert_eq!(put(Some("1"), details("tok_x", 1)).await.status, 400);
    assert_eq!(world.post("/accounts", &account("CUSTOMER_001", "tok_x", 1)).await.status, 409);
    let with = |pointer: &str, value: Value| {
        let mut body = account("NEW", "tok_new", 1);
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for bad in [
        with("/card/token", json!("4111111111111111")),
        with("/name", json!("4111 1111 1111 1111")),
        with("/card/expiry", json!("12/30")),
        with("/contact/email", json!("no-address")),
        with("/creditLimit/amount", json!(-1)),
        with("/customerId", json!("a.b")),
        json!({}),
    ] {
        let refused = world.post("/accounts", &bad).await;
        assert_eq!(refused.status, 422, "{bad}: {refused:?}");
        assert_eq!(refused.headers["content-type"], "application/problem+json");
    }
    assert_eq!(world.get("/accounts/NEW").await.status, 404);
    assert_eq!(world.get("/accounts/CUSTOMER_001").await.body, before.body);
    for component in Component::SERVICES {
        assert!(!world.log(component).contains("4111"), "{component} logs a card number");
    }

    let delete = world.request(Method::DELETE, "/accounts/CUSTOMER_001").header("if-match", "\"2\"");
    assert_eq!(send(delete).await.status, 204);
    assert_eq!(world.get("/accounts/CUSTOMER_001").await.status, 404);
    world.settled().await;
    assert_eq!(world.buys("CUSTOMER_001", 1).await, declined("no-account"));
    world.assert_healthy().await;
}
