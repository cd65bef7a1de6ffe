//! Short runs of the throughput benchmark.

use std::process::Command;

use serde_json::Value;

fn rows<'a>(report: &'a Value, title: &str) -> &'a Vec<Value> {
    let tables = report["tables"].as_array().unwrap();
    let table = tables.iter().find(|table| table["title"].as_str().unwrap().starts_with(title));
    table.unwrap_or_else(|| panic!("no table {title} in {report:#}"))["rows"].as_array().unwrap()
}

fn row<'a>(rows: &'a [Value], column: &str, name: &str) -> &'a Value {
    rows.iter().find(|row| row[column] == name).unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
}

#[test]
fn every_order_is_completed_exactly_once_with_as_many_messages_as_in_the_baseline() {
    let scratch = std::env::temp_dir().join(format!("bench-it-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let (json, svg, data) = (scratch.join("report.json"), scratch.join("report.svg"), scratch.join("data"));
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["throughput", "--warm-up", "0.5", "--seconds", "1.5", "--rounds", "1"])
        .args(["--customers", "3", "--products", "5", "--window", "64"])
        .arg("--data")
        .arg(&data)
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(&svg)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let rates = rows(&report, "Throughput");
    let [bare, baseline, shop] = ["bare", "baseline", "shop"].map(|name| row(rates, "what", name));
    let number = |row: &Value, column: &str| row[column].as_f64().unwrap_or_else(|| panic!("{column} in {row}"));
    // Six messages: placed twice, as a command and as an event; reserved twice, captured, confirmed.
    for row in [baseline, shop] {
        assert!(number(row, "orders/s") > 0.0, "{row}");
        assert!((number(row, "messages/order") - 6.0).abs() < 1e-9, "{row}");
    }
    assert!((number(bare, "messages/order") - 4.0).abs() < 1e-9, "{bare}");
    assert!((number(shop, "ratio to bare") - number(shop, "orders/s") / number(bare, "orders/s")).abs() < 1e-9);
    let ratio = number(shop, "orders/s") / number(baseline, "orders/s");
    assert!((number(shop, "ratio to the baseline") - ratio).abs() < 1e-9, "{shop}");

    let orders = rows(&report, "Orders of the shop");
    let placed = number(row(orders, "what", "placed"), "orders");
    assert!(placed >= number(shop, "orders"), "more orders were measured than placed");
    assert!((number(row(orders, "what", "confirmed"), "orders") - placed).abs() < f64::EPSILON);
    for service in ["nats-server", "order-service", "inventory-service", "payment-service"] {
        assert!(number(row(rows(&report, "Processes: shop"), "process", service), "peak memory MB") > 1.0);
    }
    assert!(std::fs::read_to_string(svg).unwrap().contains("</svg>"));
    assert!(!data.exists(), "the data folder was not removed");
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn two_instances_of_each_service_share_the_work_and_complete_every_order_once() {
    let scratch = std::env::temp_dir().join(format!("bench-it-two-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let (json, data) = (scratch.join("report.json"), scratch.join("data"));
    let bench = |database: &str| {
        Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["throughput", "--chain", "short", "--no-baseline", "--instances", "2", "--database", database])
            .args(["--warm-up", "0.5", "--seconds", "1.5", "--rounds", "1", "--window", "256"])
            .arg("--data")
            .arg(&data)
            .arg("--json")
            .arg(&json)
            .output()
            .unwrap()
    };
    let refused = bench("sqlite");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--database postgres"), "{refused:?}");
    let output = bench("postgres");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for service in ["order-service", "order-service 2", "inventory-service", "inventory-service 2"] {
        let used = row(rows(&report, "Processes: shop"), "process", service)["CPU s"].as_f64().unwrap();
        assert!(used > 0.02, "{service} did nothing: {used} s");
    }
    std::fs::remove_dir_all(scratch).unwrap();
}
