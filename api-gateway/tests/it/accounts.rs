//! The account service's event determines the response to a request that changes an account.

use std::time::{Duration, Instant};

use choreography::Messages as _;
use contracts::account::AccountCommand;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{FakeService, HttpResponse, Shop, Stored, an_account, an_account_view, details, until};

const GET: &str = "account.query.get.CUSTOMER_001";
const PATH: &str = "/accounts/CUSTOMER_001";
const CHANGED: &str = "account.event.changed.CUSTOMER_001";
const DELETED: &str = "account.event.deleted.CUSTOMER_001";
const REFUSED: &str = "account.event.refused.CUSTOMER_001";
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn accounts(shop: &Shop) -> FakeService {
    FakeService::start(shop, "account-service", "account").await
}

/// Sends a request, and returns once its command is stored.
async fn sent(shop: &Shop, request: RequestBuilder) -> (JoinHandle<(HttpResponse, Duration)>, Stored) {
    let stored = shop.commands().await.len();
    let pending = tokio::spawn(async move {
        let start = Instant::now();
        (HttpResponse::of(request).await, start.elapsed())
    });
    until("the command is stored", || async { shop.commands().await.len() > stored }).await;
    (pending, shop.commands().await[stored].clone())
}

/// Sends a request, lets the service publish an event caused by its command, and returns the response.
async fn completed(
    shop: &Shop,
    service: &FakeService,
    request: RequestBuilder,
    subject: &str,
    event: &Value,
) -> (HttpResponse, Stored) {
    let (pending, command) = sent(shop, request).await;
    service.publish(subject, command.id(), event).await;
    let (response, took) = pending.await.unwrap();
    assert!(took < Duration::from_secs(3), "{took:?}");
    (response, command)
}

fn changed(account: &Value, version: i64) -> Value {
    json!({"customerId": account["customerId"], "version": version, "details": details(account)})
}

fn deleted(version: i64) -> Value {
    json!({"customerId": "CUSTOMER_001", "version": version})
}

fn refused(reason: &Value) -> Value {
    json!({"customerId": "CUSTOMER_001", "reason": reason})
}

fn put(shop: &Shop, account: &Value, version: i64) -> RequestBuilder {
    shop.request("PUT", PATH).json(&details(account)).header("if-match", format!("\"{version}\""))
}

fn delete(shop: &Shop, version: i64) -> RequestBuilder {
    shop.request("DELETE", PATH).header("if-match", format!("\"{version}\""))
}

#[tokio::test]
async fn an_account_is_created_once_the_service_publishes_it() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    let request = shop.post("/accounts", &account).header("traceparent", TRACE_PARENT);
    let (response, command) = completed(&shop, &service, request, CHANGED, &changed(&account, 1)).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.header("location"), Some(PATH));
    assert_eq!(response.header("etag"), Some("\"1\""));
    assert_eq!(response.header("preference-applied"), None);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.body, an_account_view(&account, 1));

    assert_eq!(command.subject, "account.command.create.CUSTOMER_001");
    assert_eq!(command.body, json!({"customerId": "CUSTOMER_001", "details": details(&account)}));
    assert_eq!(command.headers["ce-type"], "account.create.v1");
    assert_eq!(command.headers["traceparent"], TRACE_PARENT);
    assert!(AccountCommand::decode("account.create.v1", command.body.to_string().as_bytes()).is_ok());
}

#[tokio::test]
async fn an_account_needs_no_card_no_phone_and_no_address() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let mut bare = an_account("CUSTOMER_001");
    bare["addresses"] = json!([]);
    bare.as_object_mut().unwrap().remove("card");
    bare["contact"].as_object_mut().unwrap().remove("phone");
    let mut nulls = bare.clone();
    nulls["card"] = Value::Null;
    nulls["contact"]["phone"] = Value::Null;
    for body in [&bare, &nulls] {
        let request = shop.post("/accounts", body);
        let (response, command) = completed(&shop, &service, request, CHANGED, &changed(&bare, 1)).await;
        assert_eq!((response.status.as_u16(), &response.body), (201, &an_account_view(&bare, 1)));
        assert_eq!(command.body["details"], details(&bare));
    }
}

#[tokio::test]
async fn creating_an_existing_account_returns_the_existing_one() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    service.will_reply(GET, Ok(an_account_view(&account, 3)));
    let start = Instant::now();
    let response = HttpResponse::of(shop.post("/accounts", &account)).await;
    assert_eq!((response.status.as_u16(), response.header("etag")), (201, Some("\"3\"")), "{response:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let mut other = account.clone();
    other["name"] = json!("Ann");
    let (pending, command) = sent(&shop, shop.post("/accounts", &other)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!pending.is_finished(), "the existing account has other content");
    service.publish(REFUSED, command.id(), &refused(&json!({"code": "already-exists"}))).await;
    pending.await.unwrap().0.is_problem(409, "account-already-exists");
}

#[tokio::test]
async fn a_change_has_its_version_and_returns_the_next_one() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    let (response, command) =
        completed(&shop, &service, put(&shop, &account, 4), CHANGED, &changed(&account, 5)).await;
    assert_eq!((response.status.as_u16(), response.header("etag")), (200, Some("\"5\"")), "{response:?}");
    assert_eq!(response.body, an_account_view(&account, 5));
    assert_eq!(command.subject, "account.command.update.CUSTOMER_001");
    assert_eq!(
        command.body,
        json!({"customerId": "CUSTOMER_001", "expectedVersion": 4, "details": details(&account)})
    );

    // A client can send back an account as it read it.
    let whole = an_account_view(&account, 5);
    let request = shop.request("PUT", PATH).json(&whole).header("if-match", "\"5\"");
    let (response, _) = completed(&shop, &service, request, CHANGED, &changed(&account, 6)).await;
    assert_eq!(response.header("etag"), Some("\"6\""), "{response:?}");
}

#[tokio::test]
async fn a_deletion_has_its_version_and_returns_no_body() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let (response, command) = completed(&shop, &service, delete(&shop, 4), DELETED, &deleted(5)).await;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (204, Some("")), "{response:?}");
    assert_eq!(command.subject, "account.command.delete.CUSTOMER_001");
    assert_eq!(command.body, json!({"customerId": "CUSTOMER_001", "expectedVersion": 4}));
}

#[tokio::test]
async fn a_change_without_its_version_is_refused_by_the_gateway() {
    let shop = Shop::start().await;
    let account = details(&an_account("CUSTOMER_001"));
    let requests = || [shop.request("PUT", PATH).json(&account), shop.request("DELETE", PATH)];
    for request in requests() {
        HttpResponse::of(request).await.is_problem(428, "precondition-required");
    }
    for bad in ["1", "\"0\"", "\"-1\"", "\"one\"", "W/\"1\"", "*", "\"1\", \"2\"", "", "\"99999999999999999999\""] {
        for request in requests() {
            let response = HttpResponse::of(request.header("if-match", bad)).await;
            response.is_problem(400, "invalid-parameter");
            assert_eq!(response.body["errors"][0]["header"], "If-Match", "{bad}");
        }
    }
    assert_eq!(shop.commands().await, []);
}

#[tokio::test]
async fn a_change_to_an_outdated_version_returns_the_current_version() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    let conflict = refused(&json!({"code": "version-conflict", "version": 7}));
    for request in [put(&shop, &account, 4), delete(&shop, 4)] {
        let (response, _) = completed(&shop, &service, request, REFUSED, &conflict).await;
        response.is_problem(412, "account-has-changed");
        assert_eq!((response.header("etag"), &response.body["version"]), (Some("\"7\""), &json!(7)));
    }
    let missing = refused(&json!({"code": "not-found"}));
    for request in [put(&shop, &account, 4), delete(&shop, 4)] {
        let (response, _) = completed(&shop, &service, request, REFUSED, &missing).await;
        response.is_problem(404, "account-not-found");
        assert_eq!(response.body["version"], Value::Null);
    }
}

#[tokio::test]
async fn only_events_caused_by_the_own_command_count() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    let (pending, command) = sent(&shop, put(&shop, &account, 1)).await;
    service.publish(CHANGED, Uuid::now_v7(), &changed(&account, 2)).await;
    service.publish(REFUSED, Uuid::now_v7(), &refused(&json!({"code": "not-found"}))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!pending.is_finished());
    service.publish(REFUSED, command.id(), &refused(&json!({"code": "version-conflict", "version": 2}))).await;
    pending.await.unwrap().0.is_problem(412, "account-has-changed");
}

#[tokio::test]
async fn while_the_service_is_down_commands_are_accepted() {
    let shop = Shop::start().await;
    let account = an_account("CUSTOMER_001");
    let accepted = json!({"customerId": "CUSTOMER_001", "status": "accepted", "durability": "unsynced"});
    let start = Instant::now();
    let hasty = [shop.post("/accounts", &account), put(&shop, &account, 1), delete(&shop, 2)];
    for request in hasty.map(|request| request.header("prefer", "wait=1")) {
        let response = HttpResponse::of(request).await;
        assert_eq!((response.status.as_u16(), response.header("location")), (202, Some(PATH)), "{response:?}");
        assert_eq!((response.header("preference-applied"), &response.body), (Some("wait=1"), &accepted));
        assert_eq!(response.header("etag"), None);
    }
    assert!(start.elapsed() > Duration::from_millis(2900), "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(HttpResponse::of(shop.post("/accounts", &account)).await.status, 202);
    assert!(start.elapsed() > Duration::from_millis(4900), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(6500), "{:?}", start.elapsed());
    assert_eq!(shop.commands().await.len(), 4);
}

#[tokio::test]
async fn the_same_key_and_content_have_the_same_response_and_one_command() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    let create = || shop.post("/accounts", &account).header("idempotency-key", "\"k\"");
    let (first, _) = completed(&shop, &service, create(), CHANGED, &changed(&account, 1)).await;
    // Several changes follow; the response to the first request stays the same.
    let update = || put(&shop, &account, 1).header("idempotency-key", "\"k\"");
    let (second, _) = completed(&shop, &service, update(), CHANGED, &changed(&account, 2)).await;
    let conflict = refused(&json!({"code": "version-conflict", "version": 2}));
    let stale = || put(&shop, &account, 1).header("idempotency-key", "\"l\"");
    let (third, _) = completed(&shop, &service, stale(), REFUSED, &conflict).await;
    let remove = || delete(&shop, 2).header("idempotency-key", "\"k\"");
    let (fourth, _) = completed(&shop, &service, remove(), DELETED, &deleted(3)).await;
    let statuses = [&first, &second, &third, &fourth].map(|response| response.status.as_u16());
    assert_eq!(statuses, [201, 200, 412, 204]);
    for (request, before) in [(create(), first), (update(), second), (stale(), third), (remove(), fourth)] {
        let start = Instant::now();
        let again = HttpResponse::of(request).await;
        assert_eq!((again.status, &again.body), (before.status, &before.body));
        assert_eq!(again.header("etag"), before.header("etag"));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert_eq!(shop.commands().await.len(), 4);
    let other_version = put(&shop, &account, 2).header("idempotency-key", "\"k\"");
    HttpResponse::of(other_version).await.is_problem(422, "idempotency-key-reused");
    let mut other = account.clone();
    other["name"] = json!("Ann");
    let other_content = shop.post("/accounts", &other).header("idempotency-key", "\"k\"");
    HttpResponse::of(other_content).await.is_problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn without_a_key_each_request_is_a_command_of_its_own() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let account = an_account("CUSTOMER_001");
    for (version, event) in [(1, CHANGED), (3, CHANGED)] {
        let request = shop.post("/accounts", &account);
        let (response, _) = completed(&shop, &service, request, event, &changed(&account, version)).await;
        assert_eq!(response.header("etag"), Some(format!("\"{version}\"").as_str()), "deleted in between");
    }
    let commands = shop.commands().await;
    assert_eq!(commands.len(), 2);
    assert_ne!(commands[0].id(), commands[1].id());
}

#[tokio::test]
async fn an_account_has_its_version_as_etag() {
    let shop = Shop::start().await;
    let service = accounts(&shop).await;
    let view = an_account_view(&an_account("CUSTOMER_001"), 7);
    service.will_reply(GET, Ok(view.clone()));
    let response = HttpResponse::of(shop.get(PATH)).await;
    assert_eq!((response.status.as_u16(), response.header("etag")), (200, Some("\"7\"")), "{response:?}");
    assert_eq!(response.body, view);
    HttpResponse::of(shop.get("/accounts/CUSTOMER_002")).await.is_problem(404, "account-not-found");
    service.will_reply(GET, Err(503));
    HttpResponse::of(shop.get(PATH)).await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn while_nats_is_down_accounts_fail_at_once() {
    let mut shop = Shop::start().await;
    shop.nats.kill().unwrap();
    until("the gateway is not ready", || async { HttpResponse::of(shop.get("/readiness")).await.status == 503 })
        .await;
    let account = an_account("CUSTOMER_001");
    let start = Instant::now();
    for request in [shop.post("/accounts", &account), put(&shop, &account, 1), delete(&shop, 1), shop.get(PATH)] {
        HttpResponse::of(request).await.is_problem(503, "unavailable");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
