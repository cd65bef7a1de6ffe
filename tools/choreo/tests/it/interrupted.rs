//! The program interrupted by a signal: it reports completed and remaining work, and ends.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Echo, Shop, connect};

/// The number of dead letters: as JSON they exceed the 64 KiB of a pipe's buffer.
const DEAD_LETTERS: u64 = 200;
/// The time limit for the program to end on a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(20);

async fn signal(child: &Child, signal: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
}

/// Sends a signal; returns the exit status, the standard error, and the time until the end.
async fn ended(child: Child, name: &str) -> (Option<i32>, String, Duration) {
    signal(&child, name).await;
    let begun = Instant::now();
    let output =
        tokio::time::timeout(END_TIMEOUT, child.wait_with_output()).await.expect("it does not end").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), begun.elapsed())
}

/// Receives the operator's requests to a service, and replies to none.
async fn silence(shop: &Shop, service: &str) -> Subscriber {
    let client = connect(&shop.nats, service).await.client();
    let requests = client.subscribe(format!("admin.{service}.>")).await.unwrap();
    client.flush().await.unwrap();
    requests
}

#[tokio::test]
async fn an_interrupted_command_ends_at_once_and_reports_completed_and_remaining_work() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    handler.barred.lock().unwrap().extend((0..DEAD_LETTERS).map(|n| format!("P{n}")));
    let service = shop.serve(handler.clone()).await;
    for n in 0..DEAD_LETTERS {
        shop.command("place", &format!("P{n}")).await;
    }
    shop.has("DEAD_LETTERS", DEAD_LETTERS).await;
    handler.barred.lock().unwrap().clear();

    // Between two steps, at one dead letter per second.
    let redrive = ["dead-letters", "redrive", "--all", "--rate", "1"];
    let mut program = shop.spawn(&redrive);
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut read = async || serde_json::from_str::<Value>(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(read().await["outcome"], "handled");
    let (status, errors, took) = ended(program, "-INT").await;
    assert_eq!(status, Some(130), "{errors}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let mut last = read().await;
    while last.get("summary").is_none() {
        last = read().await;
    }
    let summary = &last["summary"];
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(summary["stopped"], "interrupted by a signal");
    assert!(count("handled") >= 1 && count("notTried") > 0, "{summary}");
    assert_eq!(count("handled") + count("unknown") + count("notTried"), DEAD_LETTERS, "{summary}");

    // While it prints to a reader that does not read: the second signal ends it.
    let mut listing = shop.spawn(&["dead-letters", "list", "--limit", "1000"]);
    let mut output = listing.stdout.take().unwrap();
    output.read_u8().await.unwrap();
    signal(&listing, "-TERM").await;
    let (status, errors, took) = ended(listing, "-INT").await;
    assert!(matches!(status, Some(130 | 143)), "{status:?} {errors}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    drop(output);

    // A service that does not reply: the time limit of a step and of a batch is 30 s.
    service.stop().await;
    let before = shop.messages("DEAD_LETTERS").await;
    for (service, arguments, name, code) in [
        ("order-service", &redrive[..], "-TERM", 143),
        ("account-service", &["streams", "restore", "EVENTS"][..], "-INT", 130),
    ] {
        let mut requests = silence(&shop, service).await;
        let mut program = shop.spawn(arguments);
        tokio::time::timeout(END_TIMEOUT, requests.next()).await.expect("no request");
        let output = program.stdout.take();
        let (status, errors, took) = ended(program, name).await;
        assert_eq!(status, Some(code), "{errors}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        let mut text = String::new();
        output.unwrap().read_to_string(&mut text).await.unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert!(!last["summary"].is_null(), "{text}");
    }
    assert_eq!(shop.messages("DEAD_LETTERS").await, before, "nothing was removed");
}
