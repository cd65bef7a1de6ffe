//! What `nats.conf` lets each user do, and what it refuses.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, kv, stream};
use async_nats::service::ServiceExt;
use async_nats::{Client, ConnectOptions};
use futures::{StreamExt, TryStreamExt};
use local_servers::TestNats;
use tokio::sync::mpsc;

/// A password that is no plain word in the server's config syntax must work as well.
const PASSWORDS: [(&str, &str, &str); 5] = [
    ("provisioner", "PROVISIONER_PASSWORD", "2+2 is \"4\" # {sic}"),
    ("api-gateway", "API_GATEWAY_PASSWORD", "12345"),
    ("order-service", "ORDER_SERVICE_PASSWORD", "order"),
    ("inventory-service", "INVENTORY_SERVICE_PASSWORD", "in$ventory\\"),
    ("inspector", "INSPECTOR_PASSWORD", "true"),
];

/// The store's server, with its streams, its bucket and its consumers made by `provisioner`.
struct Store {
    nats: TestNats,
}

impl Store {
    async fn start() -> Self {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats.conf");
        let variables = PASSWORDS.map(|(_, variable, password)| (variable, password));
        let nats = TestNats::with_config(config.as_ref(), variables).await.unwrap();
        let store = Self { nats };
        let provisioner = store.user("provisioner").await;
        store.provision(&provisioner.js).await;
        store
    }

    async fn provision(&self, js: &jetstream::Context) {
        // Not `*.event.>`: the server would refuse it, because `*` could stand for `$JS`.
        for (name, subjects) in [
            ("COMMANDS", vec!["order.command.>", "inventory.command.>"]),
            ("EVENTS", vec!["order.event.>", "inventory.event.>"]),
            ("DEAD_LETTERS", vec!["dead-letter.>"]),
        ] {
            let config = stream::Config {
                name: name.into(),
                subjects: subjects.into_iter().map(str::to_owned).collect(),
                allow_direct: true,
                ..Default::default()
            };
            let stream = js.create_stream(config).await.unwrap();
            for service in ["order-service", "inventory-service"] {
                let config = pull::Config {
                    durable_name: Some(service.into()),
                    ack_policy: AckPolicy::Explicit,
                    ..Default::default()
                };
                stream.create_consumer(config).await.unwrap();
            }
        }
        let bucket = kv::Config { bucket: "IDEMPOTENCY".into(), ..Default::default() };
        js.create_key_value(bucket).await.unwrap();
    }

    async fn user(&self, name: &str) -> User {
        let (_, _, password) = PASSWORDS.iter().find(|(user, ..)| *user == name).unwrap();
        let (report, refusals) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(name.to_owned(), (*password).to_owned())
            .custom_inbox_prefix(format!("_INBOX_{name}"))
            .event_callback(move |event| {
                let report = report.clone();
                async move {
                    let event = event.to_string();
                    // Whether it begins "Permissions" or "permissions" differs between versions.
                    if event.to_lowercase().contains("permissions violation") {
                        report.send(event).unwrap_or_default();
                    }
                }
            })
            .connect(self.nats.url())
            .await
            .unwrap();
        User { js: jetstream::new(client.clone()), client, refusals }
    }
}

struct User {
    client: Client,
    js: jetstream::Context,
    /// What the server refused; only here, because to the caller a refusal is a timeout.
    refusals: mpsc::UnboundedReceiver<String>,
}

impl User {
    async fn may_not_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        self.is_refused(&format!("Publish to \"{subject}\"")).await;
    }

    async fn may_not_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.is_refused(&format!("Subscription to \"{subject}\"")).await;
    }

    async fn is_refused(&mut self, what: &str) {
        let refusal = tokio::time::timeout(Duration::from_secs(2), self.refusals.recv()).await;
        let refusal = refusal.unwrap_or_else(|_| panic!("allowed: {what}")).unwrap();
        assert!(refusal.to_lowercase().contains(&what.to_lowercase()), "{refusal}, not {what}");
    }

    /// To be called after something was answered, so that an earlier refusal has arrived, too.
    fn was_refused_nothing(&mut self) {
        assert_eq!(self.refusals.try_recv().ok(), None);
    }

    async fn publish(&self, subject: &str) {
        self.js.publish(subject.to_owned(), "{}".into()).await.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn a_service_pulls_and_settles_its_messages_and_publishes_its_events() {
    let store = Store::start().await;
    store.user("api-gateway").await.publish("order.command.place.ORDER_001").await;

    for (service, context) in [("order-service", "order"), ("inventory-service", "inventory")] {
        let mut user = store.user(service).await;
        for name in ["COMMANDS", "EVENTS"] {
            assert!(user.js.get_stream(name).await.unwrap().cached_info().config.allow_direct);
        }
        user.js.query_account().await.unwrap();

        let mut consumer: jetstream::consumer::PullConsumer =
            user.js.get_consumer_from_stream(service, "COMMANDS").await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        let message = messages.next().await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), "order.command.place.ORDER_001");
        message.double_ack().await.unwrap();
        assert_eq!(consumer.info().await.unwrap().num_ack_pending, 0);

        user.publish(&format!("{context}.event.placed.ORDER_001")).await;
        user.publish(&format!("dead-letter.{service}.order.command.place.ORDER_001")).await;
        let consumer: jetstream::consumer::PullConsumer =
            user.js.get_consumer_from_stream(service, "EVENTS").await.unwrap();
        let mut messages = consumer.fetch().max_messages(1).messages().await.unwrap();
        messages.next().await.unwrap().unwrap().double_ack().await.unwrap();
        user.was_refused_nothing();
    }
}

#[tokio::test]
async fn the_gateway_asks_a_service_and_gets_its_answer() {
    let store = Store::start().await;
    let mut inventory = store.user("inventory-service").await;
    let service = inventory.client.service_builder().start("inventory-service", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("inventory.query.stock").await.unwrap();
    let answering = async {
        let request = endpoint.next().await.unwrap();
        request.respond(Ok("17".into())).await.unwrap();
    };
    let mut gateway = store.user("api-gateway").await;
    let asking = gateway.client.request("inventory.query.stock", "KETTLE".into());
    let (_, answer) = tokio::join!(answering, asking);
    assert_eq!(answer.unwrap().payload, "17");
    gateway.was_refused_nothing();

    let mut inspector = store.user("inspector").await;
    for subject in ["$SRV.PING", "$SRV.INFO.inventory-service", "$SRV.STATS"] {
        inspector.client.request(subject, "".into()).await.unwrap();
    }
    inspector.was_refused_nothing();
    inventory.was_refused_nothing();
}

#[tokio::test]
async fn the_gateway_reads_events_messages_and_remembered_answers() {
    let store = Store::start().await;
    let mut gateway = store.user("api-gateway").await;
    let mut live = gateway.client.subscribe("*.event.>").await.unwrap();
    gateway.publish("order.command.place.ORDER_001").await;
    gateway.publish("inventory.command.restock.KETTLE").await;
    store.user("order-service").await.publish("order.event.placed.ORDER_001").await;
    assert_eq!(live.next().await.unwrap().subject.as_str(), "order.event.placed.ORDER_001");

    let events = gateway.js.get_stream("EVENTS").await.unwrap();
    for (name, filter) in [("feed-1", ""), ("feed-2", "order.event.>")] {
        let config =
            pull::OrderedConfig { name: Some(name.into()), filter_subject: filter.into(), ..Default::default() };
        let consumer = events.create_consumer(config).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        let message = messages.next().await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), "order.event.placed.ORDER_001");
    }
    events.delete_consumer("feed-1").await.unwrap();

    let commands = gateway.js.get_stream("COMMANDS").await.unwrap();
    let last = commands.direct_get_last_for_subject("order.command.place.ORDER_001").await.unwrap();
    assert_eq!(commands.direct_get(last.sequence).await.unwrap().payload, "{}");

    let answers = gateway.js.get_key_value("IDEMPOTENCY").await.unwrap();
    let revision = answers.create("key-1", "begun".into()).await.unwrap();
    let error = answers.create("key-1", "begun".into()).await.unwrap_err();
    assert_eq!(error.kind(), kv::CreateErrorKind::AlreadyExists);
    answers.update("key-1", "done".into(), revision).await.unwrap();
    assert_eq!(answers.get("key-1").await.unwrap().unwrap(), "done");
    answers.delete("key-1").await.unwrap();
    gateway.was_refused_nothing();
}

#[tokio::test]
async fn the_inspector_sees_one_order_through_every_context() {
    let store = Store::start().await;
    let mut inspector = store.user("inspector").await;
    let mut order = inspector.client.subscribe("*.*.*.ORDER_001").await.unwrap();
    let js = &inspector.js;
    assert_eq!(js.stream_names().try_collect::<Vec<_>>().await.unwrap().len(), 4);
    assert_eq!(js.streams().try_collect::<Vec<_>>().await.unwrap().len(), 4);

    store.user("api-gateway").await.publish("order.command.place.ORDER_001").await;
    store.user("order-service").await.publish("order.event.placed.ORDER_001").await;
    store.user("order-service").await.publish("order.event.placed.ORDER_002").await;
    store.user("inventory-service").await.publish("inventory.event.reserved.ORDER_001").await;
    for expected in ["order.command.place", "order.event.placed", "inventory.event.reserved"] {
        let message = order.next().await.unwrap();
        assert_eq!(message.subject.as_str(), format!("{expected}.ORDER_001"));
    }

    let events = js.get_stream("EVENTS").await.unwrap();
    assert_eq!(events.consumer_names().try_collect::<Vec<_>>().await.unwrap().len(), 2);
    assert_eq!(events.consumers().try_collect::<Vec<_>>().await.unwrap().len(), 2);
    assert_eq!(events.direct_get(1).await.unwrap().subject.as_str(), "order.event.placed.ORDER_001");
    assert_eq!(events.get_raw_message(1).await.unwrap().sequence, 1);
    inspector.was_refused_nothing();
}

#[tokio::test]
async fn the_inspector_overhears_no_reply_no_request_and_no_remembered_answer() {
    let store = Store::start().await;
    let inspector = store.user("inspector").await;
    let mut all = inspector.client.subscribe("*.*.*.*").await.unwrap();
    // Answered, so the server knows the subscription.
    inspector.js.query_account().await.unwrap();

    // Each of these is a subject of four tokens.
    let provisioner = store.user("provisioner").await;
    assert_eq!(provisioner.js.stream_names().try_collect::<Vec<_>>().await.unwrap().len(), 4);
    let gateway = store.user("api-gateway").await;
    gateway.publish("$KV.IDEMPOTENCY.tenant.key").await;
    let mut inbox = gateway.client.subscribe("_INBOX_api-gateway.a.b.c").await.unwrap();
    let endpoint = store.user("order-service").await;
    let mut queries = endpoint.client.subscribe("order.query.status").await.unwrap();
    endpoint.js.query_account().await.unwrap();
    gateway.client.publish_with_reply("order.query.status", "_INBOX_api-gateway.a.b.c", "".into()).await.unwrap();
    let reply = queries.next().await.unwrap().reply.unwrap();
    endpoint.client.publish(reply, "secret".into()).await.unwrap();
    assert_eq!(inbox.next().await.unwrap().payload, "secret");

    gateway.publish("order.command.place.ORDER_001").await;
    // What happens to streams is announced, and that the inspector may know.
    let mut seen =
        all.by_ref().filter(|message| std::future::ready(!message.subject.starts_with("$JS.EVENT.ADVISORY.")));
    let first = seen.next().await.unwrap();
    assert_eq!(first.subject.as_str(), "order.command.place.ORDER_001");
}

#[tokio::test]
async fn a_service_is_refused_what_belongs_to_others() {
    let store = Store::start().await;
    let mut order = store.user("order-service").await;
    for subject in [
        "inventory.event.reserved.ORDER_001",
        "order.command.place.ORDER_001",
        "dead-letter.inventory-service.x",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.inventory-service",
        "$JS.API.CONSUMER.INFO.EVENTS.inventory-service",
        "$JS.ACK.EVENTS.inventory-service.1.1.1.1.0",
        "$JS.API.CONSUMER.CREATE.EVENTS.mine",
        "$JS.API.CONSUMER.DELETE.EVENTS.order-service",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$KV.IDEMPOTENCY.key",
        "_INBOX_api-gateway.x",
    ] {
        order.may_not_publish(subject).await;
    }
    for subject in
        ["_INBOX.>", "_INBOX_inventory-service.>", "inventory.query.>", "*.event.>", "*.command.>", "$JS.>", ">"]
    {
        order.may_not_subscribe(subject).await;
    }
    let mut inventory = store.user("inventory-service").await;
    inventory.may_not_publish("order.event.placed.ORDER_001").await;
    inventory.may_not_publish("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.order-service").await;
    inventory.may_not_subscribe("_INBOX_order-service.>").await;
    inventory.may_not_subscribe("order.query.>").await;
}

#[tokio::test]
async fn the_gateway_is_refused_events_and_the_services_consumers() {
    let store = Store::start().await;
    let mut gateway = store.user("api-gateway").await;
    for subject in [
        "order.event.placed.ORDER_001",
        "dead-letter.order-service.x",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS.order-service",
        "$JS.API.CONSUMER.CREATE.EVENTS.inventory-service.order.event.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine",
        "$JS.API.CONSUMER.DELETE.EVENTS.order-service",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.order-service",
        "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.order-service",
        "$JS.API.CONSUMER.CREATE.COMMANDS.mine",
        "$JS.ACK.EVENTS.order-service.1.1.1.1.0",
        "$JS.API.DIRECT.GET.DEAD_LETTERS",
        "$JS.API.STREAM.DELETE.KV_IDEMPOTENCY",
    ] {
        gateway.may_not_publish(subject).await;
    }
    for subject in ["_INBOX.>", "_INBOX_order-service.>", "*.command.>", "order.query.>", ">"] {
        gateway.may_not_subscribe(subject).await;
    }
}

#[tokio::test]
async fn the_inspector_changes_nothing_and_the_provisioner_publishes_nothing() {
    let store = Store::start().await;
    let mut inspector = store.user("inspector").await;
    for subject in [
        "order.command.place.ORDER_001",
        "order.event.placed.ORDER_001",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.DEAD_LETTERS",
        "$JS.API.CONSUMER.CREATE.EVENTS.mine",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.order-service",
        "$KV.IDEMPOTENCY.key",
    ] {
        inspector.may_not_publish(subject).await;
    }
    for subject in ["_INBOX.>", "_INBOX_order-service.>", "$KV.>", "$JS.API.>", "*.*.*", ">"] {
        inspector.may_not_subscribe(subject).await;
    }
    let mut provisioner = store.user("provisioner").await;
    provisioner.may_not_publish("order.event.placed.ORDER_001").await;
    provisioner.may_not_subscribe("*.event.>").await;
    provisioner.may_not_subscribe("_INBOX_order-service.>").await;
}

#[tokio::test]
async fn a_client_without_credentials_is_refused() {
    let store = Store::start().await;
    assert!(async_nats::connect(store.nats.url()).await.is_err());
    let wrong = ConnectOptions::with_user_and_password("order-service".into(), "wrong".into());
    assert!(wrong.connect(store.nats.url()).await.is_err());
}
