//! The real messages match the declared ones: all of them, with their producers and consumers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use choreography::Kind;
use choreography::catalogue::catalogue;
use choreography::direct::{Reader, Stored};
use choreography::inbox;
use contracts::declaration::declarations;
use demo::Component;
use reqwest::Method;
use sea_orm::{Database, EntityTrait};
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, account, eventually, order, order_of, send};

/// A kind of published message: its stream, subject without key, type, and producer.
type Published = (String, String, String, String);

impl World {
    /// Causes every kind of message.
    async fn live(&self) {
        // Orders that are confirmed, repeated, repeated with other content, or cancelled too late or too early.
        let placed = self.place_and_wait(&order("CONFIRMED", "PRODUCT_001", 1)).await;
        assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
        let other = self.place_and_wait(&order("CONFIRMED", "PRODUCT_001", 2)).await;
        assert_eq!(other.status, 422, "{other:?}");
        let late = self.request(Method::POST, "/orders/CONFIRMED/cancel").header("prefer", "wait=10");
        assert_eq!(send(late.json(&json!({}))).await.status, 409);
        self.post("/orders/EARLY/cancel", &json!({})).await;
        self.published("order.event.cancel-deferred.EARLY").await;
        self.ends(&order("EARLY", "PRODUCT_001", 1), "cancelled").await;
        // Orders that cannot be served, that wait for a restock, or that wait too long.
        self.ends(&order("UNKNOWN", "PRODUCT_999", 1), "cancelled").await;
        self.post("/orders", &order("SERVED", "PRODUCT_002", 2)).await;
        self.eventually_status("SERVED", "awaiting-stock").await;
        self.post("/products/PRODUCT_002/restock", &json!({"quantity": 2})).await;
        self.eventually_status("SERVED", "confirmed").await;
        self.ends(&order("WAITS", "PRODUCT_002", 1), "cancelled").await;
        // A payment that is declined, and one that is captured and refunded.
        self.ends(&order_of("NOBODY", "UNPAID", "PRODUCT_001", 1), "cancelled").await;
        self.behave(json!({"mode": "slow", "ms": 500, "on": ["capture"]})).await;
        self.post("/orders", &order("REFUNDED", "PRODUCT_001", 1)).await;
        self.eventually_status("REFUNDED", "reserved").await;
        self.hold_back("EVENTS", "order-service").await;
        self.published("payment.event.captured.REFUNDED").await;
        self.post("/orders/REFUNDED/cancel", &json!({})).await;
        self.published("payment.event.refunded.REFUNDED").await;
        self.let_go("EVENTS", "order-service").await;
        // An account that is created, changed, refused, and deleted.
        let created = account("CUSTOMER_002", "tok_visa", 1000);
        assert_eq!(self.post("/accounts", &created).await.status, 201);
        assert_eq!(self.post("/accounts", &account("CUSTOMER_002", "tok_visa", 5)).await.status, 409);
        let changed = self.request(Method::PUT, "/accounts/CUSTOMER_002").header("if-match", "\"1\"");
        let mut details = account("CUSTOMER_002", "tok_visa", 2000);
        details.as_object_mut().unwrap().remove("customerId");
        let changed = send(changed.json(&details)).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let deleted = self.request(Method::DELETE, "/accounts/CUSTOMER_002").header("if-match", "\"2\"");
        assert_eq!(send(deleted).await.status, 204);
        self.settled().await;
    }

    async fn ends(&self, order: &serde_json::Value, status: &str) {
        self.post("/orders", order).await;
        self.eventually_status(order["orderId"].as_str().unwrap(), status).await;
    }

    async fn published(&self, subject: &str) {
        eventually(&format!("{subject} is published"), || async { self.count("EVENTS", subject).await == 1 }).await;
    }

    async fn everything(&self, stream: &str) -> Vec<Stored> {
        let mut reader = Reader::start(&self.jetstream(), stream, ">", 1).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = reader.next_batch().await.unwrap() {
            all.extend(batch);
        }
        all
    }

    /// Returns the ids of the messages that each service has handled.
    async fn handled(&self) -> BTreeMap<String, HashSet<Uuid>> {
        let mut handled = BTreeMap::new();
        for component in Component::WITH_DATABASE {
            let database = Database::connect(self.config().database_url(component).unwrap()).await.unwrap();
            let rows = inbox::entity::Entity::find().all(&database).await.unwrap();
            handled.insert(component.to_string(), rows.into_iter().map(|row| row.message_id).collect());
        }
        handled
    }
}

fn stem(subject: &str) -> String {
    subject.rsplit_once('.').unwrap().0.to_owned()
}

#[tokio::test]
async fn published_and_handled_messages_are_exactly_the_declared_ones() {
    let mut config = World::empty();
    config.stock_deadline_seconds = 4;
    let world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 100), ("PRODUCT_002", 0)]).await;
    world.live().await;

    let (mut published, mut received) = (BTreeSet::<Published>::new(), BTreeSet::new());
    let mut types: HashMap<Uuid, String> = HashMap::new();
    for stream in ["COMMANDS", "EVENTS", "TIMERS"] {
        for message in world.everything(stream).await {
            let header = |name: &str| message.header(name).unwrap_or_else(|| panic!("{message:?}")).to_owned();
            // A pending or cancelled schedule is on a subject of the service's own.
            if message.subject.contains(".schedule.") {
                assert!(message.subject.starts_with("order.schedule.stock-deadline."), "{}", message.subject);
                continue;
            }
            let message_type = header("ce-type");
            published.insert((
                stream.to_owned(),
                stem(&message.subject),
                message_type.clone(),
                header("ce-source"),
            ));
            types.insert(header("ce-id").parse().unwrap(), message_type);
        }
    }
    for (service, ids) in world.handled().await {
        received.extend(ids.iter().filter_map(|id| Some((service.clone(), types.get(id)?.clone()))));
    }

    let streams = [(Kind::Command, "COMMANDS"), (Kind::Event, "EVENTS"), (Kind::Timer, "TIMERS")];
    let (mut declared_published, mut declared_received) = (BTreeSet::<Published>::new(), BTreeSet::new());
    for entry in catalogue(&declarations()) {
        let (message, consumers) = (entry.message, entry.consumers);
        let (_, stream) = streams.into_iter().find(|(kind, _)| *kind == message.kind).unwrap();
        let (message_type, source) = (message.message_type.to_owned(), format!("/{}", message.producer));
        declared_published.insert((stream.to_owned(), stem(message.filter), message_type.clone(), source));
        declared_received.extend(consumers.into_iter().map(|name| (name.to_owned(), message_type.clone())));
    }
    let undeclared: Vec<&Published> = published.difference(&declared_published).collect();
    let never: Vec<&Published> = declared_published.difference(&published).collect();
    assert!(
        undeclared.is_empty() && never.is_empty(),
        "published, but not declared: {undeclared:?}; never published: {never:?}"
    );
    let undeclared: Vec<_> = received.difference(&declared_received).collect();
    let never: Vec<_> = declared_received.difference(&received).collect();
    assert!(
        undeclared.is_empty() && never.is_empty(),
        "handled, but not declared: {undeclared:?}; never handled: {never:?}"
    );
    world.assert_healthy().await;
}
