//! Timelines: messages, statuses, and blockers.

use choreography_ops::dead_letters::redrive::{Ramp, redrive};
use choreography_ops::dead_letters::{self, Filter, delete};
use choreography_ops::explain::{Consumer, DeliveryStatus, Reach, Step, Timeline, explain};
use contracts::declaration::topology;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Echo, Shop, connect, eventually};

async fn timeline(shop: &Shop, key: &str) -> Timeline {
    explain(&shop.operator().await, key, Reach::Everything).await.unwrap()
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
async fn a_timeline_shows_duplicates_effects_and_services_that_do_not_reply() {
    let shop = Shop::start().await;
    let service = shop.serve(Echo::default()).await;
    let id = Uuid::now_v7();
    for _ in 0..3 {
        shop.command_with_id(id, "place", "K1").await;
    }
    shop.command("place", "K2").await;
    shop.has("EVENTS", 2).await;
    eventually("the duplicates are reported", || async {
        let reported = timeline(&shop, "K1").await;
        consumer(step(&reported, "order.command.place.K1"), "order-service").duplicates == 2
    })
    .await;
    let reported = timeline(&shop, "K1").await;
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

    // When its service is down, the event that it caused proves that the command was handled.
    service.stop().await;
    let reported = timeline(&shop, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!((received.status, received.at.as_deref()), (DeliveryStatus::Handled, None));
    shop.command("place", "K3").await;
    let reported = timeline(&shop, "K3").await;
    assert_eq!(consumer(&reported.steps[0], "order-service").status, DeliveryStatus::Unknown);
    assert!(blockers(&reported, "order-service")[0].contains("order-service does not run"));
}

#[tokio::test]
async fn a_timeline_without_its_cause_names_the_discarded_messages_and_an_unknown_id_is_status_1() {
    let shop = Shop::start().await;
    let _service = shop.serve(Echo::default()).await;
    shop.command("place", "K1").await;
    shop.command("place", "K2").await;
    shop.has("EVENTS", 2).await;
    let detail = |timeline: &Timeline, name: &str| {
        timeline.sources.iter().find(|source| source.name == name).unwrap().detail.clone()
    };
    assert_eq!(detail(&timeline(&shop, "K1").await, "COMMANDS"), None);
    let provisioner = connect(&shop.nats, "provisioner").await;
    provisioner.get_stream("COMMANDS").await.unwrap().purge().sequence(2).await.unwrap();
    let reported = timeline(&shop, "K1").await;
    assert_eq!(reported.steps.len(), 1, "{reported:#?}");
    assert!(detail(&reported, "COMMANDS").unwrap().contains("up to sequence 1 are discarded"), "{reported:#?}");
    assert_eq!(detail(&reported, "EVENTS"), None);
    assert_eq!(detail(&timeline(&shop, "K2").await, "COMMANDS"), None, "nothing of it is missing");

    let unknown = shop.choreo(&["explain", "NOPE"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[tokio::test]
async fn a_failing_message_is_a_blocker_with_its_last_error() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    handler.failing.lock().unwrap().insert("K1".to_owned());
    let _service = shop.serve(handler.clone()).await;
    shop.command("place", "K1").await;
    eventually("it has failed", || async {
        let reported = timeline(&shop, "K1").await;
        consumer(&reported.steps[0], "order-service").failures > 0
    })
    .await;
    let reported = timeline(&shop, "K1").await;
    let received = consumer(&reported.steps[0], "order-service");
    assert_eq!((received.status, received.failure.as_deref()), (DeliveryStatus::Pending, Some("K1 fails")));
    let blocker = &blockers(&reported, "order-service")[0];
    assert!(blocker.contains("failed to handle") && blocker.contains("K1 fails"), "{blocker}");

    handler.failing.lock().unwrap().clear();
    shop.has("EVENTS", 1).await;
    let reported = timeline(&shop, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!(received.status, DeliveryStatus::Handled);
    assert!(received.failures > 0 && blockers(&reported, "order-service").is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_a_blocker_until_it_is_redriven_or_deleted() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    handler.barred.lock().unwrap().extend(["K1".to_owned(), "K2".to_owned()]);
    let service = shop.serve(handler.clone()).await;
    shop.command("place", "K1").await;
    shop.command("place", "K2").await;
    shop.has("DEAD_LETTERS", 2).await;
    let reported = timeline(&shop, "K1").await;
    let received = consumer(step(&reported, "order.command.place.K1"), "order-service");
    assert_eq!(
        (received.status, received.failure.as_deref()),
        (DeliveryStatus::DeadLettered, Some("K1 is barred"))
    );
    assert!(blockers(&reported, "order-service")[0].contains("dead-lettered"));
    let dead_letter = step(&reported, "dead-letter.order-service.rejected.K1");
    assert_eq!(dead_letter.causation_id, step(&reported, "order.command.place.K1").message_id);
    assert!(dead_letter.note.as_deref().unwrap().contains("K1 is barred"));
    // Without the dead letters the service reports the status; without the service the dead letter shows it.
    let narrow = explain(&shop.operator().await, "K1", Reach::NotDeadLetters).await.unwrap();
    assert_eq!(consumer(&narrow.steps[0], "order-service").status, DeliveryStatus::DeadLettered);
    service.stop().await;
    let reported = timeline(&shop, "K1").await;
    assert_eq!(
        consumer(step(&reported, "order.command.place.K1"), "order-service").status,
        DeliveryStatus::DeadLettered
    );

    handler.barred.lock().unwrap().clear();
    let _service = shop.serve(handler).await;
    let operator = shop.operator().await;
    let of_k1 = Filter { key: Some("K1".to_owned()), ..Filter::default() };
    let dead_letters = dead_letters::list(&operator, &of_k1, 10).await.unwrap().dead_letters;
    assert!(
        redrive(&operator, &dead_letters, &Ramp::default(), &CancellationToken::new(), |_| ()).await.all_handled()
    );
    let reported = timeline(&shop, "K1").await;
    assert_eq!(
        consumer(step(&reported, "order.command.place.K1"), "order-service").status,
        DeliveryStatus::Redriven
    );
    assert!(blockers(&reported, "order-service").is_empty(), "{reported:#?}");

    let of_k2 = Filter { key: Some("K2".to_owned()), ..Filter::default() };
    let dead_letter = dead_letters::list(&operator, &of_k2, 1).await.unwrap().dead_letters[0].sequence;
    delete::delete(&operator, dead_letter, "a test order").await.unwrap();
    let reported = timeline(&shop, "K2").await;
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
async fn a_pending_outbox_message_is_a_blocker() {
    let shop = Shop::start().await;
    let _service = shop.serve(Echo::default()).await;
    let provisioner = connect(&shop.nats, "provisioner").await;
    provisioner.delete_stream("EVENTS").await.unwrap();
    shop.command("place", "K1").await;
    eventually("it is handled", || async {
        consumer(&timeline(&shop, "K1").await.steps[0], "order-service").status == DeliveryStatus::Handled
    })
    .await;
    let reported = timeline(&shop, "K1").await;
    let blocker = &blockers(&reported, "order-service")[0];
    assert!(blocker.contains("has not published"), "{blocker}");
    assert!(
        !reported.is_complete()
            && reported.sources.iter().any(|source| source.name == "EVENTS" && !source.available)
    );
    topology().unwrap().provision(&provisioner, 1).await.unwrap();
    shop.has("EVENTS", 1).await;
    eventually("it is known to be published", || async {
        blockers(&timeline(&shop, "K1").await, "order-service").is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_program_prints_a_timeline_as_text_and_as_json() {
    let shop = Shop::start().await;
    let _service = shop.serve(Echo::default()).await;
    shop.command("place", "K1").await;
    shop.has("EVENTS", 1).await;
    let reported = shop.choreo(&["explain", "K1"]).await;
    assert_eq!(reported.status.code(), Some(1), "most services do not run: {reported:?}");
    let reported: serde_json::Value = serde_json::from_slice(&reported.stdout).unwrap();
    assert_eq!(reported["steps"][0]["consumers"][0]["status"], "handled");
    let url = shop.nats.url();
    let text = shop.run(&["--nats-url", &url, "explain", "K1"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["order.command.place.K1", "Blocked on", "inventory-service does not run"] {
        assert!(text.contains(part), "{text}");
    }
    let nothing = shop.choreo(&["explain", "a.b"]).await;
    assert_eq!(nothing.status.code(), Some(2));
}
