//! The nats-server of the shop, and its users.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions};
use choreography::Topology;
use choreography_test::TestNats;
use contracts::declaration::full_topology;
use tokio::sync::mpsc;

/// The users with their variables and passwords, some of which are not plain words in the server's config syntax.
const PASSWORDS: [(&str, &str, &str); 11] = [
    ("provisioner", "PROVISIONER_PASSWORD", "2+2 is \"4\" # {sic}"),
    ("api-gateway", "API_GATEWAY_PASSWORD", "12345"),
    ("order-service", "ORDER_SERVICE_PASSWORD", "order"),
    ("inventory-service", "INVENTORY_SERVICE_PASSWORD", "in$ventory\\"),
    ("account-service", "ACCOUNT_SERVICE_PASSWORD", "1e9"),
    ("payment-service", "PAYMENT_SERVICE_PASSWORD", "[pay, ment]"),
    ("notification-service", "NOTIFICATION_SERVICE_PASSWORD", "a // b"),
    ("projection-service", "PROJECTION_SERVICE_PASSWORD", "p;q"),
    ("identity-service", "IDENTITY_SERVICE_PASSWORD", "{id: \"e\"}"),
    ("inspector", "INSPECTOR_PASSWORD", "true"),
    ("operator", "OPERATOR_PASSWORD", "0x7f"),
];

/// A subject that no user may publish on or subscribe to.
const FORBIDDEN: &str = "forbidden";
/// The number of subjects per round: fewer than the events that the client buffers before it drops some.
const BATCH: usize = 64;

/// The nats-server of the shop, with the streams, bucket, and consumers that `provisioner` has created.
pub(crate) struct Shop {
    pub(crate) nats: TestNats,
    pub(crate) topology: Topology,
}

impl Shop {
    pub(crate) async fn start() -> Self {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats.conf");
        let variables = PASSWORDS.map(|(_, variable, password)| (variable, password));
        let nats = TestNats::with_config(config.as_ref(), variables).await.unwrap();
        let shop = Self { nats, topology: full_topology().unwrap() };
        let provisioner = shop.user("provisioner").await;
        shop.topology.provision(&provisioner.js, 1).await.unwrap();
        shop
    }

    /// Returns the names of the streams, that of the bucket included.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &str> {
        self.topology.streams.iter().map(|stream| stream.name.as_str()).chain(["KV_IDEMPOTENCY"])
    }

    /// Returns all users of `nats.conf`.
    pub(crate) fn users() -> impl Iterator<Item = &'static str> {
        PASSWORDS.into_iter().map(|(user, ..)| user)
    }

    /// Returns the users of services.
    pub(crate) fn services() -> impl Iterator<Item = &'static str> {
        Self::users().filter(|user| user.ends_with("-service"))
    }

    pub(crate) async fn user(&self, name: &str) -> User {
        let (_, _, password) = PASSWORDS.iter().find(|(user, ..)| *user == name).unwrap();
        let (report, refusals) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(name.to_owned(), (*password).to_owned())
            .custom_inbox_prefix(format!("_INBOX_{name}"))
            .event_callback(move |event| {
                let report = report.clone();
                async move {
                    let event = event.to_string();
                    // Some versions of the client write "Permissions", others "permissions".
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

/// A client connected as a user.
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    /// The permission violations that the server reported; the caller of a request sees only a timeout.
    refusals: mpsc::UnboundedReceiver<String>,
}

impl User {
    /// Stores a message.
    pub(crate) async fn publish(&self, subject: &str) {
        self.js.publish(subject.to_owned(), "{}".into()).await.unwrap().await.unwrap();
    }

    /// Asserts that there was no permission violation. To be called after a reply, so that earlier violations have
    /// arrived, too.
    pub(crate) fn assert_no_violation(&mut self) {
        assert_eq!(self.refusals.try_recv().ok(), None);
    }

    /// Publishes on each of these subjects; returns the refused ones.
    pub(crate) async fn refused_publishing<'a>(&mut self, subjects: &[&'a str]) -> BTreeSet<&'a str> {
        let mut refused = BTreeSet::new();
        for some in subjects.chunks(BATCH) {
            for subject in some.iter().chain([&FORBIDDEN]) {
                self.client.publish((*subject).to_owned(), "{}".into()).await.unwrap();
            }
            refused.extend(self.refused_of(some).await);
        }
        refused
    }

    /// Subscribes to each of these subjects; returns the refused ones.
    pub(crate) async fn refused_subscribing<'a>(&mut self, subjects: &[&'a str]) -> BTreeSet<&'a str> {
        let mut refused = BTreeSet::new();
        for some in subjects.chunks(BATCH) {
            let mut subscriptions = Vec::new();
            for subject in some.iter().chain([&FORBIDDEN]) {
                subscriptions.push(self.client.subscribe((*subject).to_owned()).await.unwrap());
            }
            refused.extend(self.refused_of(some).await);
        }
        refused
    }

    /// Waits until the server has refused [`FORBIDDEN`]; returns those of these subjects that it refused before.
    async fn refused_of<'a>(&mut self, subjects: &[&'a str]) -> Vec<&'a str> {
        let mut reports = Vec::new();
        loop {
            let report =
                tokio::time::timeout(Duration::from_secs(10), self.refusals.recv()).await.unwrap().unwrap();
            // The client may change the case of the server's message.
            reports.push(report.to_lowercase());
            if reports.iter().any(|report| report.contains(&format!("\"{FORBIDDEN}\""))) {
                break;
            }
        }
        let refused = |subject: &&&str| {
            let quoted = format!("\"{}\"", subject.to_lowercase());
            reports.iter().any(|report| report.contains(&quoted))
        };
        subjects.iter().filter(refused).copied().collect()
    }
}
