//! Access control of the control API, which exists only in a demo.

use std::sync::Arc;

use demo::{Component, shop};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::support::{Demo, config};

/// Sends a request with these headers and those that the client always sends.
async fn send(demo: &Demo, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let url = format!("http://127.0.0.1:{}{path}", demo.config.control_port);
    let mut request = demo.http.request(method, url);
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request = request.header(name, HeaderValue::from_str(value).unwrap());
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap())
}

/// Returns the headers of unauthorised requests, each with its mistake.
fn unauthorised(demo: &Demo) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let (port, gateway) = (demo.config.control_port, demo.config.http_port(Component::ApiGateway));
    let valid = ("authorization", format!("Bearer {}", demo.token));
    let from = |origin: &str| vec![valid.clone(), ("origin", origin.to_owned())];
    let to = |host: String| vec![valid.clone(), ("host", host)];
    vec![
        ("no token", vec![]),
        ("a wrong token", vec![("authorization", "Bearer 00000000-0000-4000-8000-000000000000".to_owned())]),
        ("an empty token", vec![("authorization", "Bearer ".to_owned())]),
        ("the token in another form", vec![("authorization", demo.token.clone())]),
        ("two tokens", vec![valid.clone(), ("authorization", "Bearer x".to_owned())]),
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
async fn an_unauthorised_request_is_rejected_and_changes_nothing() {
    let demo = Demo::start().await;
    let before: Value = demo.request(Method::GET, "/components").send().await.unwrap().json().await.unwrap();
    for (mistake, headers) in unauthorised(&demo) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, path) in [
            (Method::GET, "/components"),
            (Method::POST, "/components/order-service/kill"),
            (Method::POST, "/faults/disconnect"),
            (Method::GET, "/"),
            (Method::OPTIONS, "/components"),
        ] {
            let (status, received, body) = send(&demo, method.clone(), path, &headers).await;
            assert_eq!((status, body.as_str()), (403, ""), "{mistake}: {method} {path}");
            let allows = received.keys().any(|name| name.as_str().starts_with("access-control"));
            assert!(!allows, "{mistake}: {received:?}");
        }
    }
    let token = format!("Bearer {}", demo.token);
    let valid = [("authorization", token.as_str())];
    for (method, path, expected) in [
        (Method::GET, "/components/order-service/kill", 405),
        (Method::PUT, "/components/order-service/kill", 405),
        (Method::DELETE, "/components", 405),
        (Method::POST, "/components", 405),
        (Method::GET, "/faults/disconnect", 405),
        (Method::OPTIONS, "/components/order-service/kill", 405),
        (Method::POST, "/components/order-service/explode", 404),
        (Method::POST, "/components/unknown-service/kill", 404),
        (Method::POST, "/components/order-service/kill/now", 404),
        (Method::POST, "/faults/fire", 404),
        (Method::GET, "/demo.json", 404),
    ] {
        assert_eq!(send(&demo, method.clone(), path, &valid).await.0, expected, "{method} {path}");
    }
    let after: Value = demo.request(Method::GET, "/components").send().await.unwrap().json().await.unwrap();
    assert_eq!(after, before);
    demo.shut_down().await;
}

#[tokio::test]
async fn the_dashboard_may_send_requests_and_read_the_responses() {
    let demo = Demo::start().await;
    let (port, gateway) = (demo.config.control_port, demo.config.http_port(Component::ApiGateway));
    let token = format!("Bearer {}", demo.token);
    for origin in [format!("http://127.0.0.1:{gateway}"), format!("http://localhost:{gateway}")] {
        let preflight = [
            ("origin", origin.as_str()),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let path = "/components/order-service/kill";
        let (status, headers, body) = send(&demo, Method::OPTIONS, path, &preflight).await;
        assert_eq!((status, body.as_str()), (204, ""));
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(headers["access-control-allow-headers"], "authorization, content-type");
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
            let request = [("origin", origin.as_str()), ("authorization", &token), ("host", &host)];
            let (status, headers, _) = send(&demo, Method::GET, "/components", &request).await;
            assert_eq!(status, 200, "{host}");
            assert_eq!(
                (&headers["access-control-allow-origin"], &headers["vary"]),
                (&origin.parse().unwrap(), &"Origin".parse().unwrap())
            );
            let path = "/components/order-service/resume";
            let (status, headers, error) = send(&demo, Method::POST, path, &request).await;
            assert_eq!((status, &headers["access-control-allow-origin"]), (409, &origin.parse().unwrap()));
            assert_eq!(error, json!({"error": "order-service is not paused"}).to_string());
        }
    }
    demo.shut_down().await;
}

#[tokio::test]
async fn outside_of_a_demo_there_is_no_control_api_and_the_gateway_gets_no_address_of_one() {
    let config = config();
    let gateway = shop::settings(&config, Component::ApiGateway, &(Arc::new(|_, _: &str| {}) as demo::OnLine));
    let names: Vec<&String> = gateway.variables.iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| !name.starts_with("DEMO_")), "{names:?}");
    let data = config.data.clone();
    let shop = demo::Shop::start(config, Arc::new(|_, _: &str| {}), &|_| {}).await.unwrap();
    let port = shop.config().control_port;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert!(!data.join("demo.json").exists());
    shop.shut_down().await.unwrap();
    std::fs::remove_dir_all(data).unwrap();
}
