//! Dead letters and projections over HTTP, for operators.

use api_gateway::operations::OperationsOptions;
use async_nats::service::ServiceExt;
use async_nats::service::error::Error;
use async_nats::{HeaderMap, jetstream};
use futures::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop, nats, until};

/// Publishes a dead letter as the order service does.
async fn publish_dead_letter(shop: &Shop, key: &str) {
    let js = jetstream::new(shop.connect("order-service").await);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Dead-Letter-Reason", "rejected"),
        ("Dead-Letter-Detail", "the order is rejected"),
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
async fn operations_are_not_served_unless_switched_on() {
    let shop = Shop::start().await;
    publish_dead_letter(&shop, "K1").await;
    for path in ["/operations/dead-letters", "/operations/dead-letters/1"] {
        HttpResponse::of(shop.get(path)).await.is_problem(404, "route-not-found");
    }
    let delete = shop.post("/operations/dead-letters/1/delete", &json!({ "reason": "x" }));
    HttpResponse::of(delete).await.is_problem(404, "route-not-found");
}

#[tokio::test]
async fn each_path_of_the_operations_has_its_methods() {
    let shop = Shop::with_operations().await;
    for (method, path, allow) in [
        ("POST", "/operations/dead-letters", "GET"),
        ("DELETE", "/operations/dead-letters/1", "GET"),
        ("GET", "/operations/dead-letters/redrive", "POST"),
        ("PUT", "/operations/dead-letters/redrive", "POST"),
        ("GET", "/operations/dead-letters/1/delete", "POST"),
    ] {
        let response = HttpResponse::of(shop.request(method, path)).await;
        response.is_problem(405, "method-not-allowed");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn invalid_input_of_an_operator_is_reported() {
    let shop = Shop::with_operations().await;
    publish_dead_letter(&shop, "K1").await;
    let long = "x".repeat(257);
    for (query, parameter) in [
        ("key=", "key"),
        (&format!("service={long}"), "service"),
        ("before=yesterday", "before"),
        ("since=99999999999999999999y", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("typ=order.cancel", "typ"),
        ("key=a&key=b", "key"),
    ] {
        let response = HttpResponse::of(shop.get(&format!("/operations/dead-letters?{query}"))).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(response.body["errors"][0]["parameter"], parameter, "{query}");
    }
    for sequence in ["x", "-1", "+1", "1.5", "0", "9223372036854775808"] {
        let response = HttpResponse::of(shop.get(&format!("/operations/dead-letters/{sequence}"))).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(response.body["errors"][0]["parameter"], "sequence");
    }
    for missing in ["9", "9223372036854775807"] {
        let response = HttpResponse::of(shop.get(&format!("/operations/dead-letters/{missing}"))).await;
        response.is_problem(404, "dead-letter-not-found");
    }
    for (body, pointer) in [
        (json!([1]), ""),
        (json!({}), "/sequences"),
        (json!({ "sequences": [] }), "/sequences"),
        (json!({ "sequences": [1, 2, 1] }), "/sequences"),
        (json!({ "sequences": [-1] }), "/sequences"),
        (json!({ "sequences": (0..128).collect::<Vec<_>>() }), "/sequences"),
        (json!({ "sequences": [1], "force": "yes" }), "/force"),
        (json!({ "sequences": [1], "maxFailures": 128 }), "/maxFailures"),
        (json!({ "sequences": [1], "rate": 1 }), "/rate"),
    ] {
        let response = HttpResponse::of(shop.post("/operations/dead-letters/redrive", &body)).await;
        response.is_problem(422, "validation");
        assert_eq!(response.body["errors"][0]["pointer"], pointer, "{body}");
    }
    // A reason must have a visible character.
    for reason in ["", " ", "\u{1}\u{7f}", &"x".repeat(1001)] {
        let delete = shop.post("/operations/dead-letters/1/delete", &json!({ "reason": reason }));
        HttpResponse::of(delete).await.is_problem(422, "validation");
    }
    assert_eq!(HttpResponse::of(shop.get("/operations/dead-letters/1")).await.status, 200);
}

#[tokio::test]
async fn an_operator_lists_gets_redrives_and_deletes() {
    let shop = Shop::with_operations().await;
    publish_dead_letter(&shop, "K1").await;
    publish_dead_letter(&shop, "K2").await;
    let list = async |query: &str| HttpResponse::of(shop.get(&format!("/operations/dead-letters?{query}"))).await;
    let all = list("").await.body;
    assert_eq!(all["deadLetters"].as_array().unwrap().len(), 2);
    assert_eq!(list("key=K2&reason=is%20rejected&since=1h").await.body["deadLetters"][0]["sequence"], 2);
    assert_eq!(list("type=order.cancel").await.body["deadLetters"], json!([]));
    let shown = HttpResponse::of(shop.get("/operations/dead-letters/2")).await.body;
    assert_eq!((&shown["key"], &shown["body"]), (&json!("K2"), &json!({})));
    HttpResponse::of(shop.get("/operations/dead-letters/9")).await.is_problem(404, "dead-letter-not-found");

    // A service that processes redriven messages.
    let client = shop.connect("order-service").await;
    let service = client.service_builder().start("order-service", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("admin.order-service.redrive").await.unwrap();
    client.flush().await.unwrap();
    let pending = async {
        let request = endpoint.next().await.unwrap();
        request.respond(Ok(r#"[{"sequence":1,"outcome":"handled"}]"#.into())).await.unwrap();
    };
    let redrive = shop.post("/operations/dead-letters/redrive", &json!({ "sequences": [1, 9] }));
    let (response, ()) = tokio::join!(HttpResponse::of(redrive), pending);
    assert_eq!(response.body["results"][0]["outcome"], "handled");
    assert_eq!((&response.body["absent"], &response.body["summary"]["handled"]), (&json!([9]), &json!(1)));

    let delete = |reason: &str| shop.post("/operations/dead-letters/2/delete", &json!({ "reason": reason }));
    assert_eq!(HttpResponse::of(delete("a test")).await.status, 200);
    HttpResponse::of(delete("a test")).await.is_problem(404, "dead-letter-not-found");
    assert_eq!(list("").await.body["deadLetters"], json!([]));
}

#[tokio::test]
async fn an_operator_lists_and_changes_projections() {
    let shop = Shop::with_operations().await;
    HttpResponse::of(shop.get("/operations/projections")).await.is_listed(&[], 1);
    let change = |path: &str| shop.request("POST", &format!("/operations/projections/{path}"));
    HttpResponse::of(change("sales-v1/pause")).await.is_problem(503, "unavailable");

    // A service with one projection, which can be paused and not dropped.
    let client = shop.connect("projection-service").await;
    let service = client.service_builder().start("projection-service", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("admin.projection-service.projections").await.unwrap();
    client.flush().await.unwrap();
    let replies = tokio::spawn(async move {
        while let Some(request) = endpoint.next().await {
            let body: Value = serde_json::from_slice(&request.message.payload).unwrap();
            let state = if body["action"] == "pause" { "paused" } else { "live" };
            let status = json!([{"name": "sales", "version": 1, "state": state, "isActive": true, "position": 7,
                "lagMessages": 0, "lagSeconds": null, "asOf": "2030-01-01T00:00:00Z", "historyTotal": 0,
                "historyRead": 0, "rate": 0.0, "remainingSeconds": null, "applied": 7, "duplicates": 0, "repaired": 0,
                "detail": null}]);
            let reply = match body["action"] == "drop" {
                true => Err(Error { status: "sales-v1 is the active version".to_owned(), code: 400 }),
                false => Ok(status.to_string().into()),
            };
            request.respond(reply).await.unwrap();
        }
    });
    // The server learns of the subscription after it was sent.
    until("the service replies", || async {
        HttpResponse::of(shop.get("/operations/projections")).await.body["unavailable"] == json!([])
    })
    .await;
    HttpResponse::of(shop.get("/operations/projections")).await.is_listed(&[("sales", "live")], 0);
    let paused = HttpResponse::of(change("sales-v1/pause")).await;
    assert_eq!(
        (paused.status, &paused.body["state"], &paused.body["position"]),
        (StatusCode::OK, &json!("paused"), &json!(7))
    );
    let refused = HttpResponse::of(change("sales-v1/drop")).await;
    refused.is_problem(409, "projection-not-changed");
    assert!(refused.body["detail"].as_str().unwrap().contains("is the active version"), "{}", refused.body);
    HttpResponse::of(change("sales-v2/pause")).await.is_problem(404, "projection-not-found");
    for (path, parameter) in
        [("Sales-v1/pause", "projection"), ("sales/pause", "projection"), ("sales-v1/stop", "action")]
    {
        let response = HttpResponse::of(change(path)).await;
        response.is_problem(400, "invalid-parameter");
        assert_eq!(response.body["errors"][0]["parameter"], parameter, "{path}");
    }
    replies.abort();
}

impl HttpResponse {
    /// Expects these projections with their states, and this number of services that do not reply.
    fn is_listed(&self, projections: &[(&str, &str)], unavailable: usize) {
        assert_eq!(self.status, 200, "{}", self.body);
        let listed = self.body["projections"].as_array().unwrap().iter();
        let listed: Vec<_> =
            listed.map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap())).collect();
        assert_eq!(listed, projections);
        assert_eq!(self.body["unavailable"].as_array().unwrap().len(), unavailable, "{}", self.body);
    }
}

#[tokio::test]
async fn readiness_reports_a_refused_password_of_the_operator() {
    let operations = OperationsOptions { enabled: true, operator_password: Some("wrong".to_owned()) };
    let shop = Shop::set(nats().await, |config| config.operations = operations);
    until("readiness reports the operator's connection", || async {
        let Ok(response) = shop.get("/readiness").send().await else { return false };
        let readiness = HttpResponse::read(response).await;
        let checks = &readiness.body["checks"];
        readiness.status == 503
            && checks["nats"]["ok"] == true
            && checks["streams"]["ok"] == true
            && checks["operator/nats"]["detail"].as_str().is_some_and(|detail| detail.contains("NATS_PASSWORD"))
    })
    .await;
}
