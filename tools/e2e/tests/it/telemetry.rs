//! Telemetry: one trace per order, and metrics for a scraper.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use demo::Component;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{EndpointExt, Route, Server, handler, post};
use prost::Message;
use serde_json::{Value, json};

use crate::support::{Engine, World, eventually, order};

/// A span, as the collector received it.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    trace: String,
    id: String,
    parent: String,
    kind: SpanKind,
    name: String,
    attributes: BTreeMap<String, String>,
}

type Collected = Arc<Mutex<Vec<Span>>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Any| match value {
        Any::StringValue(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref()?.value.as_ref().map(text);
    pairs.iter().filter_map(|pair| Some((pair.key.clone(), value(pair)?))).collect()
}

#[handler]
fn collect(Data(collected): Data<&Collected>, body: Vec<u8>) {
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let mut collected = collected.lock().unwrap();
    for of_service in request.resource_spans {
        let service = attributes(&of_service.resource.unwrap().attributes)["service.name"].clone();
        for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            collected.push(Span {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind(),
                attributes: attributes(&span.attributes),
                name: span.name,
            });
        }
    }
}

/// Starts a collector of OTLP over HTTP; returns its URL and the received spans.
async fn collector() -> (String, Collected) {
    let collected = Collected::default();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = acceptor.local_addr()[0].as_socket_addr().copied().unwrap();
    let routes = Route::new().at("/v1/traces", post(collect)).data(collected.clone());
    tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
    (format!("http://{address}"), collected)
}

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The hops of a confirmed order: the producer of each message, and its consumer.
const HOPS: [(&str, &str, &str, &str); 6] = [
    ("api-gateway", "send order.command.place", "order-service", "process order.command.place"),
    ("order-service", "create order.event.placed", "inventory-service", "process order.event.placed"),
    ("inventory-service", "create inventory.event.reserved", "order-service", "process inventory.event.reserved"),
    ("inventory-service", "create inventory.event.reserved", "payment-service", "process inventory.event.reserved"),
    ("payment-service", "create payment.event.captured", "order-service", "process payment.event.captured"),
    ("order-service", "create order.event.confirmed", "notification-service", "process order.event.confirmed"),
];

#[tokio::test]
async fn one_trace_of_one_order_spans_every_service_and_its_id_is_in_the_logs() {
    let (url, collected) = collector().await;
    let world = World::start_set(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "info,choreography_http=debug"),
        // Only the trace of the order below is sampled.
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ])
    .await;
    world.seed(&[("PRODUCT_001", 5)]).await;
    let provider = format!("{}/behaviour", world.config().http_url(Component::PaymentProvider));
    let behave = async |behaviour: Value| {
        world.http.put(&provider).json(&behaviour).send().await.unwrap().error_for_status().unwrap()
    };
    behave(json!({"mode": "fail", "on": ["capture"]})).await;
    let request = world.request(reqwest::Method::POST, "/orders").header("traceparent", CALLER);
    let response = request.json(&order("ORDER_001", "PRODUCT_001", 1)).send().await.unwrap();
    assert_eq!(response.status(), 202);
    world.eventually_status("ORDER_001", "reserved").await;
    eventually("payment-service has failed to capture", || async {
        world.log(Component::PaymentService).contains("has not responded")
    })
    .await;
    behave(json!({"mode": "ok"})).await;
    world.eventually_status("ORDER_001", "confirmed").await;

    let spans = || -> Vec<Span> { collected.lock().unwrap().clone() };
    eventually("every service has exported its spans", || async {
        let spans = spans();
        let has = |service: &str, name: &str| spans.iter().any(|span| span.service == service && span.name == name);
        has("api-gateway", "POST /orders")
            && HOPS.iter().all(|(from, created, to, processed)| has(from, created) && has(to, processed))
    })
    .await;
    check(&spans());

    for component in [Component::ApiGateway, Component::PaymentService] {
        let log = world.log(component);
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let knows = |line: &Value| line["fields"]["trace.id"] == TRACE || line["span"]["trace.id"] == TRACE;
        assert!(lines.iter().any(knows), "{component}: {log}");
    }
    world.assert_healthy().await;
}

fn check(spans: &[Span]) {
    assert!(spans.iter().all(|span| span.trace == TRACE), "only this trace is sampled");
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "each span is exported once");
    let the = |service: &str, kind: SpanKind, name: &str| -> &Span {
        let found = spans.iter().find(|span| span.service == service && span.kind == kind && span.name == name);
        found.unwrap_or_else(|| panic!("{service}: {name}\n{spans:#?}"))
    };
    for (from, created, to, processed) in HOPS {
        let created = the(from, SpanKind::Producer, created);
        let processed = the(to, SpanKind::Consumer, processed);
        assert_eq!(processed.parent, created.id, "{processed:?}");
        assert_eq!(processed.attributes["messaging.message.id"], created.attributes["messaging.message.id"]);
        assert_eq!(processed.attributes["messaging.system"], "nats");
    }
    let server = the("api-gateway", SpanKind::Server, "POST /orders");
    assert_eq!(server.parent, "b7ad6b7169203331", "the caller's");
    assert_eq!(the("api-gateway", SpanKind::Producer, "send order.command.place").parent, server.id);
    let asked = the("payment-service", SpanKind::Client, "capture");
    assert_eq!(asked.parent, the("payment-service", SpanKind::Consumer, "process inventory.event.reserved").id);
    for span in spans.iter().filter(|span| span.id != server.id) {
        assert!(ids.contains(span.parent.as_str()), "the parent of {span:?} is missing");
    }
}

/// Returns the metrics of a component, by sample name.
async fn scrape(world: &World, component: Component) -> BTreeMap<String, Vec<(String, f64)>> {
    let url = format!("{}/metrics", world.config().http_url(component));
    let response = world.http.get(url).send().await.unwrap().error_for_status().unwrap();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"), "{media_type}");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut samples: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        samples.entry(name.to_owned()).or_default().push((labels.trim_end_matches('}').to_owned(), value));
    }
    samples
}

/// Lets a real Prometheus, if installed, scrape the components, and runs the queries of the dashboard.
async fn query_prometheus(world: &World, components: &[Component], dashboard: &Value) {
    let folder = world.config().data.join("prometheus");
    std::fs::create_dir_all(&folder).unwrap();
    let targets: Vec<Value> = components
        .iter()
        .map(|component| {
            let target = world.config().http_url(*component).replace("http://", "");
            json!({"targets": [target], "labels": {"service": component.name()}})
        })
        .collect();
    let jobs =
        json!([{"job_name": "shop", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": targets}]);
    // JSON is YAML.
    std::fs::write(folder.join("prometheus.yml"), json!({"scrape_configs": jobs}).to_string()).unwrap();
    let port = choreography_test::free_port();
    let prometheus = tokio::process::Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(_prometheus) = prometheus else {
        eprintln!("prometheus is not installed (apt-get install prometheus): the dashboard's queries are not run");
        return;
    };
    let query = async |query: &str| -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(
            &format!("http://127.0.0.1:{port}/api/v1/query"),
            [("query", query.replace("$__rate_interval", "1m"))],
        );
        let Ok(response) = world.http.get(url.unwrap()).send().await else { return Vec::new() };
        let response: Value = response.json().await.unwrap_or_default();
        response["data"]["result"].as_array().cloned().unwrap_or_default()
    };
    eventually("each component was scraped twice", || async {
        query("sum_over_time(up[1m]) >= 2").await.len() == components.len()
    })
    .await;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query_text = target["expr"].as_str().unwrap();
            eventually(&format!("a result of {query_text}"), || async { !query(query_text).await.is_empty() })
                .await;
        }
    }
}

/// Returns the names of the metrics in the dashboard's queries, with their panels.
fn metric_names(dashboard: &Value) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let ours =
                words.filter(|word| ["messaging_", "orders_", "http_"].iter().any(|own| word.starts_with(own)));
            let ours: Vec<&str> = ours.collect();
            assert!(!ours.is_empty(), "{query}");
            names.extend(ours.iter().map(|name| ((*name).to_owned(), panel["title"].to_string())));
        }
    }
    names
}

#[tokio::test]
async fn metrics_can_be_scraped_and_every_dashboard_panel_uses_existing_ones() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 5)]).await;
    assert_eq!(world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 1)).await.status, 200);
    for path in ["/orders/ORDER_001", "/orders/NO_SUCH", "/no/such/path", "/orders/ORDER_001?surprise=1"] {
        world.get(path).await;
    }
    let mut names = BTreeSet::new();
    let mut all = BTreeMap::new();
    let components: Vec<Component> = Component::WITH_DATABASE.into_iter().chain([Component::ApiGateway]).collect();
    for component in components.clone() {
        let samples = scrape(&world, component).await;
        names.extend(samples.keys().cloned());
        all.insert(component, samples);
    }
    let dashboard = serde_json::from_str(include_str!("../../../../docs/telemetry/dashboard.json")).unwrap();
    for (name, panel) in metric_names(&dashboard) {
        assert!(names.contains(&name), "{panel} queries {name}, which no component has");
    }
    query_prometheus(&world, &components, &dashboard).await;

    let value = |component: Component, name: &str, labels: &str| -> f64 {
        let series = all[&component].get(name).unwrap_or_else(|| panic!("{component} has no {name}"));
        let found = series.iter().find(|(known, _)| known == labels);
        found.unwrap_or_else(|| panic!("{component}: {name}{{{labels}}} among {series:?}")).1
    };
    let order_service = Component::OrderService;
    for message_type in ["order.place.v1", "inventory.reserved.v1", "payment.captured.v1"] {
        let labels = format!("message_type=\"{message_type}\"");
        assert_eq!(value(order_service, "messaging_processed_total", &labels), 1.0);
        assert_eq!(value(order_service, "messaging_process_failures_total", &labels), 0.0);
        assert_eq!(value(order_service, "messaging_process_duration_seconds_count", &labels), 1.0);
    }
    assert_eq!(value(order_service, "orders_time_to_final_seconds_count", "status=\"confirmed\""), 1.0);
    assert_eq!(value(order_service, "messaging_batch_messages_sum", ""), 3.0);
    assert_eq!(value(order_service, "messaging_duplicates_total", ""), 0.0);
    assert_eq!(value(order_service, "messaging_dead_letters_total", "reason=\"rejected\""), 0.0);
    assert_eq!(value(order_service, "messaging_consumer_pending", "stream=\"EVENTS\""), 0.0);
    assert!(value(order_service, "messaging_outbox_pending_messages", "") <= 1.0);
    let gateway = Component::ApiGateway;
    let requests = |route: &str, method: &str, status: u16| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        value(gateway, "http_requests_total", &labels)
    };
    assert_eq!(requests("/orders", "POST", 200), 1.0);
    assert_eq!(requests("/orders/{id}", "GET", 200), 1.0);
    assert_eq!(requests("/orders/{id}", "GET", 404), 1.0);
    assert_eq!(requests("/orders/{id}", "GET", 400), 1.0);
    assert_eq!(requests("other", "GET", 404), 1.0);
    world.assert_healthy().await;
}
