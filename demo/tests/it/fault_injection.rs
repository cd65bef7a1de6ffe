//! Each control request injects its fault, and the shop recovers.

use std::time::Duration;

use demo::Component;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Demo, eventually, process_state};

const INVENTORY: Component = Component::InventoryService;

#[tokio::test]
async fn a_component_is_killed_started_paused_resumed_and_stopped_as_asked() {
    let demo = Demo::start().await;
    let running = demo.component(INVENTORY).await;
    assert_eq!((&running["state"], &running["ready"]), (&json!("running"), &json!(true)));
    assert_eq!(running["actions"], json!(["kill", "pause", "stop"]));
    assert_eq!(running["faults"], json!(["delay-acks", "disconnect"]));
    let process = running["process"].clone();

    let done = demo.act(INVENTORY, "pause").await;
    assert_eq!(done, format!("paused inventory-service (process {process}, SIGSTOP)"));
    eventually("the process is stopped", async || process_state(&process) == Some('T')).await;
    let paused = demo.component(INVENTORY).await;
    assert_eq!((&paused["state"], &paused["ready"]), (&json!("paused"), &json!(false)));
    assert_eq!(paused["actions"], json!(["kill", "resume", "stop"]));
    demo.place("ORDER_101").await;
    demo.eventually_status("ORDER_101", "placed").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    demo.eventually_status("ORDER_101", "placed").await;
    let error = demo.rejected_control_request(409, "/components/inventory-service/pause", &json!({})).await;
    assert_eq!(error, "inventory-service is paused already");
    demo.act(INVENTORY, "resume").await;
    assert_ne!(process_state(&process), Some('T'));
    demo.eventually_status("ORDER_101", "confirmed").await;
    let error = demo.rejected_control_request(409, "/components/inventory-service/resume", &json!({})).await;
    assert_eq!(error, "inventory-service is not paused");

    let done = demo.act(INVENTORY, "kill").await;
    assert_eq!(done, format!("killed inventory-service (process {process}, SIGKILL)"));
    assert_eq!(process_state(&process), None);
    let stopped = demo.component(INVENTORY).await;
    assert_eq!((&stopped["state"], &stopped["process"]), (&json!("stopped"), &Value::Null));
    assert_eq!((&stopped["actions"], &stopped["faults"]), (&json!(["start"]), &json!([])));
    for action in ["kill", "stop", "pause", "resume"] {
        let path = format!("/components/inventory-service/{action}");
        let error = demo.rejected_control_request(409, &path, &json!({})).await;
        assert_eq!(error, "inventory-service does not run");
    }
    demo.act(INVENTORY, "start").await;
    let started = demo.component(INVENTORY).await;
    assert_eq!(started["ready"], true);
    let error = demo.rejected_control_request(409, "/components/inventory-service/start", &json!({})).await;
    assert_eq!(error, format!("inventory-service runs already (process {})", started["process"]));
    let done = demo.act(INVENTORY, "stop").await;
    assert_eq!(
        done,
        format!("stopped inventory-service (process {}, exit status: 0)", started["process"]),
        "a graceful shutdown"
    );
    demo.shut_down().await;
}

#[tokio::test]
async fn the_broker_can_be_started_while_a_component_that_needs_it_starts() {
    let demo = Demo::start().await;
    demo.act(Component::NatsServer, "kill").await;
    demo.act(Component::ApiGateway, "kill").await;
    assert_eq!(demo.component(Component::ApiGateway).await["state"], "stopped");
    let error = demo.rejected_control_request(409, "/faults/redeliver", &json!({"messages": 1})).await;
    assert!(error.contains("nats-server"), "{error}");
    let (gateway, _) = tokio::join!(demo.act(Component::ApiGateway, "start"), async {
        eventually("the gateway runs", || async {
            demo.component(Component::ApiGateway).await["state"] == "running"
        })
        .await;
        assert_eq!(demo.component(Component::ApiGateway).await["ready"], false);
        demo.act(Component::NatsServer, "start").await
    });
    assert!(gateway.starts_with("started api-gateway"));
    demo.place("ORDER_101").await;
    demo.eventually_status("ORDER_101", "confirmed").await;
    demo.shut_down().await;
}

#[tokio::test]
async fn redelivered_messages_are_dropped_and_stock_changes_once() {
    let demo = Demo::start().await;
    demo.place("ORDER_101").await;
    demo.eventually_status("ORDER_101", "confirmed").await;
    let stock = demo.get("/products/PRODUCT_001").await;
    let services = [Component::OrderService, INVENTORY, Component::PaymentService, Component::NotificationService];
    for service in services {
        assert_eq!(demo.duplicates("ORDER_101", service).await, 0);
    }
    let done = demo.control_request("/faults/redeliver", &json!({"messages": 100})).await;
    let expected = "redelivering the last 100 messages of COMMANDS and EVENTS to order-service";
    assert!(done.starts_with(expected), "{done}");
    for service in services {
        eventually(&format!("{service} has dropped duplicates"), || async {
            demo.duplicates("ORDER_101", service).await > 0
        })
        .await;
    }
    assert_eq!(demo.get("/products/PRODUCT_001").await, stock);
    for (messages, expected) in [(json!(0), "from 1 to 1000"), (json!(1001), "from 1 to 1000"), (json!("a"), "u64")]
    {
        let error = demo.rejected_control_request(400, "/faults/redeliver", &json!({"messages": messages})).await;
        assert!(error.contains(expected), "{error}");
    }
    demo.shut_down().await;
}

#[tokio::test]
async fn unacknowledged_messages_are_redelivered_and_dropped() {
    let demo = Demo::start().await;
    demo.control_request("/faults/delay-acks", &json!({"component": "inventory-service", "seconds": 13})).await;
    demo.place("ORDER_101").await;
    demo.eventually_status("ORDER_101", "placed").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let delayed = demo.get("/orders/ORDER_101").await;
    assert_eq!(delayed["status"], "placed", "the events of inventory-service are delayed, too");
    demo.eventually_status("ORDER_101", "confirmed").await;
    eventually("inventory-service has dropped a duplicate", || async {
        demo.duplicates("ORDER_101", INVENTORY).await > 0
    })
    .await;
    assert_eq!(demo.duplicates("ORDER_101", Component::PaymentService).await, 0);
    for (body, status) in [
        (json!({"component": "inventory-service", "seconds": 61}), 400),
        (json!({"component": "unknown-service", "seconds": 1}), 400),
        (json!({"component": "payment-provider", "seconds": 1}), 409),
        (json!({"component": "nats-server", "seconds": 1}), 409),
    ] {
        demo.rejected_control_request(status, "/faults/delay-acks", &body).await;
    }
    demo.shut_down().await;
}

/// Returns the ids of a user's connections to the broker.
async fn connections(demo: &Demo, user: &str) -> Vec<u64> {
    let url = format!("{}/connz?auth=true", demo.config.http_url(Component::NatsServer));
    let connz: Value = demo.http.get(url).send().await.unwrap().json().await.unwrap();
    let all = connz["connections"].as_array().unwrap().iter();
    all.filter(|one| one["authorized_user"] == user).map(|one| one["cid"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_disconnected_service_reconnects() {
    let demo = Demo::start().await;
    let before = connections(&demo, "order-service").await;
    let other = connections(&demo, "inventory-service").await;
    assert_eq!(before.len(), 1);
    demo.control_request("/faults/disconnect", &json!({"component": "order-service"})).await;
    eventually("order-service is connected again", || async {
        let after = connections(&demo, "order-service").await;
        !after.is_empty() && after != before
    })
    .await;
    assert_eq!(connections(&demo, "inventory-service").await, other);
    demo.place("ORDER_101").await;
    demo.eventually_status("ORDER_101", "confirmed").await;
    demo.shut_down().await;
}

#[tokio::test]
async fn the_second_terminal_sends_the_same_requests() {
    let demo = Demo::start().await;
    let run = async |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("--data")
            .arg(&demo.config.data)
            .args(arguments)
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    for (arguments, expected) in [
        (vec!["pause", "inventory-service"], "paused inventory-service (process"),
        (vec!["status"], "paused"),
        (vec!["resume", "inventory-service"], "resumed inventory-service (process"),
        (vec!["redeliver", "10"], "redelivering the last 10 messages of COMMANDS and EVENTS"),
        (
            vec!["delay-acks", "payment-service", "--seconds", "1"],
            "delaying everything that payment-service sends to nats-server",
        ),
        (vec!["disconnect", "payment-service"], "disconnected payment-service"),
        (vec!["kill", "inventory-service"], "killed inventory-service (process"),
        (vec!["start", "inventory-service"], "started inventory-service (process"),
        (vec!["stop", "inventory-service"], "stopped inventory-service (process"),
    ] {
        let (succeeded, output) = run(&arguments).await;
        assert!(succeeded && output.contains(expected), "{arguments:?}: {output}");
    }
    for (arguments, expected) in [
        (vec!["pause", "inventory-service"], "inventory-service does not run"),
        (vec!["disconnect", "nats-server"], "nats-server has no connection to nats-server"),
        (vec!["redeliver", "1001"], "is not a whole number from 1 to 1000"),
    ] {
        let (succeeded, output) = run(&arguments).await;
        assert!(!succeeded && output.contains(expected), "{arguments:?}: {output}");
    }
    demo.shut_down().await;
}
