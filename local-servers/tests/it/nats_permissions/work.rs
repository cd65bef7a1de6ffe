//! What each user does all day, with the client's own calls: nothing of it is refused.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::kv;
use async_nats::service::ServiceExt;
use futures::{StreamExt, TryStreamExt};

use super::shop::{Consumer, Shop};

/// How long an answer may take: what is refused gets none.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// An example of what a consumer gets.
fn example(consumer: &Consumer) -> String {
    consumer.filter_subjects[0].replace('>', "name.KEY").replace('*', "KEY")
}

/// Has an example of what a consumer gets published by whom it comes from.
async fn feed(shop: &Shop, consumer: &Consumer) -> String {
    let subject = example(consumer);
    let mut tokens = subject.split('.');
    let (context, kind) = (tokens.next().unwrap(), tokens.next().unwrap());
    let service = format!("{context}-service");
    match kind {
        "command" => shop.user("api-gateway").await.publish(&subject).await,
        "event" => shop.user(&service).await.publish(&subject).await,
        _ => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Schedule", "@at 2020-01-01T00:00:00Z");
            headers.insert("Nats-Schedule-Target", subject.as_str());
            let schedule = subject.replace(".timer.", ".schedule.");
            let user = shop.user(&service).await;
            user.js.publish_with_headers(schedule, headers, "{}".into()).await.unwrap().await.unwrap();
        }
    }
    subject
}

#[tokio::test]
async fn a_service_pulls_and_settles_its_messages_and_buries_what_it_cannot_handle() {
    let shop = Shop::start().await;
    for spec in &shop.topology.consumers {
        let subject = feed(&shop, spec).await;
        let mut user = shop.user(&spec.name).await;
        let stream = user.js.get_stream(&spec.stream).await.unwrap();
        assert!(stream.cached_info().config.allow_direct);
        let mut consumer: PullConsumer = user.js.get_consumer_from_stream(&spec.name, &spec.stream).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        let mut last = String::new();
        while last != subject {
            let message = tokio::time::timeout(REPLY_TIMEOUT, messages.next()).await.unwrap().unwrap().unwrap();
            message.double_ack().await.unwrap();
            last = message.subject.to_string();
        }
        consumer.info().await.unwrap();
        user.publish(&format!("dead-letter.{}.rejected.KEY", spec.name)).await;
        user.was_refused_nothing();
    }
}

#[tokio::test]
async fn who_asks_a_service_gets_its_answer() {
    let shop = Shop::start().await;
    for (service, subject, asking) in [
        ("order-service", "order.query.get.ORDER_001", "api-gateway"),
        ("inventory-service", "inventory.query.product.KETTLE", "api-gateway"),
        ("account-service", "account.query.get.CUSTOMER_001", "api-gateway"),
        ("account-service", "account.query.get.CUSTOMER_001", "payment-service"),
        ("account-service", "account.query.snapshot", "payment-service"),
        ("payment-service", "payment.query.get.ORDER_001", "api-gateway"),
        ("notification-service", "notification.query.list.CUSTOMER_001", "api-gateway"),
    ] {
        let mut answering = shop.user(service).await;
        let running = answering.client.service_builder().start(service, "1.0.0").await.unwrap();
        let mut endpoint = running.endpoint(subject).await.unwrap();
        // Answered, so the server knows the subscriptions.
        let mut inspector = shop.user("inspector").await;
        let info = format!("$SRV.INFO.{service}");
        for subject in ["$SRV.PING", &info, "$SRV.STATS"] {
            inspector.client.request(subject.to_owned(), "".into()).await.unwrap();
        }
        inspector.was_refused_nothing();

        let mut asking = shop.user(asking).await;
        let answer = async { endpoint.next().await.unwrap().respond(Ok("17".into())).await.unwrap() };
        let question = asking.client.request(subject, "".into());
        let (answer, ()) = tokio::join!(question, answer);
        assert_eq!(answer.unwrap().payload, "17");
        asking.was_refused_nothing();
        answering.was_refused_nothing();
    }
}

#[tokio::test]
async fn the_payment_service_reads_the_stream_again() {
    let shop = Shop::start().await;
    let accounts = shop.user("account-service").await;
    accounts.publish("account.event.changed.CUSTOMER_001").await;
    accounts.publish("account.event.changed.CUSTOMER_002").await;
    let mut payments = shop.user("payment-service").await;
    let inbox = payments.client.new_inbox();
    let answers = payments.client.subscribe(inbox.clone()).await.unwrap();
    let batch = r#"{"seq": 1, "next_by_subj": "account.event.>", "batch": 10}"#;
    payments.client.publish_with_reply("$JS.API.DIRECT.GET.EVENTS", inbox, batch.into()).await.unwrap();
    // Two messages, and the end of the batch.
    let answers = tokio::time::timeout(REPLY_TIMEOUT, answers.take(3).collect::<Vec<_>>()).await.unwrap();
    let subjects = answers.iter().filter_map(|answer| answer.headers.as_ref()?.get("Nats-Subject"));
    let subjects: Vec<_> = subjects.map(ToString::to_string).collect();
    assert_eq!(subjects, ["account.event.changed.CUSTOMER_001", "account.event.changed.CUSTOMER_002"]);
    assert_eq!(answers[2].status.unwrap().as_u16(), 204);
    payments.was_refused_nothing();
}

#[tokio::test]
async fn the_gateway_reads_events_and_remembered_answers() {
    let shop = Shop::start().await;
    let mut gateway = shop.user("api-gateway").await;
    let mut live = gateway.client.subscribe("order.event.*.ORDER_001").await.unwrap();
    gateway.publish("order.command.place.ORDER_001").await;
    gateway.publish("inventory.command.restock.KETTLE").await;
    gateway.publish("account.command.create.CUSTOMER_001").await;
    shop.user("order-service").await.publish("order.event.placed.ORDER_001").await;
    assert_eq!(live.next().await.unwrap().subject.as_str(), "order.event.placed.ORDER_001");

    let events = gateway.js.get_stream("EVENTS").await.unwrap();
    assert_eq!(events.direct_get(1).await.unwrap().subject.as_str(), "order.event.placed.ORDER_001");
    for (name, filter) in [("feed-1", ""), ("feed-2", "order.event.>")] {
        let config = pull::Config {
            name: Some(name.into()),
            filter_subject: filter.into(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 1 },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(60),
            ..Default::default()
        };
        let mut consumer = events.create_consumer(config).await.unwrap();
        consumer.info().await.unwrap();
        let message = consumer.messages().await.unwrap().next().await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), "order.event.placed.ORDER_001");
    }

    let answers = gateway.js.get_key_value("IDEMPOTENCY").await.unwrap();
    answers.create("key-1", "begun".into()).await.unwrap();
    let error = answers.create("key-1", "begun".into()).await.unwrap_err();
    assert_eq!(error.kind(), kv::CreateErrorKind::AlreadyExists);
    assert_eq!(answers.get("key-1").await.unwrap().unwrap(), "begun");
    gateway.was_refused_nothing();
}

#[tokio::test]
async fn the_inspector_sees_one_order_through_every_context() {
    let shop = Shop::start().await;
    let mut inspector = shop.user("inspector").await;
    let mut order = inspector.client.subscribe("*.*.*.ORDER_001").await.unwrap();
    let js = &inspector.js;
    let streams = shop.topology.streams().count();
    assert_eq!(js.stream_names().try_collect::<Vec<_>>().await.unwrap().len(), streams);
    assert_eq!(js.streams().try_collect::<Vec<_>>().await.unwrap().len(), streams);

    shop.user("order-service").await.publish("order.event.placed.ORDER_002").await;
    let flow = [
        ("api-gateway", "order.command.place.ORDER_001"),
        ("order-service", "order.event.placed.ORDER_001"),
        ("inventory-service", "inventory.event.reserved.ORDER_001"),
        ("payment-service", "payment.event.captured.ORDER_001"),
        ("order-service", "order.event.confirmed.ORDER_001"),
    ];
    for (user, subject) in flow {
        shop.user(user).await.publish(subject).await;
    }
    for (_, subject) in flow {
        assert_eq!(order.next().await.unwrap().subject.as_str(), subject);
    }

    let events = js.get_stream("EVENTS").await.unwrap();
    let consumers = shop.topology.consumers.iter().filter(|consumer| consumer.stream == "EVENTS").count();
    assert_eq!(events.consumer_names().try_collect::<Vec<_>>().await.unwrap().len(), consumers);
    assert_eq!(events.consumers().try_collect::<Vec<_>>().await.unwrap().len(), consumers);
    assert_eq!(events.direct_get(1).await.unwrap().subject.as_str(), "order.event.placed.ORDER_002");
    assert_eq!(events.get_raw_message(1).await.unwrap().sequence, 1);
    inspector.was_refused_nothing();
}

#[tokio::test]
async fn the_inspector_overhears_no_reply_no_request_and_no_remembered_answer() {
    let shop = Shop::start().await;
    let inspector = shop.user("inspector").await;
    let mut all = inspector.client.subscribe("*.*.*.*").await.unwrap();
    // Answered, so the server knows the subscription.
    inspector.js.query_account().await.unwrap();

    // Each of these is a subject of four tokens.
    let gateway = shop.user("api-gateway").await;
    gateway.publish("$KV.IDEMPOTENCY.tenant.key").await;
    for name in Shop::users().filter(|user| *user != "inspector") {
        let user = shop.user(name).await;
        let reply_to = format!("_INBOX_{name}.a.b.c");
        let mut inbox = user.client.subscribe(reply_to.clone()).await.unwrap();
        let stream = if name == "account-service" { "COMMANDS" } else { "EVENTS" };
        let request = format!("$JS.API.STREAM.INFO.{stream}");
        user.client.publish_with_reply(request, reply_to, "".into()).await.unwrap();
        tokio::time::timeout(REPLY_TIMEOUT, inbox.next()).await.unwrap().unwrap();
    }

    gateway.publish("order.command.place.ORDER_001").await;
    // What happens to streams is announced, and that the inspector may know.
    let mut seen =
        all.by_ref().filter(|message| std::future::ready(!message.subject.starts_with("$JS.EVENT.ADVISORY.")));
    let first = seen.next().await.unwrap();
    assert_eq!(first.subject.as_str(), "order.command.place.ORDER_001");
}
