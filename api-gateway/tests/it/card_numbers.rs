//! A card number reaches no stream, no response, and no log, at any log level.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use choreography_test::free_port;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop, an_account, details, password, until};

/// The gateway as a process that logs at the finest level into a file.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) base: String,
    log: PathBuf,
}

impl Gateway {
    pub(crate) async fn start(shop: &Shop) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port())).to_string();
        let log = std::env::temp_dir().join(format!("api-gateway-{}.log", address.replace(':', "-")));
        let process = Command::new(env!("CARGO_BIN_EXE_api-gateway"))
            .args(["--nats-url", &shop.nats.url(), "--http-address", &address])
            .env("NATS_PASSWORD", password("api-gateway"))
            .env("RUST_LOG", "trace")
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::from(File::options().append(true).open(&log).unwrap()))
            .spawn()
            .unwrap();
        let gateway = Self { process, base: format!("http://{address}"), log };
        until("the gateway is ready", || async {
            shop.http.get(format!("{}/readiness", gateway.base)).send().await.is_ok_and(|r| r.status() == 200)
        })
        .await;
        gateway
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_file(&self.log));
    }
}

/// The spellings of the number in requests, and the spellings in which it could appear.
const SPELLED: [&str; 4] =
    ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111"];
const TRACES: [&str; 6] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111.1111.1111.1111",
    "4111%201111",
    "1111%201111",
];

#[track_caller]
fn has_no_card_number(what: &str, text: &str) {
    for trace in TRACES {
        if let Some(at) = text.find(trace) {
            let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
            panic!("{what} contains {trace}: {around}");
        }
    }
}

fn bodies(number: &str) -> Vec<Value> {
    let mut bodies = Vec::new();
    for pointer in [
        "/customerId",
        "/name",
        "/addresses/0/type",
        "/addresses/0/street",
        "/addresses/1/postalCode",
        "/addresses/1/city",
        "/addresses/0/country",
        "/contact/email",
        "/contact/phone",
        "/card/token",
        "/card/brand",
        "/card/lastFour",
        "/card/expiry",
        "/creditLimit/currency",
        "/creditLimit/amount",
        "/addresses",
        "/contact",
        "/card",
    ] {
        let mut account = an_account("CUSTOMER_001");
        *account.pointer_mut(pointer).unwrap() = json!(number);
        bodies.push(account);
    }
    for (parent, name) in
        [("", "number"), ("/card", "number"), ("", number), ("/card", number), ("/addresses/0", number)]
    {
        let mut account = an_account("CUSTOMER_001");
        account.pointer_mut(parent).unwrap()[name] = json!(number);
        bodies.push(account);
    }
    let mut within = an_account("CUSTOMER_001");
    within["name"] = json!(format!("Zoë, card no. {number} (Visa)"));
    within["contact"]["email"] = json!(format!("{}@example.org", number.replace(' ', "")));
    bodies.push(within);
    bodies
}

fn requests(http: &Client, base: &str, number: &str) -> Vec<(RequestBuilder, u16)> {
    let mut requests = Vec::new();
    let request = |method: &str, path: &str| http.request(method.parse().unwrap(), format!("{base}{path}"));
    for body in bodies(number) {
        let key = format!("\"{number}\"");
        requests.push((request("POST", "/accounts").json(&body).header("idempotency-key", key), 422));
        let put = request("PUT", "/accounts/CUSTOMER_001").json(&details(&body)).header("if-match", "\"1\"");
        // The customer's id is not a part of the details.
        if body["customerId"] == "CUSTOMER_001" {
            requests.push((put, 422));
        }
    }
    let raw = |body: String| request("POST", "/accounts").header("content-type", "application/json").body(body);
    requests.extend([
        (raw(format!("{{\"name\": \"{number}\"")), 400),
        (raw(format!("{{\"{number}\": 1, \"{number}\": 2}}")), 400),
        (raw(format!("{{\"card\": {{\"{number}\": 1, \"{number}\": {number}x}}}}")), 400),
        (raw(format!("\"{number}\"")), 422),
        (request("POST", "/accounts").header("content-type", number).body("{}"), 415),
    ]);
    for path in [format!("/accounts/{number}"), format!("/customers/{number}/notifications")] {
        requests.push((request("GET", &path), 400));
    }
    requests.extend([
        (request("DELETE", &format!("/accounts/{number}")).header("if-match", "\"1\""), 400),
        (request("GET", &format!("/accounts/CUSTOMER_001?{number}={number}")), 400),
        (request("GET", &format!("/accounts/{number}/card")), 404),
        (request("DELETE", "/accounts/CUSTOMER_001").header("if-match", format!("W/\"{number}\"")), 400),
    ]);
    requests
}

#[tokio::test]
async fn a_card_number_is_neither_stored_nor_returned_nor_logged() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop).await;
    for number in SPELLED {
        for (request, status) in requests(&shop.http, &gateway.base, number) {
            let shown = format!("{request:?}");
            let response = HttpResponse::of(request).await;
            assert_eq!(response.status, status, "{shown} {response:?}");
            has_no_card_number("a response", &format!("{:?} {}", response.headers, response.body));
        }
    }
    for name in ["COMMANDS", "EVENTS", "DEAD_LETTERS", "KV_IDEMPOTENCY"] {
        assert_eq!(shop.stream(name).await.info().await.unwrap().state.messages, 0, "{name}");
    }
    // A valid account is accepted, so that the log has one.
    let accepted = shop.http.post(format!("{}/accounts", gateway.base)).json(&an_account("CUSTOMER_001"));
    assert_eq!(HttpResponse::of(accepted.header("prefer", "wait=0")).await.status, 202);
    assert_eq!(shop.commands().await.len(), 1);
    let log = gateway.log();
    assert!(
        log.contains("DEBUG") && log.contains("a command is stored"),
        "everything is logged, except for the trace lines of the NATS client, which have bodies"
    );
    has_no_card_number("the log", &log);
    // Nor anything else of a body.
    assert!(!log.contains("zoe@example.org") && !log.contains("tok_1N3T00LkdIwHu7ix"));
}
