//! The program interrupted by a signal: it reports what is done and what is not, and ends.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Echo, Shop, connect};

/// How many dead letters there are: as JSON more than the 64 KiB that a pipe takes.
const DEAD_LETTERS: u64 = 200;
/// How long the program may take to end on a machine that is busy.
const END_WITHIN: Duration = Duration::from_secs(20);

async fn signal(child: &Child, signal: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
}

/// Sends a signal, and returns the exit status and what was printed to standard error, with how long that took.
async fn ended(child: Child, name: &str) -> (Option<i32>, String, Duration) {
    signal(&child, name).await;
    let begun = Instant::now();
    let output = tokio::time::timeout(END_WITHIN, child.wait_with_output()).await.expect("it goes on").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), begun.elapsed())
}

/// Takes the requests of operators to a service, and answers none.
async fn silence(store: &Shop, service: &str) -> Subscriber {
    let client = connect(&store.nats, service).await.client();
    let requests = client.subscribe(format!("admin.{service}.>")).await.unwrap();
    client.flush().await.unwrap();
    requests
}

#[tokio::test]
async fn an_interrupted_command_ends_at_once_and_reports_what_is_done_and_what_is_not() {
    let store = Shop::start().await;
    let handler = Echo::default();
    handler.barred.lock().unwrap().extend((0..DEAD_LETTERS).map(|n| format!("P{n}")));
    let service = store.serve(handler.clone()).await;
    for n in 0..DEAD_LETTERS {
        store.command("place", &format!("P{n}")).await;
    }
    store.has("DEAD_LETTERS", DEAD_LETTERS).await;
    handler.barred.lock().unwrap().clear();

    // Between two steps: at one letter a second.
    let redrive = ["dead-letters", "redrive", "--all", "--rate", "1"];
    let mut program = store.spawn(&redrive);
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

    // While it prints to somebody who does not read: the second signal ends it.
    let mut listing = store.spawn(&["dead-letters", "list", "--limit", "1000"]);
    let mut output = listing.stdout.take().unwrap();
    output.read_u8().await.unwrap();
    signal(&listing, "-TERM").await;
    let (status, errors, took) = ended(listing, "-INT").await;
    assert!(matches!(status, Some(130 | 143)), "{status:?} {errors}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    drop(output);

    // A service that does not answer: a step takes 30 s, and a batch as long.
    service.stop().await;
    let before = store.messages("DEAD_LETTERS").await;
    for (service, arguments, name, code) in [
        ("order-service", &redrive[..], "-TERM", 143),
        ("account-service", &["streams", "restore", "EVENTS"][..], "-INT", 130),
    ] {
        let mut requests = silence(&store, service).await;
        let mut program = store.spawn(arguments);
        tokio::time::timeout(END_WITHIN, requests.next()).await.expect("no request");
        let output = program.stdout.take();
        let (status, errors, took) = ended(program, name).await;
        assert_eq!(status, Some(code), "{errors}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        let mut text = String::new();
        output.unwrap().read_to_string(&mut text).await.unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert!(!last["summary"].is_null(), "{text}");
    }
    assert_eq!(store.messages("DEAD_LETTERS").await, before, "nothing was removed");
}
