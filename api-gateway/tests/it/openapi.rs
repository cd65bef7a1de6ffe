//! The document describes the API, and is in the repository so that changes are reviewed.

use std::path::Path;

use serde_json::Value;

use crate::support::{HttpResponse, Shop};

const ROUTES: [(&str, &str); 27] = [
    ("post", "/orders"),
    ("get", "/orders"),
    ("get", "/orders/{id}"),
    ("post", "/orders/{id}/cancel"),
    ("get", "/orders/{id}/history"),
    ("get", "/orders/{id}/payment"),
    ("get", "/orders/{id}/timeline"),
    ("get", "/orders/{id}/messages/{stream}/{sequence}"),
    ("post", "/accounts"),
    ("get", "/accounts/{id}"),
    ("put", "/accounts/{id}"),
    ("delete", "/accounts/{id}"),
    ("get", "/customers/{id}/notifications"),
    ("get", "/products"),
    ("get", "/products/{id}"),
    ("post", "/products/{id}/restock"),
    ("get", "/customers/{id}/summary"),
    ("get", "/reports/sales"),
    ("get", "/events"),
    ("get", "/overview"),
    ("get", "/invariants"),
    ("get", "/operations/dead-letters"),
    ("get", "/operations/dead-letters/{sequence}"),
    ("post", "/operations/dead-letters/redrive"),
    ("post", "/operations/dead-letters/{sequence}/delete"),
    ("get", "/operations/projections"),
    ("post", "/operations/projections/{projection}/{action}"),
];

/// Calls `visit` with every value in a document.
fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| walk(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

/// `UPDATE_GOLDEN=1 cargo test -p api-gateway` writes the file.
#[tokio::test]
async fn the_document_equals_the_golden_file() {
    let shop = Shop::with_operations().await;
    let served = HttpResponse::of(shop.get("/openapi.json")).await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, serde_json::to_string_pretty(&served.body).unwrap() + "\n").unwrap();
    }
    // Compared as values: whether the library keeps the order of keys depends on the features of other crates.
    let reviewed: Value = serde_json::from_slice(&std::fs::read(&golden).unwrap()).unwrap();
    assert!(served.body == reviewed, "openapi.json differs; run with UPDATE_GOLDEN=1 and review the difference");
}

#[tokio::test]
async fn the_document_is_complete() {
    let shop = Shop::with_operations().await;
    let document = HttpResponse::of(shop.get("/openapi.json")).await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for (method, path) in ROUTES {
        let operation = &document["paths"][path][method];
        assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
        // `/invariants` always responds: an unavailable service makes a status unknown.
        assert!(
            path == "/invariants"
                || operation["responses"]["503"]["content"]["application/problem+json"].is_object(),
            "{method} {path}"
        );
        // A dead letter is redriven or deleted at most once, so these operations need no key.
        if method != "get" && !path.starts_with("/operations") {
            let parameters = operation["parameters"].to_string();
            let explained = ["24 hours", "as for placing", "as for creating"];
            assert!(parameters.contains("Idempotency-Key"));
            assert!(explained.iter().any(|text| parameters.contains(text)), "{method} {path}");
        }
    }
    let count: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(count, ROUTES.len());
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    });
}

#[tokio::test]
async fn the_document_has_operations_only_if_they_are_served() {
    let (with, without) = (Shop::with_operations().await, Shop::start().await);
    let mut with = HttpResponse::of(with.get("/openapi.json")).await.body;
    let without = HttpResponse::of(without.get("/openapi.json")).await.body;
    assert!(!without["paths"].to_string().contains("/operations"));
    with["paths"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("/operations"));
    assert_eq!(with["paths"], without["paths"]);
    assert!(without["tags"].to_string().contains("only if the gateway is started with"));
}

#[tokio::test]
async fn the_api_reference_loads_nothing_from_other_hosts() {
    let shop = Shop::start().await;
    for path in ["/docs", "/docs/"] {
        let response = HttpResponse::of(shop.get(path)).await;
        assert_eq!(response.status, 200);
        let page = response.body.as_str().unwrap();
        assert!(page.contains("SwaggerUIBundle") && page.contains("validatorUrl: null"));
        for remote in ["src=\"http", "src=\"//", "href=\"http", "@import", "url(http", "url(\"http"] {
            let tags = page.replace("</script>", "\n").lines().filter(|line| line.len() < 500).collect::<String>();
            assert!(!tags.contains(remote), "{remote}");
        }
    }
}
