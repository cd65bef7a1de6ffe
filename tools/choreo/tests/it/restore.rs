//! Streams that are lost while services run, and restored.

use contracts::declaration::topology;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use choreography::republish::{Republished, subject};
use choreography_ops::OperationError;
use choreography_ops::restore::{STALL_TIMEOUT, restore};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{Echo, Events, Serving, Shop, connect, eventually};

/// `COUNT=5000` makes it larger.
#[tokio::test]
async fn a_stream_deleted_while_services_run_is_restored_without_loss_or_duplicates() {
    let count = std::env::var("COUNT").map_or(300, |text| text.parse().unwrap());
    let shop = Shop::start().await;
    let (orders, stock) = (Echo::default(), Echo::<Events>::default());
    let _orders = shop.serve(orders.clone()).await;
    let stock_service = shop.serve_as("inventory-service", stock.clone()).await;
    for n in 0..count {
        shop.command("place", &format!("K{n}")).await;
    }
    shop.has("EVENTS", 2 * count).await;
    // Events that only order-service has handled when the stream is lost.
    stock_service.stop().await;
    for n in 0..count {
        shop.command("place", &format!("L{n}")).await;
    }
    shop.has("EVENTS", 3 * count).await;
    let provisioner = connect(&shop.nats, "provisioner").await;
    provisioner.delete_stream("EVENTS").await.unwrap();
    // Events while the stream does not exist.
    for n in 0..count {
        shop.command("place", &format!("M{n}")).await;
    }
    let handled = usize::try_from(3 * count).unwrap();
    eventually("all commands are handled", || async { orders.handled.lock().unwrap().len() == handled }).await;
    topology().unwrap().provision(&provisioner, 1).await.unwrap();
    let _stock = shop.serve_as("inventory-service", stock.clone()).await;

    let reported = shop.choreo(&["streams", "restore", "EVENTS"]).await;
    assert_eq!(reported.status.code(), Some(1), "accounts and payments do not run: {reported:?}");
    let lines: Vec<Value> = String::from_utf8(reported.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = &lines.last().unwrap()["summary"];
    let of =
        |service: &str| summary.as_array().unwrap().iter().find(|reported| reported["service"] == service).unwrap();
    assert_eq!((&of("order-service")["done"], &of("inventory-service")["done"]), (&true.into(), &true.into()));
    assert!(of("payment-service")["failed"].as_str().unwrap().contains("does not run"));

    shop.has("EVENTS", 6 * count).await;
    eventually("inventory-service has no pending messages", || async {
        shop.js.get_stream("EVENTS").await.unwrap().consumer_info("inventory-service").await.unwrap().num_pending
            == 0
    })
    .await;
    let received = stock.handled.lock().unwrap().clone();
    let different: HashSet<_> = received.iter().collect();
    assert_eq!((received.len(), different.len()), (handled, handled), "each once");
    assert_eq!(shop.messages("EVENTS").await, 6 * count);
    assert_eq!(shop.messages("DEAD_LETTERS").await, 0);

    // A second restore changes nothing: the stream or the inbox drops every message.
    let operator = shop.operator().await;
    restore(&operator, "EVENTS", None, STALL_TIMEOUT, &CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!(stock.handled.lock().unwrap().len(), handled);
}

#[tokio::test]
async fn a_stream_that_was_purged_or_that_lost_some_messages_is_restored_at_once() {
    let shop = Shop::start().await;
    let _orders = shop.serve(Echo::default()).await;
    for n in 0..20 {
        shop.command("place", &format!("K{n}")).await;
    }
    shop.has("EVENTS", 20).await;
    let events = connect(&shop.nats, "provisioner").await.get_stream("EVENTS").await.unwrap();
    let operator = shop.operator().await;
    let published = async || {
        let reported =
            restore(&operator, "EVENTS", None, STALL_TIMEOUT, &CancellationToken::new(), |_| ()).await.unwrap();
        reported.into_iter().find(|reported| reported.service == "order-service").unwrap().published
    };
    events.purge().await.unwrap();
    assert_eq!(published().await, 20);
    shop.has("EVENTS", 20).await;
    // Which messages are missing is not determined: the stream stores the others again, too.
    events.delete_message(30).await.unwrap();
    assert_eq!(published().await, 20);
    shop.has("EVENTS", 39).await;
}

/// Replies for a service that has an empty outbox and consumes nothing.
async fn has_nothing_to_publish(shop: &Shop, service: &str) {
    let client = connect(&shop.nats, service).await.client();
    let mut requests = client.subscribe(subject(service)).await.unwrap();
    client.flush().await.unwrap();
    let nothing = Republished { published: 0, known: 0, settled: 0, next: None, until: None, reached: None };
    let body = serde_json::to_vec(&nothing).unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            client.publish(request.reply.unwrap(), body.clone().into()).await.unwrap();
        }
    });
}

/// Starts order-service alone, and places orders whose events are in the stream when it returns.
async fn only_orders_publish(shop: &Shop, count: u64) -> Serving {
    let orders = shop.serve(Echo::default()).await;
    for name in ["inventory-service", "account-service", "payment-service"] {
        has_nothing_to_publish(shop, name).await;
    }
    for n in 0..count {
        shop.command("place", &format!("K{n}")).await;
    }
    shop.has("EVENTS", count).await;
    orders
}

/// Purges the stream of events, and limits it so that three batches fit into it, but not all.
async fn lose_and_limit(shop: &Shop) -> jetstream::Context {
    let provisioner = connect(&shop.nats, "provisioner").await;
    let events = provisioner.get_stream("EVENTS").await.unwrap();
    let mut config = events.cached_info().config.clone();
    config.max_bytes = i64::try_from(events.cached_info().state.bytes * 4 / 5).unwrap();
    events.purge().await.unwrap();
    provisioner.update_stream(config).await.unwrap();
    provisioner
}

#[tokio::test]
async fn a_restore_never_outruns_the_consumers() {
    const COUNT: u64 = 900;
    let shop = Shop::start().await;
    let _orders = only_orders_publish(&shop, COUNT).await;
    let provisioner = lose_and_limit(&shop).await;
    let operator = shop.operator().await;
    let stopped = restore(&operator, "EVENTS", None, Duration::from_secs(1), &CancellationToken::new(), |_| ())
        .await
        .unwrap_err()
        .to_string();
    assert!(stopped.contains("makes no progress") && stopped.contains("start the service"), "{stopped}");
    let state = provisioner.get_stream("EVENTS").await.unwrap().cached_info().state.clone();
    assert_eq!(state.first_sequence, COUNT + 1, "nothing is deleted");
    assert!(state.messages > 0);

    let consuming = ["inventory-service", "payment-service"].map(|name| {
        let nats = &shop.nats;
        async move {
            let consumer: PullConsumer =
                connect(nats, name).await.get_consumer_from_stream(name, "EVENTS").await.unwrap();
            let mut messages = consumer.messages().await.unwrap();
            let mut read = HashSet::new();
            while read.len() < usize::try_from(COUNT).unwrap() {
                let message = messages.next().await.unwrap().unwrap();
                message.ack().await.unwrap();
                read.insert(message.subject.to_string());
            }
        }
    });
    let stop = CancellationToken::new();
    let reported = restore(&operator, "EVENTS", None, STALL_TIMEOUT, &stop, |_| ());
    let (reported, _) = futures::join!(reported, futures::future::join_all(consuming));
    let reported = reported.unwrap();
    assert!(reported.iter().all(|reported| reported.done), "{reported:?}");
}

#[tokio::test]
async fn a_restore_continues_after_a_time_without_responses() {
    const COUNT: u64 = 600;
    let mut shop = Shop::start().await;
    let _orders = only_orders_publish(&shop, COUNT).await;
    connect(&shop.nats, "provisioner").await.get_stream("EVENTS").await.unwrap().purge().await.unwrap();
    let operator = shop.operator().await;
    let (server, began, stop) = (Mutex::new(&mut shop.nats), Notify::new(), CancellationToken::new());
    let mut paused = false;
    let restoring = restore(&operator, "EVENTS", None, STALL_TIMEOUT, &stop, |_| {
        if !std::mem::replace(&mut paused, true) {
            server.lock().unwrap().pause().unwrap();
            began.notify_one();
        }
    });
    let resuming = async {
        began.notified().await;
        // Longer than a request waits for its response.
        tokio::time::sleep(Duration::from_secs(7)).await;
        server.lock().unwrap().resume().unwrap();
    };
    let (reported, ()) = futures::join!(restoring, resuming);
    let reported = reported.unwrap();
    assert!(reported.iter().all(|reported| reported.done), "{reported:?}");
}

#[tokio::test]
async fn a_restore_ends_if_the_stream_is_deleted_while_it_waits() {
    let shop = Shop::start().await;
    let _orders = only_orders_publish(&shop, 900).await;
    let provisioner = lose_and_limit(&shop).await;
    let operator = shop.operator().await;
    let (began, stop) = (Notify::new(), CancellationToken::new());
    // Nobody consumes, so it waits.
    let restoring = restore(&operator, "EVENTS", None, STALL_TIMEOUT, &stop, |_| began.notify_one());
    let deleting = async {
        began.notified().await;
        provisioner.delete_stream("EVENTS").await.unwrap();
    };
    let ended = tokio::time::timeout(STALL_TIMEOUT / 2, async { futures::join!(restoring, deleting).0 });
    let ended = ended.await.expect("it does not wait for a stream that does not exist");
    assert!(matches!(ended, Err(OperationError::Unavailable(_))), "{ended:?}");
}

#[tokio::test]
async fn a_stream_that_no_outbox_holds_or_that_does_not_exist_is_refused() {
    let shop = Shop::start().await;
    let operator = shop.operator().await;
    let error = async |stream: &str| {
        restore(&operator, stream, None, STALL_TIMEOUT, &CancellationToken::new(), |_| ())
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(error("COMMANDS").await.contains("no outbox"));
    assert!(error("ORDERS").await.contains("one of COMMANDS, EVENTS"));
    connect(&shop.nats, "provisioner").await.delete_stream("TIMERS").await.unwrap();
    assert!(error("TIMERS").await.contains("demo provision"));
}
