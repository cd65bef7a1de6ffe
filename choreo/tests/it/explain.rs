//! Timelines: what happened, and what is waited for.

use choreo::dead_letters::redrive::{Ramp, redrive};
use choreo::dead_letters::{self, Filter, delete};
use choreo::explain::{Consumer, DeliveryStatus, Reach, Step, Timeline, explain};
use messaging::Topology;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Echo, Shop, connect, eventually};

async fn timeline(store: &Shop, key: &str) -> Timeline {
    explain(&store.operator().await, key, Reach::Everything).await.unwrap()
}

fn step<'a>(timeline: &'a Timeline, subject: &str) -> &'a Step {
    timeline
        .steps
        .iter()
        .find(|step| step.subject == subject)
        .unwrap_or_else(|| panic!("no {subject}: {timeline:#?}"))
}

fn consumer<'a>(step: &'a Step, service: &str) -> &'a Consumer {
    step.consumers.iter().find(|consumer| consumer.service == service).unwrap()
}

fn blockers(timeline: &Timeline, service: &str) -> Vec<String> {
    timeline.blocked_on.iter().filter(|wait| wait.service == service).map(|wait| wait.what.clone()).collect()
}

#[tokio::test]
async fn a_message_delivered_three_times_is_told_with_what_follows_and_who_does_not_answer() {
    let store = Shop::start().await;
    let service = store.serve(Echo::default()).await;
    let id = Uuid::now_v7();
    for _ in 0..3 {
        store.command_with_id(id, "place", "K1").await;
    }
    store.command("place", "K2").await;
    store.has("EVENTS", 2).await;
    eventually("the duplicates are told", || async {
        let reported = timeline(&store, "K1").await;
        consumer(step(&reported, "order.command.place.K1"), "order-service").duplicates == 2
    })
    .await;
    let reported = timeline(&store, "K1").await;
    assert_eq!(reported.steps.len(), 4, "{reported:#?}");
    let command = step(&reported, "order.command.place.K1");
    assert_eq!((command.stream.as_str(), command.sequence, command.depth), ("COMMANDS", 1, 0));
    assert_eq!(consumer(command, "order-service").status, DeliveryStatus::Handled);
    assert!(consumer(command, "order-service").at.is_some());
    let event = step(&reported, "order.event.placed.K1");
    assert_eq!((event.causation_id, event.depth, event.source.as_deref()), (Some(id), 1, Some("/order-service")));
    assert!(event.outbox_delay_ms.is_some_and(|delay| delay < 60_000), "{event:?}");
    assert_eq!(consumer(event, "inventory-service").status, DeliveryStatus::Unknown);
    assert!(blockers(&reported, "order-service").is_empty());
    let unknown = blockers(&reported, "inventory-service");
    assert!(unknown[0].contains("does not run") && unknown[0].contains("order.event.placed.K1"), "{unknown:?}");
    let source = |name: &str| reported.sources.iter().find(|source| source.name == name).unwrap().available;
    assert!(source("order-service") && source("EVENTS") && source("DEAD_LETTERS") && !source("inventory-service"));

    // Its service gone, what follows from the command proves that it was handled.
    service.stop().await;
    let reported = timeline(&store, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!((received.status, received.at.as_deref()), (DeliveryStatus::Handled, None));
    store.command("place", "K3").await;
    let reported = timeline(&store, "K3").await;
    assert_eq!(consumer(&reported.steps[0], "order-service").status, DeliveryStatus::Unknown);
    assert!(blockers(&reported, "order-service")[0].contains("order-service does not run"));
}

#[tokio::test]
async fn a_message_that_fails_is_waited_for_with_its_last_error() {
    let store = Shop::start().await;
    let handler = Echo::default();
    handler.failing.lock().unwrap().insert("K1".to_owned());
    let _service = store.serve(handler.clone()).await;
    store.command("place", "K1").await;
    eventually("it has failed", || async {
        let reported = timeline(&store, "K1").await;
        consumer(&reported.steps[0], "order-service").failures > 0
    })
    .await;
    let reported = timeline(&store, "K1").await;
    let received = consumer(&reported.steps[0], "order-service");
    assert_eq!((received.status, received.failure.as_deref()), (DeliveryStatus::Pending, Some("K1 fails")));
    let waited = &blockers(&reported, "order-service")[0];
    assert!(waited.contains("has tried") && waited.contains("K1 fails"), "{waited}");

    handler.failing.lock().unwrap().clear();
    store.has("EVENTS", 1).await;
    let reported = timeline(&store, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!(received.status, DeliveryStatus::Handled);
    assert!(received.failures > 0 && blockers(&reported, "order-service").is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_waited_for_until_it_is_redriven_or_discarded() {
    let store = Shop::start().await;
    let handler = Echo::default();
    handler.barred.lock().unwrap().extend(["K1".to_owned(), "K2".to_owned()]);
    let service = store.serve(handler.clone()).await;
    store.command("place", "K1").await;
    store.command("place", "K2").await;
    store.has("DEAD_LETTERS", 2).await;
    let reported = timeline(&store, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!(
        (received.status, received.failure.as_deref()),
        (DeliveryStatus::DeadLettered, Some("K1 is barred"))
    );
    assert!(blockers(&reported, "order-service")[0].contains("dead letter"));
    let dead_letter = step(&reported, "dead-letter.order-service.rejected.K1");
    assert_eq!(dead_letter.causation_id, step(&reported, "order.command.place.K1").message_id);
    assert!(dead_letter.note.as_deref().unwrap().contains("K1 is barred"));
    // What the gateway may not read its service tells; and what the service does not tell the letter does.
    let narrow = explain(&store.operator().await, "K1", Reach::NotDeadLetters).await.unwrap();
    assert_eq!(consumer(&narrow.steps[0], "order-service").status, DeliveryStatus::DeadLettered);
    service.stop().await;
    let reported = timeline(&store, "K1").await;
    assert_eq!(
        consumer(step(&reported, "order.command.place.K1"), "order-service").status,
        DeliveryStatus::DeadLettered
    );

    handler.barred.lock().unwrap().clear();
    let _service = store.serve(handler).await;
    let operator = store.operator().await;
    let of_k1 = Filter { key: Some("K1".to_owned()), ..Filter::default() };
    let dead_letters = dead_letters::list(&operator, &of_k1, 10).await.unwrap().dead_letters;
    assert!(
        redrive(&operator, &dead_letters, &Ramp::default(), &CancellationToken::new(), |_| ()).await.all_handled()
    );
    let reported = timeline(&store, "K1").await;
    assert_eq!(
        consumer(step(&reported, "order.command.place.K1"), "order-service").status,
        DeliveryStatus::Redriven
    );
    assert!(blockers(&reported, "order-service").is_empty(), "{reported:#?}");

    let of_k2 = Filter { key: Some("K2".to_owned()), ..Filter::default() };
    let dead_letter = dead_letters::list(&operator, &of_k2, 1).await.unwrap().dead_letters[0].sequence;
    delete::delete(&operator, dead_letter, "a test order").await.unwrap();
    let reported = timeline(&store, "K2").await;
    assert_eq!(
        consumer(step(&reported, "order.command.place.K2"), "order-service").status,
        DeliveryStatus::Deleted
    );
    assert_eq!(
        step(&reported, "dead-letter-deleted.order-service.rejected.K2").note.as_deref(),
        Some("deleted: a test order")
    );
    assert!(blockers(&reported, "order-service").is_empty());
}

#[tokio::test]
async fn what_is_said_and_not_published_is_waited_for() {
    let store = Shop::start().await;
    let _service = store.serve(Echo::default()).await;
    let provisioner = connect(&store.nats, "provisioner").await;
    provisioner.delete_stream("EVENTS").await.unwrap();
    store.command("place", "K1").await;
    eventually("it is handled", || async {
        consumer(&timeline(&store, "K1").await.steps[0], "order-service").status == DeliveryStatus::Handled
    })
    .await;
    let reported = timeline(&store, "K1").await;
    let waited = &blockers(&reported, "order-service")[0];
    assert!(waited.contains("has not published"), "{waited}");
    assert!(
        !reported.is_complete()
            && reported.sources.iter().any(|source| source.name == "EVENTS" && !source.available)
    );
    Topology::parse(contracts::topology::TOPOLOGY).unwrap().provision(&provisioner, 1).await.unwrap();
    store.has("EVENTS", 1).await;
    eventually("it is known to be published", || async {
        blockers(&timeline(&store, "K1").await, "order-service").is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_program_tells_the_story_to_people_and_to_programs() {
    let store = Shop::start().await;
    let _service = store.serve(Echo::default()).await;
    store.command("place", "K1").await;
    store.has("EVENTS", 1).await;
    let reported = store.choreo(&["explain", "K1"]).await;
    assert_eq!(reported.status.code(), Some(1), "most services do not run: {reported:?}");
    let reported: serde_json::Value = serde_json::from_slice(&reported.stdout).unwrap();
    assert_eq!(reported["steps"][0]["consumers"][0]["status"], "handled");
    let url = store.nats.url();
    let text = store.run(&["--nats-url", &url, "explain", "K1"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["order.command.place.K1", "What it waits for", "inventory-service does not run"] {
        assert!(text.contains(part), "{text}");
    }
    let nothing = store.choreo(&["explain", "a.b"]).await;
    assert_eq!(nothing.status.code(), Some(2));
}
