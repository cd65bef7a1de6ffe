//! Dead letters: listed, redriven, deleted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use choreography::redrive::{Outcome, Report};
use choreography_ops::dead_letters::redrive::{Ramp, Redriven, Summary, redrive};
use choreography_ops::dead_letters::{self, Filter, delete};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Echo, Shop};

fn bar(handler: &Echo, keys: &[String]) {
    handler.barred.lock().unwrap().extend(keys.iter().cloned());
}

async fn redrive_all(shop: &Shop, ramp: &Ramp) -> (Vec<Redriven>, Summary) {
    let operator = shop.operator().await;
    let dead_letters =
        dead_letters::list(&operator, &Filter::default(), dead_letters::MAX_SELECTION).await.unwrap().dead_letters;
    let mut reported = Vec::new();
    let summary = redrive(&operator, &dead_letters, ramp, &CancellationToken::new(), |redriven| {
        reported.push(redriven.clone())
    })
    .await;
    (reported, summary)
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_ends_the_program_quietly() {
    let shop = Shop::start().await;
    let mut program = shop.spawn(&["dead-letters", "list"]);
    drop(program.stdout.take());
    let ended = program.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(141) && errors.is_empty(), "{:?} {errors}", ended.status);
}

/// Returns the library that shifts the clock of a process.
fn libfaketime() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"];
    let libraries = folders.map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|library| library.is_file())
}

#[tokio::test]
async fn the_age_of_a_dead_letter_follows_the_clock_of_nats_server() {
    let Some(library) = libfaketime() else {
        eprintln!("libfaketime is not installed: the clock of the program cannot be shifted");
        return;
    };
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned()]);
    let _service = shop.serve(handler).await;
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    for (ahead, filter, found) in [("+9d", "--before", 0), ("+9d", "--since", 1), ("-9d", "--since", 1)] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_choreo"))
            .args(["--nats-url", &shop.nats.url(), "--json", "dead-letters", "list", filter, "1h"])
            .envs([("LD_PRELOAD", library.to_str().unwrap()), ("FAKETIME", ahead)])
            .envs([("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("OPERATOR_PASSWORD", "secret")])
            .output()
            .await
            .unwrap();
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let dead_letters = listing["deadLetters"].as_array().unwrap();
        assert_eq!(dead_letters.len(), found, "{ahead} {filter}: {listing}");
        assert!(
            dead_letters.iter().all(|dead_letter| dead_letter["ageSeconds"].as_u64().unwrap() < 3600),
            "{listing}"
        );
    }
}

#[tokio::test]
async fn dead_letters_are_filtered_by_service_type_reason_key_and_age() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned(), "K2".to_owned()]);
    let _service = shop.serve(handler).await;
    let id = shop.command("place", "K1").await;
    shop.command("cancel", "K2").await;
    shop.command("strange", "K3").await;
    shop.has("DEAD_LETTERS", 3).await;
    let operator = shop.operator().await;
    let find = async |filter: Filter| -> Vec<String> {
        let listing = dead_letters::list(&operator, &filter, 10).await.unwrap();
        let mut keys: Vec<_> = listing.dead_letters.into_iter().map(|dead_letter| dead_letter.key).collect();
        keys.sort();
        keys
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(find(Filter::default()).await, ["K1", "K2", "K3"]);
    assert_eq!(find(Filter { service: some("order-service"), ..Filter::default() }).await.len(), 3);
    assert_eq!(find(Filter { service: some("payment-service"), ..Filter::default() }).await.len(), 0);
    assert_eq!(find(Filter { message_type: some("order.place"), ..Filter::default() }).await, ["K1"]);
    assert_eq!(find(Filter { message_type: some("order.place.v1"), ..Filter::default() }).await, ["K1"]);
    assert_eq!(find(Filter { message_type: some("order.pla"), ..Filter::default() }).await.len(), 0);
    assert_eq!(find(Filter { reason: some("Barred"), ..Filter::default() }).await, ["K1", "K2"]);
    assert_eq!(find(Filter { reason: some("undecodable"), ..Filter::default() }).await, ["K3"]);
    assert_eq!(find(Filter { key: some("K2"), ..Filter::default() }).await, ["K2"]);
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(find(Filter { before: hour, ..Filter::default() }).await.len(), 0);
    assert_eq!(find(Filter { since: hour, ..Filter::default() }).await.len(), 3);
    assert!(dead_letters::list(&operator, &Filter::default(), 2).await.unwrap().more);

    let by_key = Filter { key: some("K1"), ..Filter::default() };
    let sequence = dead_letters::list(&operator, &by_key, 1).await.unwrap().dead_letters[0].sequence;
    let whole = dead_letters::show(&operator, sequence).await.unwrap().unwrap();
    assert_eq!(whole.dead_letter.message_id, Some(id.to_string()));
    assert_eq!((whole.dead_letter.stream.as_str(), whole.dead_letter.attempts), ("COMMANDS", Some(1)));
    assert_eq!(whole.body, serde_json::json!({ "a": 1 }));
    assert_eq!(dead_letters::show(&operator, 99).await.unwrap(), None);
}

/// `POISON=1000 GOOD=10000` makes it a load test.
#[tokio::test]
async fn poison_messages_among_good_ones_are_redriven_once_the_bug_is_fixed() {
    let count = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (poison, good) = (count("POISON", 30), count("GOOD", 300));
    let shop = Shop::start().await;
    let handler = Echo::default();
    let keys: Vec<String> = (0..poison).map(|n| format!("P{n}")).collect();
    bar(&handler, &keys);
    let _service = shop.serve(handler.clone()).await;
    let every = good / poison;
    for n in 0..good {
        shop.command("place", &format!("G{n}")).await;
        if n % every == 0 && n / every < poison {
            shop.command("place", &keys[usize::try_from(n / every).unwrap()]).await;
        }
    }
    shop.has("DEAD_LETTERS", poison).await;
    shop.has("EVENTS", good).await;

    handler.barred.lock().unwrap().clear();
    let began = Instant::now();
    let (reported, summary) = redrive_all(&shop, &Ramp::default()).await;
    let all = Summary { handled: usize::try_from(poison).unwrap(), ..Summary::default() };
    assert_eq!(summary, all);
    assert!(reported.iter().all(|redriven| redriven.removed && redriven.outcome == Outcome::Handled));
    // 1, 2, 4, 8, 15: there is no pause after the last step.
    assert!(began.elapsed() >= Duration::from_secs(4), "it ramps up, and took {:?}", began.elapsed());
    shop.has("EVENTS", good + poison).await;
    shop.has("DEAD_LETTERS", 0).await;
}

#[tokio::test]
async fn a_redrive_stops_if_messages_fail_again() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    let keys: Vec<String> = (0..20).map(|n| format!("P{n}")).collect();
    bar(&handler, &keys);
    let _service = shop.serve(handler.clone()).await;
    for key in &keys {
        shop.command("place", key).await;
    }
    shop.has("DEAD_LETTERS", 20).await;
    let (reported, summary) = redrive_all(&shop, &Ramp::default()).await;
    assert_eq!((summary.failed, summary.not_tried, reported.len()), (1, 19, 1));
    assert!(summary.stopped.is_some() && !summary.all_handled());
    assert_eq!(reported[0].outcome, Outcome::Failed { reason: "P0 is barred".to_owned() });

    // Half of them are repaired; failures are allowed.
    handler.barred.lock().unwrap().retain(|key| key.len() < 3);
    let (reported, summary) = redrive_all(&shop, &Ramp { max_failures: 100, ..Ramp::default() }).await;
    assert_eq!((summary.handled, summary.failed, summary.not_tried), (10, 10, 0));
    assert_eq!(reported.iter().map(|redriven| redriven.key.clone()).collect::<Vec<_>>(), keys, "in their order");
    shop.has("DEAD_LETTERS", 10).await;
    shop.has("EVENTS", 10).await;
}

#[tokio::test]
async fn dead_letters_of_a_service_that_does_not_run_stay_and_the_service_is_reported() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned()]);
    let service = shop.serve(handler.clone()).await;
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    service.stop().await;
    let (reported, _) = redrive_all(&shop, &Ramp::default()).await;
    assert_eq!(reported[0].outcome, Outcome::Failed { reason: "order-service does not run".to_owned() });
    assert_eq!(shop.messages("DEAD_LETTERS").await, 1);
}

#[tokio::test]
async fn a_dead_letter_that_was_handled_and_not_removed_is_removed_by_the_next_redrive() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned()]);
    let _service = shop.serve(handler.clone()).await;
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    handler.barred.lock().unwrap().clear();
    // As if the program were killed before it removes the dead letter.
    let request = choreography::redrive::Request { sequences: vec![1], force: false };
    let operator = shop.operator().await;
    let subject = choreography::redrive::subject("order-service");
    let asked = operator.ask("order-service", subject, &request, Duration::from_secs(5)).await;
    asked.map(|_: Vec<Report>| ()).unwrap();
    assert_eq!(shop.messages("DEAD_LETTERS").await, 1);
    let (reported, summary) = redrive_all(&shop, &Ramp::default()).await;
    assert_eq!((summary.already_handled, reported[0].removed), (1, true));
    assert_eq!(shop.messages("DEAD_LETTERS").await, 0);
    shop.has("EVENTS", 1).await;
}

#[tokio::test]
async fn a_deleted_dead_letter_is_gone_and_its_reason_is_kept() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned()]);
    let _service = shop.serve(handler).await;
    let id = shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    let operator = shop.operator().await;
    assert!(delete::delete(&operator, 1, " ").await.is_err(), "a reason must be given");
    assert!(delete::delete(&operator, 1, "a test\norder").await.unwrap().deleted);
    assert!(!delete::delete(&operator, 1, "again").await.unwrap().deleted);
    assert!(dead_letters::list(&operator, &Filter::default(), 10).await.unwrap().dead_letters.is_empty());
    assert!(!delete::delete(&operator, 2, "a copy is not a dead letter").await.unwrap().deleted);
    let kept = shop.js.get_stream("DEAD_LETTERS").await.unwrap();
    let kept = kept.direct_get_last_for_subject("dead-letter-deleted.order-service.rejected.K1").await.unwrap();
    let header = |name: &str| kept.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!((header(delete::REASON), header(delete::SEQUENCE)), ("a test order".to_owned(), "1".to_owned()));
    assert_eq!(header("ce-id"), id.to_string());
    assert_eq!(kept.payload, "{\"a\":1}");
}

#[tokio::test]
async fn the_program_prints_json_and_its_exit_status_shows_the_result() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned()]);
    let _service = shop.serve(handler.clone()).await;
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    let lines = |output: &[u8]| -> Vec<Value> {
        String::from_utf8_lossy(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let listed = shop.choreo(&["dead-letters", "list", "--since", "1h"]).await;
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(lines(&listed.stdout)[0]["deadLetters"][0]["key"], "K1");

    let unselected = shop.choreo(&["dead-letters", "redrive"]).await;
    assert_eq!(unselected.status.code(), Some(2));
    assert!(lines(&unselected.stderr)[0]["error"].as_str().unwrap().contains("--all"));

    let failed = shop.choreo(&["dead-letters", "redrive", "1"]).await;
    assert_eq!(failed.status.code(), Some(1));
    let reported = lines(&failed.stdout);
    assert_eq!(
        (&reported[0]["outcome"], &reported[0]["reason"]),
        (&Value::from("failed"), &Value::from("K1 is barred"))
    );
    assert_eq!(reported[1]["summary"]["failed"], 1);

    handler.barred.lock().unwrap().clear();
    let handled = shop.choreo(&["dead-letters", "redrive", "--key", "K1"]).await;
    assert!(handled.status.success(), "{handled:?}");
    assert_eq!(lines(&handled.stdout)[1]["summary"]["handled"], 1);
}

#[tokio::test]
async fn the_reason_of_a_deletion_selects_nothing_and_with_reason_does() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    bar(&handler, &["K1".to_owned(), "K2".to_owned()]);
    let _service = shop.serve(handler).await;
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    shop.command("place", "K2").await;
    shop.has("DEAD_LETTERS", 2).await;
    let delete = async |selection: &[&str]| {
        let arguments = [&["dead-letters", "delete", "--reason", "a test order"], selection].concat();
        let output = shop.choreo(&arguments).await;
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(delete(&["1"]).await, (Some(0), r#"{"sequence":1,"deleted":true}"#.to_owned()));
    assert_eq!(delete(&[]).await, (Some(2), String::new()), "nothing is selected");
    assert_eq!(delete(&["--with-reason", "a test"]).await, (Some(0), String::new()), "no dead letter has it");
    assert_eq!(
        delete(&["--with-reason", "rejected"]).await,
        (Some(0), r#"{"sequence":2,"deleted":true}"#.to_owned())
    );
}
