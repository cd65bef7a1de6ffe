//! Whoever may not ask is refused and nothing happens; and outside of a demo there is nothing to ask.

use std::sync::Arc;

use demo::{Component, shop};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::support::{Demo, config};

/// Sends a request with exactly these headers beside the client's own.
async fn send(demo: &Demo, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let url = format!("http://127.0.0.1:{}{path}", demo.config.control_port);
    let mut request = demo.http.request(method, url);
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request = request.header(name, HeaderValue::from_str(value).unwrap());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
}

/// Each request that is refused, by what is wrong with it.
fn strangers(demo: &Demo) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let (port, gateway) = (demo.config.control_port, demo.config.http_port(Component::ApiGateway));
    let right = ("authorization", format!("Bearer {}", demo.token));
    let from = |origin: &str| vec![right.clone(), ("origin", origin.to_owned())];
    let to = |host: String| vec![right.clone(), ("host", host)];
    vec![
        ("no token", vec![]),
        ("a wrong token", vec![("authorization", "Bearer 00000000-0000-4000-8000-000000000000".to_owned())]),
        ("an empty token", vec![("authorization", "Bearer ".to_owned())]),
        ("the token in another form", vec![("authorization", demo.token.clone())]),
        ("two tokens", vec![right.clone(), ("authorization", "Bearer x".to_owned())]),
        ("the gateway's origin without a token", vec![("origin", format!("http://127.0.0.1:{gateway}"))]),
        ("the gateway's origin with a wrong token", {
            vec![("origin", format!("http://127.0.0.1:{gateway}")), ("authorization", "Bearer x".to_owned())]
        }),
        ("another origin", from("https://example.com")),
        ("an origin that begins like the right one", from(&format!("http://127.0.0.1:{gateway}.example.com"))),
        ("the origin of another port", from(&format!("http://127.0.0.1:{port}"))),
        ("the origin of a file", from("null")),
        ("an empty origin", from("")),
        ("two origins", {
            let mut two = from(&format!("http://127.0.0.1:{gateway}"));
            two.push(("origin", "https://example.com".to_owned()));
            two
        }),
        ("another host", to(format!("example.com:{port}"))),
        ("a host that resolves to this machine", to(format!("127.0.0.1.nip.io:{port}"))),
        ("the host with another port", to(format!("127.0.0.1:{gateway}"))),
        ("the host without a port", to("localhost".to_owned())),
    ]
}

#[tokio::test]
async fn whoever_may_not_ask_is_refused_and_nothing_happens() {
    let demo = Demo::start().await;
    let before: Value = demo.ask(Method::GET, "/components").send().await.unwrap().json().await.unwrap();
    for (wrong, headers) in strangers(&demo) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, path) in [
            (Method::GET, "/components"),
            (Method::POST, "/components/order-service/kill"),
            (Method::POST, "/faults/disconnect"),
            (Method::GET, "/"),
            (Method::OPTIONS, "/components"),
        ] {
            let (status, answered, body) = send(&demo, method.clone(), path, &headers).await;
            assert_eq!((status, body.as_str()), (403, ""), "{wrong}: {method} {path}");
            let allows = answered.keys().any(|name| name.as_str().starts_with("access-control"));
            assert!(!allows, "{wrong}: {answered:?}");
        }
    }
    let token = format!("Bearer {}", demo.token);
    let right = [("authorization", token.as_str())];
    for (method, path, expected) in [
        (Method::GET, "/components/order-service/kill", 405),
        (Method::PUT, "/components/order-service/kill", 405),
        (Method::DELETE, "/components", 405),
        (Method::POST, "/components", 405),
        (Method::GET, "/faults/disconnect", 405),
        (Method::OPTIONS, "/components/order-service/kill", 405),
        (Method::POST, "/components/order-service/explode", 404),
        (Method::POST, "/components/somebody/kill", 404),
        (Method::POST, "/components/order-service/kill/now", 404),
        (Method::POST, "/faults/fire", 404),
        (Method::GET, "/demo.json", 404),
    ] {
        assert_eq!(send(&demo, method.clone(), path, &right).await.0, expected, "{method} {path}");
    }
    let after: Value = demo.ask(Method::GET, "/components").send().await.unwrap().json().await.unwrap();
    assert_eq!(after, before);
    demo.shut_down().await;
}

#[tokio::test]
async fn the_page_of_the_gateway_may_ask_and_read_the_answer() {
    let demo = Demo::start().await;
    let (port, gateway) = (demo.config.control_port, demo.config.http_port(Component::ApiGateway));
    let token = format!("Bearer {}", demo.token);
    for origin in [format!("http://127.0.0.1:{gateway}"), format!("http://localhost:{gateway}")] {
        let asks = [
            ("origin", origin.as_str()),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let (status, headers, body) = send(&demo, Method::OPTIONS, "/components/order-service/kill", &asks).await;
        assert_eq!((status, body.as_str()), (204, ""));
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(headers["access-control-allow-headers"], "authorization, content-type");
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
            let asks = [("origin", origin.as_str()), ("authorization", &token), ("host", &host)];
            let (status, headers, _) = send(&demo, Method::GET, "/components", &asks).await;
            assert_eq!(status, 200, "{host}");
            assert_eq!(
                (&headers["access-control-allow-origin"], &headers["vary"]),
                (&origin.parse().unwrap(), &"Origin".parse().unwrap())
            );
            let (status, headers, why) = send(&demo, Method::POST, "/components/order-service/resume", &asks).await;
            assert_eq!((status, &headers["access-control-allow-origin"]), (409, &origin.parse().unwrap()));
            assert_eq!(why, json!({"error": "order-service is not paused"}).to_string());
        }
    }
    demo.shut_down().await;
}

#[tokio::test]
async fn outside_of_a_demo_nobody_listens_and_the_gateway_is_told_of_nothing() {
    let config = config();
    let gateway = shop::settings(&config, Component::ApiGateway, &(Arc::new(|_, _: &str| {}) as demo::OnLine));
    let reported: Vec<&String> = gateway.variables.iter().map(|(name, _)| name).collect();
    assert!(reported.iter().all(|name| !name.starts_with("DEMO_")), "{reported:?}");
    let data = config.data.clone();
    let shop = demo::Shop::start(config, Arc::new(|_, _: &str| {}), &|_| {}).await.unwrap();
    let port = shop.config().control_port;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert!(!data.join("demo.json").exists());
    shop.shut_down().await.unwrap();
    std::fs::remove_dir_all(data).unwrap();
}
