//! The dashboard at `/`: complete, cached by its content, and restricted by security headers.

use std::collections::BTreeSet;
use std::path::Path;

use api_gateway::DashboardOptions;
use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop, nats, until};

const CONTROL: &str = "http://127.0.0.1:8906";

/// A shop with the configuration of the demo.
async fn demo() -> Shop {
    let shop = Shop::set(nats().await, |config| {
        config.dashboard = DashboardOptions {
            demo_control_url: Some(CONTROL.to_owned()),
            demo_control_token: Some("a-token".to_owned()),
            demo_nats_command: Some("nats --user inspector".to_owned()),
        };
    });
    shop.until_ready().await;
    shop
}

/// Collects the paths of all files of the dashboard on the gateway.
fn files(folder: &Path, at: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{at}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), &path, found)
        } else {
            found.insert(path).then_some(()).unwrap()
        }
    }
}

/// The paths in quotes in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(['"', '\'']).filter(|part| part.starts_with("/web/"))
}

#[tokio::test]
async fn the_dashboard_is_served_to_browsers_and_other_clients() {
    let shop = Shop::start().await;
    // curl asks for `*/*`, a browser for html.
    for accept in ["*/*", "text/html,application/xhtml+xml"] {
        let response = HttpResponse::of(shop.get("/").header("accept", accept)).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        let html = response.body.as_str().unwrap().to_owned();
        assert!(html.starts_with("<!doctype html>"));
        assert!(named(&html).count() > 3);
        for path in named(&html) {
            assert_eq!(HttpResponse::of(shop.get(path)).await.status, 200, "{path}");
        }
    }
    assert_eq!(shop.request("HEAD", "/").send().await.unwrap().status(), 200);
    HttpResponse::of(shop.request("POST", "/")).await.is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn every_file_has_its_media_type_and_security_headers() {
    let shop = Shop::start().await;
    let mut paths = BTreeSet::from(["/".to_owned(), "/web/config.json".to_owned()]);
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../web"), "/web", &mut paths);
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let response = shop.get(&path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}: {policy}");
        assert!(
            policy.contains("connect-src 'self';") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("access-control-allow-origin"), "", "{path}");
        let expected = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "woff2")) => "font/woff2",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, "json")) => "application/json",
            Some((_, "html")) | None if !path.ends_with("LICENSE") => "text/html; charset=utf-8",
            _ => continue,
        };
        assert_eq!(header("content-type"), expected, "{path}");
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let shop = Shop::start().await;
    let first = HttpResponse::of(shop.get("/web/app.js")).await;
    let tag = first.header("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = HttpResponse::of(shop.get("/web/app.js").header("if-none-match", &known)).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, Some(tag)), "{known}");
        assert_eq!(again.body, json!(""), "{known}");
        assert!(again.header("content-security-policy").is_some(), "{known}");
    }
    let changed = HttpResponse::of(shop.get("/web/app.js").header("if-none-match", "\"other\"")).await;
    assert_eq!(changed.status, 200);
}

#[tokio::test]
async fn a_path_without_a_file_of_the_dashboard_is_a_problem() {
    let shop = Shop::start().await;
    for path in [
        "/web/",
        "/web/nothing.js",
        "/web/../Cargo.toml",
        "/web/%2e%2e/Cargo.toml",
        "/web//etc/passwd",
        "/index.html",
    ] {
        HttpResponse::of(shop.get(path)).await.is_problem(404, "route-not-found");
    }
    // The dashboard does not shadow the API.
    HttpResponse::of(shop.get("/orders/NONE/payment?x=1")).await.is_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn outside_the_demo_the_dashboard_cannot_inject_faults() {
    let shop = Shop::start().await;
    let response = HttpResponse::of(shop.get("/web/config.json")).await;
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let expected =
        json!({"version": env!("CARGO_PKG_VERSION"), "control": null, "natsCommand": null, "operations": false});
    assert_eq!(response.body, expected);
    // The settings contain no secret, so every configured host name of the gateway may read them.
    let named = Shop::set(nats().await, |config| config.http.allowed_hosts = vec!["store.example.org".to_owned()]);
    until("the gateway responds", || async { named.get("/").send().await.is_ok() }).await;
    assert_eq!(HttpResponse::of(named.get("/").header("host", "store.example.org")).await.status, 200);
    HttpResponse::of(shop.get("/").header("host", "store.example.org"))
        .await
        .is_problem(421, "misdirected-request");
}

#[tokio::test]
async fn in_the_demo_the_dashboard_is_for_loopback_hosts_only() {
    let shop = demo().await;
    let response = HttpResponse::of(shop.get("/web/config.json")).await;
    assert_eq!(response.body["control"], json!({"url": CONTROL, "token": "a-token"}));
    assert_eq!(response.body["natsCommand"], Value::from("nats --user inspector"));
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.contains(&format!("connect-src 'self' {CONTROL};")), "{policy}");
    for path in ["/", "/web/config.json", "/web/app.js"] {
        for host in ["localhost:8900", "127.0.0.1", "[::1]:8900"] {
            assert_eq!(HttpResponse::of(shop.get(path).header("host", host)).await.status, 200, "{path} {host}");
        }
        for host in ["rebound.example.org", "rebound.example.org:8900", "127.0.0.1.example.org"] {
            let response = HttpResponse::of(shop.get(path).header("host", host)).await;
            response.is_problem(421, "misdirected-request");
            assert!(!response.body.to_string().contains("a-token"));
        }
    }
    // The API is restricted likewise.
    let response = HttpResponse::of(shop.get("/liveness").header("host", "store.example.org")).await;
    response.is_problem(421, "misdirected-request");
}

#[tokio::test]
async fn requests_from_foreign_origins_and_forms_have_no_effect() {
    let shop = Shop::start().await;
    let own = shop.base.clone();
    let other = format!("{own}0");
    for (name, value, status, code) in [
        ("origin", "http://evil.example", 403, "foreign-origin"),
        ("origin", "null", 403, "foreign-origin"),
        ("origin", other.as_str(), 403, "foreign-origin"),
        ("content-type", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        ("content-type", "text/plain", 415, "unsupported-media-type"),
        ("content-type", "multipart/form-data; boundary=x", 415, "unsupported-media-type"),
    ] {
        for path in ["/orders", "/orders/ORDER_001/cancel", "/products/PRODUCT_001/restock"] {
            let request = shop.http.post(format!("{own}{path}")).header(name, value).body("{}");
            HttpResponse::of(request).await.is_problem(status, code);
        }
    }
    assert!(shop.commands().await.is_empty());
    let cancelled = shop.http.post(format!("{own}/orders/ORDER_001/cancel")).header("origin", &own);
    assert_eq!(HttpResponse::of(cancelled).await.status, 202);
}
