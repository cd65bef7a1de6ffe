//! The three ways to rebuild the copies of accounts, with the permissions of `nats.conf`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, jetstream};
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use clap::Parser;
use contracts::CustomerId;
use contracts::account::AccountDetails;
use contracts::declaration::topology;
use contracts::query::{AccountSnapshotEntry, AccountView, ListAccounts, Page};
use contracts::topology::EVENTS;
use futures::StreamExt;
use payment_service::Config;
use payment_service::entity::account_copy;
use payment_service::entity::payment::Status;
use payment_service::payment::PaymentMessage;
use tokio_util::sync::CancellationToken;

use crate::database::{Engine, TestDatabase, copies};
use crate::fixture::{Fixture, eventually, publish};
use crate::given::{account, account_with, card, customer_id, deleted, placed, reserved};
use crate::on_both_databases;

on_both_databases!(
    each_way_of_rebuilding_restores_the_copies_in_a_new_database,
    a_missing_account_is_queried_when_a_payment_is_due,
);

const PASSWORDS: [&str; 11] = [
    "PROVISIONER_PASSWORD",
    "API_GATEWAY_PASSWORD",
    "ORDER_SERVICE_PASSWORD",
    "INVENTORY_SERVICE_PASSWORD",
    "ACCOUNT_SERVICE_PASSWORD",
    "PAYMENT_SERVICE_PASSWORD",
    "NOTIFICATION_SERVICE_PASSWORD",
    "PROJECTION_SERVICE_PASSWORD",
    "IDENTITY_SERVICE_PASSWORD",
    "INSPECTOR_PASSWORD",
    "OPERATOR_PASSWORD",
];

async fn user(nats: &TestNats, name: &str) -> Client {
    ConnectOptions::with_user_and_password(name.to_owned(), "secret".to_owned())
        .custom_inbox_prefix(format!("_INBOX_{name}"))
        .connect(nats.url())
        .await
        .unwrap()
}

/// The accounts of the account service: version, and details unless deleted.
type Kept = Arc<Mutex<BTreeMap<CustomerId, (i64, Option<AccountDetails>)>>>;

/// An account service that keeps the accounts it publishes.
struct Accounts {
    kept: Kept,
    js: jetstream::Context,
}

impl Accounts {
    /// Replies to queries as the account service does. It publishes `meanwhile` during the read of a snapshot's last
    /// page.
    async fn start(client: Client, meanwhile: Option<PaymentMessage>) -> Self {
        let accounts = Self { kept: Kept::default(), js: jetstream::new(client.clone()) };
        let (kept, js) = (accounts.kept.clone(), accounts.js.clone());
        let mut queries = client.subscribe("account.query.>").await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(query) = queries.next().await {
                let reply = query.reply.unwrap();
                let key = query.subject.rsplit('.').next().unwrap().to_owned();
                let response = if key == "snapshot" {
                    let page = snapshot(&kept, &serde_json::from_slice(&query.payload).unwrap());
                    if let (None, Some(message)) = (&page.next, &meanwhile) {
                        publish(&js, message).await;
                    }
                    Some(serde_json::to_vec(&page).unwrap())
                } else {
                    view(&kept, &key).map(|view| serde_json::to_vec(&view).unwrap())
                };
                match response {
                    Some(body) => client.publish(reply, body.into()).await.unwrap(),
                    None => {
                        let mut headers = async_nats::HeaderMap::new();
                        headers.insert("Nats-Service-Error-Code", "404");
                        headers.insert("Nats-Service-Error", "there is no such account");
                        client.publish_with_headers(reply, headers, "".into()).await.unwrap();
                    }
                }
            }
        });
        accounts
    }

    async fn publish(&self, message: &PaymentMessage) {
        let (customer, kept) = match message {
            PaymentMessage::AccountChanged(changed) => {
                (&changed.customer_id, (changed.version, Some(changed.details.clone())))
            }
            PaymentMessage::AccountDeleted(deleted) => (&deleted.customer_id, (deleted.version, None)),
            _ => panic!("not an account event"),
        };
        self.kept.lock().unwrap().insert(customer.clone(), kept);
        publish(&self.js, message).await;
    }
}

/// Three accounts per page, whatever the limit: a page may be shorter.
fn snapshot(kept: &Kept, request: &ListAccounts) -> Page<AccountSnapshotEntry> {
    let kept = kept.lock().unwrap();
    let mut rest = kept.iter().filter(|(id, _)| request.after.as_ref().is_none_or(|after| *id > after));
    let items: Vec<_> = rest
        .by_ref()
        .take(3)
        .map(|(customer_id, (version, details))| AccountSnapshotEntry {
            customer_id: customer_id.clone(),
            version: *version,
            deleted: details.is_none(),
            details: details.clone(),
        })
        .collect();
    let next = rest.next().and(items.last()).map(|item| item.customer_id.to_string());
    Page { items, next }
}

fn view(kept: &Kept, key: &str) -> Option<AccountView> {
    let customer_id = customer_id(key);
    let (version, details) = kept.lock().unwrap().get(&customer_id)?.clone();
    Some(AccountView { customer_id, version, details: details? })
}

fn config(nats: &TestNats, database: &TestDatabase, command: &[&str]) -> Config {
    let (nats, address) = (nats.url(), format!("127.0.0.1:{}", free_port()));
    let mut arguments = vec!["payment-service", "--nats-url", &nats, "--nats-password", "secret"];
    arguments.extend(["--database-url", &database.url, "--http-address", &address]);
    arguments.extend(command);
    Config::parse_from(arguments)
}

async fn rebuilt(nats: &TestNats, engine: Engine, command: &[&str]) -> Vec<account_copy::Model> {
    let fresh = TestDatabase::new(engine).await;
    payment_service::run(config(nats, &fresh, command), CancellationToken::new()).await.unwrap();
    copies(&fresh.db).await
}

async fn each_way_of_rebuilding_restores_the_copies_in_a_new_database(engine: Engine) {
    let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats.conf");
    let nats = TestNats::with_config(conf.as_ref(), PASSWORDS.map(|name| (name, "secret"))).await.unwrap();
    let provisioner = jetstream::new(user(&nats, "provisioner").await);
    topology().unwrap().provision(&provisioner, 1).await.unwrap();
    let last = account("LAST", 1, 10);
    let accounts = Accounts::start(user(&nats, "account-service").await, Some(last.clone())).await;
    // More than one batch of a replay, and events of other services in between.
    let order = jetstream::new(user(&nats, "order-service").await);
    for number in 0..300 {
        let customer = format!("C{:02}", number % 40);
        accounts.publish(&account(&customer, 1 + number / 40, 100 + number)).await;
        if number % 50 == 0 {
            publish(&order, &placed(&format!("O{number}"), &customer, 1)).await;
        }
    }
    accounts.publish(&account_with("C03", 20, None, 5)).await;
    accounts.publish(&deleted("C04", 20)).await;
    accounts.publish(&account_with("C05", 21, Some(card("tok_5", "2040-01")), 5)).await;

    let old = TestDatabase::new(engine).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(payment_service::run(config(&nats, &old, &[]), shutdown.clone()));
    let complete = || async {
        let rows = copies(&old.db).await;
        rows.len() == 40 && rows.iter().any(|row| row.version == 21)
    };
    eventually("the old one has all copies", complete).await;
    let expected = copies(&old.db).await;

    assert_eq!(rebuilt(&nats, engine, &["rebuild", "replay"]).await, expected);
    let alive: Vec<&str> = expected.iter().filter(|row| !row.deleted).map(|row| row.customer_id.as_str()).collect();
    let fetched = rebuilt(&nats, engine, &[&["rebuild", "fetch", "C04"], alive.as_slice()].concat()).await;
    let undeleted: Vec<_> = expected.iter().filter(|row| !row.deleted).cloned().collect();
    assert_eq!(fetched, undeleted, "the account service does not find a deleted account");

    // The stream has lost its start; an account changes while the snapshot is read.
    provisioner.get_stream(EVENTS).await.unwrap().purge().await.unwrap();
    let fresh = TestDatabase::new(engine).await;
    let replayed =
        payment_service::run(config(&nats, &fresh, &["rebuild", "replay"]), CancellationToken::new()).await;
    let refused = format!("{:#}", replayed.unwrap_err());
    assert!(refused.contains("deleted its messages 1 to ") && refused.contains("rebuild snapshot"), "{refused}");
    assert_eq!(copies(&fresh.db).await, []);
    let snapshot = rebuilt(&nats, engine, &["rebuild", "snapshot"]).await;
    eventually("the old one has the last account", || async { copies(&old.db).await.len() == 41 }).await;
    assert_eq!(snapshot, copies(&old.db).await);
    // Again over existing copies, while the service runs.
    let over = config(&nats, &old, &["rebuild", "snapshot"]);
    payment_service::run(over, CancellationToken::new()).await.unwrap();
    assert_eq!(snapshot, copies(&old.db).await);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn a_missing_account_is_queried_when_a_payment_is_due(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let accounts = Accounts::start(fixture.client.clone(), None).await;
    let PaymentMessage::AccountChanged(ann) = account_with("ANN", 7, Some(card("tok_1", "2999-12")), 100) else {
        panic!("not an account event")
    };
    accounts.kept.lock().unwrap().insert(customer_id("ANN"), (7, Some(ann.details)));
    let address = format!("127.0.0.1:{}", free_port());
    let options = ["--fetch-missing-accounts", "--account-wait-seconds", "2", "--http-address", &address];
    let service = fixture.start(&options);
    let http = choreography::http::client(std::time::Duration::from_secs(5)).unwrap();
    eventually("readiness has the connection of the account queries", || async {
        let Ok(response) = http.get(format!("http://{address}/readiness")).send().await else { return false };
        response.json::<serde_json::Value>().await.unwrap()["checks"]["accounts/nats"]["ok"] == true
    })
    .await;
    for (order, customer) in [("A", "ANN"), ("B", "BOB")] {
        fixture.publish(&placed(order, customer, 60)).await;
        fixture.publish(&reserved(order)).await;
    }
    fixture.reaches("A", Status::Captured).await;
    fixture.reaches("B", Status::Declined).await;
    let rows = copies(&fixture.database.db).await;
    assert_eq!(rows.iter().map(|row| (row.customer_id.as_str(), row.version)).collect::<Vec<_>>(), [("ANN", 7)]);
    service.stop().await;
    fixture.is_drained().await;
}
