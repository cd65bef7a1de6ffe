//! The daily work of each user, through the API of the client library: nothing is refused.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::kv;
use async_nats::service::ServiceExt;
use choreography::topology::ConsumerSpec;
use futures::{StreamExt, TryStreamExt};

use super::shop::Shop;

/// How long a reply may take; a refused request gets none.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns an example of a consumer's subjects.
fn example(consumer: &ConsumerSpec) -> String {
    consumer.filter_subjects[0].replace('>', "name.KEY").replace('*', "KEY")
}

/// Publishes an example message for a consumer, as its producer.
async fn feed(shop: &Shop, consumer: &ConsumerSpec) -> String {
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
async fn a_service_pulls_and_settles_its_messages_and_publishes_dead_letters() {
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
        user.assert_no_violation();
    }
}

#[tokio::test]
async fn a_query_to_a_service_gets_its_reply() {
    let shop = Shop::start().await;
    for (service, subject, client) in [
        ("order-service", "order.query.get.ORDER_001", "api-gateway"),
        ("inventory-service", "inventory.query.product.KETTLE", "api-gateway"),
        ("account-service", "account.query.get.CUSTOMER_001", "api-gateway"),
        ("account-service", "account.query.get.CUSTOMER_001", "payment-service"),
        ("account-service", "account.query.snapshot", "payment-service"),
        ("payment-service", "payment.query.get.ORDER_001", "api-gateway"),
        ("notification-service", "notification.query.list.CUSTOMER_001", "api-gateway"),
        ("projection-service", "projection.query.orders", "api-gateway"),
        ("order-service", "order.query.events", "projection-service"),
        ("identity-service", "identity.query.sign-in", "api-gateway"),
    ] {
        let mut responder = shop.user(service).await;
        let running = responder.client.service_builder().start(service, "1.0.0").await.unwrap();
        let mut endpoint = running.endpoint(subject).await.unwrap();
        // After these replies, the server has the subscriptions.
        let mut inspector = shop.user("inspector").await;
        let info = format!("$SRV.INFO.{service}");
        for subject in ["$SRV.PING", &info, "$SRV.STATS"] {
            inspector.client.request(subject.to_owned(), "".into()).await.unwrap();
        }
        inspector.assert_no_violation();

        let mut requester = shop.user(client).await;
        let respond = async { endpoint.next().await.unwrap().respond(Ok("17".into())).await.unwrap() };
        let request = requester.client.request(subject, "".into());
        let (reply, ()) = tokio::join!(request, respond);
        assert_eq!(reply.unwrap().payload, "17");
        requester.assert_no_violation();
        responder.assert_no_violation();
    }
}

#[tokio::test]
async fn the_payment_service_reads_the_stream_of_events() {
    let shop = Shop::start().await;
    let accounts = shop.user("account-service").await;
    accounts.publish("account.event.changed.CUSTOMER_001").await;
    accounts.publish("account.event.changed.CUSTOMER_002").await;
    let mut payments = shop.user("payment-service").await;
    let inbox = payments.client.new_inbox();
    let replies = payments.client.subscribe(inbox.clone()).await.unwrap();
    let batch = r#"{"seq": 1, "next_by_subj": "account.event.>", "batch": 10}"#;
    payments.client.publish_with_reply("$JS.API.DIRECT.GET.EVENTS", inbox, batch.into()).await.unwrap();
    // Two messages, and the end of the batch.
    let replies = tokio::time::timeout(REPLY_TIMEOUT, replies.take(3).collect::<Vec<_>>()).await.unwrap();
    let subjects = replies.iter().filter_map(|reply| reply.headers.as_ref()?.get("Nats-Subject"));
    let subjects: Vec<_> = subjects.map(ToString::to_string).collect();
    assert_eq!(subjects, ["account.event.changed.CUSTOMER_001", "account.event.changed.CUSTOMER_002"]);
    assert_eq!(replies[2].status.unwrap().as_u16(), 204);
    payments.assert_no_violation();
}

#[tokio::test]
async fn the_gateway_reads_events_and_stored_responses() {
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

    let responses = gateway.js.get_key_value("IDEMPOTENCY").await.unwrap();
    responses.create("key-1", "begun".into()).await.unwrap();
    let error = responses.create("key-1", "begun".into()).await.unwrap_err();
    assert_eq!(error.kind(), kv::CreateErrorKind::AlreadyExists);
    assert_eq!(responses.get("key-1").await.unwrap().unwrap(), "begun");
    gateway.assert_no_violation();
}

#[tokio::test]
async fn the_inspector_sees_one_order_through_every_context() {
    let shop = Shop::start().await;
    let mut inspector = shop.user("inspector").await;
    let mut order = inspector.client.subscribe("*.*.*.ORDER_001").await.unwrap();
    let js = &inspector.js;
    let streams = shop.streams().count();
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
    inspector.assert_no_violation();
}

#[tokio::test]
async fn the_inspector_receives_no_replies_requests_or_stored_responses() {
    let shop = Shop::start().await;
    let inspector = shop.user("inspector").await;
    let mut all = inspector.client.subscribe("*.*.*.*").await.unwrap();
    // After this reply, the server has the subscription.
    inspector.js.query_account().await.unwrap();

    // Each of these is a subject of four tokens.
    let gateway = shop.user("api-gateway").await;
    gateway.publish("$KV.IDEMPOTENCY.tenant.key").await;
    for name in Shop::users().filter(|user| *user != "inspector") {
        let user = shop.user(name).await;
        let reply_to = format!("_INBOX_{name}.a.b.c");
        let mut inbox = user.client.subscribe(reply_to.clone()).await.unwrap();
        let stream = if ["account-service", "identity-service"].contains(&name) { "COMMANDS" } else { "EVENTS" };
        let request = format!("$JS.API.STREAM.INFO.{stream}");
        user.client.publish_with_reply(request, reply_to, "".into()).await.unwrap();
        tokio::time::timeout(REPLY_TIMEOUT, inbox.next()).await.unwrap().unwrap();
    }

    gateway.publish("order.command.place.ORDER_001").await;
    // The inspector may receive advisories about streams.
    let mut seen =
        all.by_ref().filter(|message| std::future::ready(!message.subject.starts_with("$JS.EVENT.ADVISORY.")));
    let first = seen.next().await.unwrap();
    assert_eq!(first.subject.as_str(), "order.command.place.ORDER_001");
}
