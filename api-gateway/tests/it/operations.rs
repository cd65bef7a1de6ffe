//! Dead letters over HTTP, for operators.

use async_nats::service::ServiceExt;
use async_nats::{HeaderMap, jetstream};
use futures::StreamExt;
use serde_json::json;

use crate::support::{Answer, Store};

/// Publishes a dead letter as the order service does.
async fn bury(store: &Store, key: &str) {
    let js = jetstream::new(store.connect("order-service").await);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Dead-Letter-Reason", "rejected"),
        ("Dead-Letter-Detail", "it is not to be"),
        ("Dead-Letter-Stream", "COMMANDS"),
        ("Dead-Letter-Sequence", "7"),
        ("Dead-Letter-Subject", &format!("order.command.place.{key}")),
        ("Dead-Letter-Consumer", "order-service"),
        ("Dead-Letter-Attempts", "1"),
        ("ce-type", "order.place.v1"),
    ] {
        headers.insert(name, value);
    }
    let subject = format!("dead-letter.order-service.rejected.{key}");
    js.publish_with_headers(subject, headers, "{}".into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn operators_are_not_served_unless_it_is_switched_on() {
    let store = Store::start().await;
    bury(&store, "K1").await;
    for path in ["/operations/dead-letters", "/operations/dead-letters/1"] {
        Answer::of(store.get(path)).await.is_problem(404, "route-not-found");
    }
    let discard = store.post("/operations/dead-letters/1/discard", &json!({ "because": "x" }));
    Answer::of(discard).await.is_problem(404, "route-not-found");
    assert!(!Answer::of(store.get("/openapi.json")).await.body.to_string().contains("/operations"));
}

#[tokio::test]
async fn an_operator_lists_shows_sends_back_and_discards() {
    let store = Store::with_operations().await;
    bury(&store, "K1").await;
    bury(&store, "K2").await;
    let list = async |query: &str| Answer::of(store.get(&format!("/operations/dead-letters?{query}"))).await;
    let all = list("").await.body;
    assert_eq!(all["deadLetters"].as_array().unwrap().len(), 2);
    assert_eq!(list("key=K2&reason=not%20to%20be&youngerThan=1h").await.body["deadLetters"][0]["sequence"], 2);
    assert_eq!(list("type=order.cancel").await.body["deadLetters"], json!([]));
    list("typ=order.cancel").await.is_problem(400, "invalid-parameter");
    list("olderThan=yesterday").await.is_problem(400, "invalid-parameter");
    let shown = Answer::of(store.get("/operations/dead-letters/2")).await.body;
    assert_eq!((&shown["key"], &shown["body"]), (&json!("K2"), &json!({})));
    Answer::of(store.get("/operations/dead-letters/9")).await.is_problem(404, "dead-letter-not-found");

    // A service that handles what it is sent back.
    let client = store.connect("order-service").await;
    let service = client.service_builder().start("order-service", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("operate.order-service.redrive").await.unwrap();
    client.flush().await.unwrap();
    let answering = async {
        let request = endpoint.next().await.unwrap();
        request.respond(Ok(r#"[{"sequence":1,"outcome":"handled"}]"#.into())).await.unwrap();
    };
    let redrive = store.post("/operations/dead-letters/redrive", &json!({ "sequences": [1, 9] }));
    let (answer, ()) = tokio::join!(Answer::of(redrive), answering);
    assert_eq!(answer.body["results"][0]["outcome"], "handled");
    assert_eq!((&answer.body["absent"], &answer.body["summary"]["handled"]), (&json!([9]), &json!(1)));
    let none = store.post("/operations/dead-letters/redrive", &json!({ "sequences": [] }));
    Answer::of(none).await.is_problem(422, "validation");

    let discard = |because: &str| store.post("/operations/dead-letters/2/discard", &json!({ "because": because }));
    Answer::of(discard("")).await.is_problem(422, "validation");
    assert_eq!(Answer::of(discard("a test")).await.status, 200);
    Answer::of(discard("a test")).await.is_problem(404, "dead-letter-not-found");
    assert_eq!(list("").await.body["deadLetters"], json!([]));
}
