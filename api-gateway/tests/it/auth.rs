//! Sign-in: every route with every role, objects of others, revocation, and identity-service being down.

use std::time::{Duration, Instant};

use api_gateway::auth::TABLE;
use api_gateway::operations::OperationsOptions;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use choreography_http::auth::Access;
use contracts::identity::{DEFAULT_ROLES, Permission, Scope, default_roles};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{FakeService, HttpResponse, Shop, a_view, an_order, nats, password, provision_for, until};

const ROLES: [&str; 5] = DEFAULT_ROLES;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn user_id(role: &str) -> Uuid {
    let at = ROLES.iter().position(|known| *known == role).unwrap_or(9);
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001 + at as u128)
}

fn token(role: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encoded(json!({"alg": "EdDSA", "kid": "k1"}));
    let body = json!({"iss": "shop", "aud": "shop", "sub": user_id(role), "sid": user_id(role), "iat": now, "exp": now + 600});
    let text = format!("{head}.{}", encoded(body));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(key().sign(text.as_bytes()).to_bytes()))
}

fn rights(role: &str, version: i64, disabled: bool) -> Value {
    let grants = default_roles().into_iter().find(|(name, _)| name.as_str() == role).unwrap().1;
    json!({
        "userId": user_id(role), "version": version, "name": role, "kind": "user", "disabled": disabled,
        "roles": [role], "grants": grants, "organisationIds": [], "customerIds": ["CUSTOMER_001"], "validFrom": 0
    })
}

/// A gateway with sign-in, and identity-service with one user per role.
async fn signed() -> (Shop, FakeService) {
    let operations = OperationsOptions { enabled: true, operator_password: Some(password("operator")) };
    let nats = nats().await;
    provision_for(&nats, true).await;
    let shop = Shop::set(nats, |config| {
        config.operations = operations;
        config.auth.auth = true;
        config.auth.rate_limit_user = 0;
        config.auth.rate_limit_address = 0;
    });
    let refused = HttpResponse::of(until_http(&shop).await.bearer_auth(token("admin"))).await;
    refused.is_problem(503, "unavailable");
    let identity = FakeService::start(&shop, "identity-service", "identity").await;
    let x = URL_SAFE_NO_PAD.encode(key().verifying_key().to_bytes());
    let page = json!({
        "items": ROLES.map(|role| rights(role, 1, false)), "next": null, "endedSessions": [],
        "signingKeys": {"keySet": "keys", "version": 1, "keys": [{"kid": "k1", "x": x}]}
    });
    identity.will_reply("identity.query.rights", Ok(page));
    shop.until_ready().await;
    until("the rights are known", || async { status(&shop, "admin", "GET", "/session").await == 200 }).await;
    (shop, identity)
}

async fn until_http(shop: &Shop) -> reqwest::RequestBuilder {
    until("the gateway serves", || async { shop.get("/liveness").send().await.is_ok() }).await;
    shop.get("/products")
}

async fn status(shop: &Shop, role: &str, method: &str, path: &str) -> u16 {
    let sent = shop.request(method, path).bearer_auth(token(role)).send().await;
    sent.map_or(0, |response| response.status().as_u16())
}

#[tokio::test]
async fn every_route_is_open_to_the_roles_with_its_permission_and_to_no_other() {
    let (shop, _identity) = signed().await;
    let document = HttpResponse::of(shop.get("/openapi.json")).await.body;
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_ascii_uppercase();
            // A route without an entry would be refused at run time, and has no permission here.
            let permission = operation["x-permission"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
            let permission: Permission = permission.parse().unwrap();
            let of_table = TABLE.0.iter().find(|(known, at, _)| *known == method && at == path).unwrap().2;
            let real = path.replace("{sequence}", "1").replace("{stream}", "EVENTS").replace("{id}", "X-1");
            let real = real.replace("{projection}", "p-v1").replace("{action}", "pause");
            let without = shop.request(&method, &real).send().await.unwrap();
            assert_eq!(without.status(), 401, "{method} {path}");
            for (role, grants) in default_roles() {
                let scope = grants.scope(permission);
                let granted =
                    scope == Some(Scope::All) || (scope.is_some() && matches!(of_table, Access::Owned(_)));
                let got = status(&shop, role.as_str(), &method, &real).await;
                assert_eq!(!matches!(got, 401 | 403), granted, "{role} {method} {path}: {got}");
                walked += 1;
            }
        }
    }
    assert_eq!(walked, 27 * ROLES.len());
}

#[tokio::test]
async fn the_objects_of_another_customer_do_not_exist() {
    let (shop, _identity) = signed().await;
    let orders = FakeService::orders(&shop).await;
    let id = Uuid::now_v7().to_string();
    let mut foreign = an_order(&id);
    foreign["customerId"] = json!("CUSTOMER_002");
    orders.will_reply(&format!("order.query.get.{id}"), Ok(a_view(&foreign, "placed")));
    for path in ["", "/history", "/payment", "/timeline", "/messages/EVENTS/1"] {
        assert_eq!(status(&shop, "customer", "GET", &format!("/orders/{id}{path}")).await, 404, "{path}");
    }
    let cancel = shop.post(&format!("/orders/{id}/cancel"), &json!({})).bearer_auth(token("customer"));
    HttpResponse::of(cancel).await.is_problem(404, "order-not-found");
    for path in
        ["/accounts/CUSTOMER_002", "/customers/CUSTOMER_002/notifications", "/orders?customerId=CUSTOMER_002"]
    {
        assert_eq!(status(&shop, "customer", "GET", path).await, 404, "{path}");
    }
    HttpResponse::of(shop.post("/orders", &foreign).bearer_auth(token("customer")))
        .await
        .is_problem(403, "forbidden");
    assert_eq!(shop.commands().await, [], "nothing refused reaches a stream");
    // His own order is placed, and the command names him.
    let placed = shop.post("/orders", &an_order(&Uuid::now_v7().to_string())).bearer_auth(token("customer"));
    assert_eq!(HttpResponse::of(placed).await.status, 202);
    let commands = shop.commands().await;
    assert_eq!(commands[0].headers["ce-authtype"], "user");
    assert_eq!(commands[0].headers["ce-authid"], user_id("customer").to_string());
    assert_eq!(status(&shop, "clerk", "GET", &format!("/orders/{id}")).await, 200);
}

#[tokio::test]
async fn a_revocation_ends_requests_and_feeds_within_200_ms_and_known_users_go_on_without_identity_service() {
    let (shop, identity) = signed().await;
    // From here on, identity-service replies to nothing: known users go on, events are applied.
    identity.will_reply("identity.query.rights", Err(0));
    let rounds: i64 = std::env::var("REVOCATION_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        assert_eq!(status(&shop, "auditor", "GET", "/session").await, 200);
        let feed = shop.get("/events").bearer_auth(token("auditor")).send().await.unwrap();
        assert_eq!(feed.status(), 200);
        let subject = format!("identity.event.rights-changed.{}", user_id("auditor"));
        identity.publish(&subject, Uuid::now_v7(), &rights("auditor", round * 2, true)).await;
        let revoked = Instant::now();
        let mut last = revoked;
        while status(&shop, "auditor", "GET", "/session").await == 200 {
            last = Instant::now();
            assert!(last - revoked < Duration::from_secs(5), "the revocation has no effect");
        }
        slowest = slowest.max(last - revoked);
        tokio::time::timeout(Duration::from_secs(2), feed.bytes()).await.expect("the feed ends").unwrap();
        identity.publish(&subject, Uuid::now_v7(), &rights("auditor", round * 2 + 1, false)).await;
        until("the user is enabled", || async { status(&shop, "auditor", "GET", "/session").await == 200 }).await;
    }
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    // A sign-out is effective, too.
    let ended = json!({"userId": user_id("clerk"), "sessionId": user_id("clerk"), "reason": "signed-out"});
    let subject = format!("identity.event.session-ended.{}", user_id("clerk"));
    identity.publish(&subject, Uuid::now_v7(), &ended).await;
    until("the session has ended", || async { status(&shop, "clerk", "GET", "/session").await == 401 }).await;
}

#[test]
fn the_documentation_lists_every_operation() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http-api.md")).unwrap();
    let text = text.split_once("## Sign-in and permissions").unwrap().1;
    for (method, path, access) in TABLE.0 {
        let line = text.lines().find(|line| line.starts_with(&format!("| `{method} {path}` |")));
        let line = line.unwrap_or_else(|| panic!("{method} {path} is not in docs/http-api.md"));
        if let Access::Permission(name) | Access::Owned(name) = access {
            assert!(line.contains(&format!("`{name}`")), "{line}");
        }
    }
}
