//! The whole service on a real nats-server with the shop's permissions.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use account_service::Config;
use async_nats::jetstream::{self, message::StreamMessage, stream::Stream};
use async_nats::{Client, ConnectOptions};
use choreography::publisher::{Command, Publisher};
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use clap::Parser;
use contracts::account::AccountCommand;
use contracts::declaration::topology;
use contracts::topology::{API_GATEWAY, EVENTS};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Engine, TestDatabase};
use crate::given::{create_of, delete_of, details, update_of};
use crate::on_both_databases;

on_both_databases!(commands_change_accounts_and_publish_events, a_repeated_command_is_handled_once,);

fn password(user: &str) -> String {
    format!("password-of-{user}")
}

async fn connect(nats: &TestNats, user: &str) -> Client {
    let options = ConnectOptions::new()
        .user_and_password(user.to_owned(), password(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    options.connect(nats.url()).await.unwrap()
}

/// nats-server, a database, and the service on both.
struct Running {
    nats: TestNats,
    database: TestDatabase,
    service: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    async fn start(engine: Engine) -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats.conf");
        let text = std::fs::read_to_string(&config).unwrap();
        let users = text.lines().filter_map(|line| line.trim().strip_prefix("user: ")?.split(',').next());
        let variables: Vec<(String, String)> = users
            .map(|user| (format!("{}_PASSWORD", user.to_uppercase().replace('-', "_")), password(user)))
            .collect();
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let nats = TestNats::with_config(&config, variables).await.unwrap();
        let provisioner = jetstream::new(connect(&nats, "provisioner").await);
        topology().unwrap().provision(&provisioner, 1).await.unwrap();
        let database = TestDatabase::new(engine).await;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port())).to_string();
        let config = Config::parse_from([
            "account-service",
            "--nats-url",
            &nats.url(),
            "--nats-password",
            &password("account-service"),
            "--database-url",
            &database.url,
            "--http-address",
            &address,
        ]);
        let shutdown = CancellationToken::new();
        let service = tokio::spawn(account_service::run(config, shutdown.clone()));
        Self { nats, database, service, shutdown }
    }

    /// Sends a command as the gateway does.
    async fn send(&self, id: Uuid, command: &AccountCommand) {
        let js = jetstream::new(connect(&self.nats, API_GATEWAY).await);
        let command = Command::new(id, command).unwrap();
        Publisher::new(js, API_GATEWAY).publish(command).await.unwrap();
    }

    async fn stream(&self, name: &str) -> Stream {
        jetstream::new(connect(&self.nats, "inspector").await).get_stream(name).await.unwrap()
    }

    /// Stops the service and checks that its outbox is empty.
    async fn stop(self) {
        self.shutdown.cancel();
        self.service.await.unwrap().unwrap();
        assert_eq!(choreography::outbox_pending::depth(&self.database.db).await.unwrap(), 0);
    }
}

/// Waits for the message with a sequence in a stream.
async fn at(stream: &Stream, sequence: u64) -> StreamMessage {
    let start = Instant::now();
    loop {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            return message;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "timed out: message {sequence}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn header(message: &StreamMessage, name: &str) -> Option<String> {
    message.headers.get(name).map(|value| value.as_str().to_owned())
}

async fn query(client: &Client, subject: &'static str) -> async_nats::Message {
    client.request(subject, "".into()).await.unwrap()
}

async fn commands_change_accounts_and_publish_events(engine: Engine) {
    let running = Running::start(engine).await;
    let events = running.stream(EVENTS).await;
    let commands = [create_of("A", "Zoë"), update_of("A", 1, "Ann"), update_of("A", 1, "Eve"), delete_of("A", 2)];
    let gateway = connect(&running.nats, API_GATEWAY).await;
    let expected = [
        ("account.event.changed.A", Some("1"), json!({"customerId": "A", "version": 1, "details": details("Zoë")})),
        ("account.event.changed.A", Some("2"), json!({"customerId": "A", "version": 2, "details": details("Ann")})),
        (
            "account.event.refused.A",
            None,
            json!({"customerId": "A", "reason": {"code": "version-conflict", "version": 2}}),
        ),
        ("account.event.deleted.A", Some("3"), json!({"customerId": "A", "version": 3})),
    ];
    for (sequence, (command, (subject, version, body))) in (1..).zip(commands.iter().zip(expected)) {
        let id = Uuid::now_v7();
        running.send(id, command).await;
        let event = at(&events, sequence).await;
        assert_eq!(event.subject.as_str(), subject);
        assert_eq!(header(&event, "ce-source").as_deref(), Some("/account-service"));
        assert_eq!(header(&event, "ce-causationid"), Some(id.to_string()));
        assert_eq!(header(&event, "ce-correlationid"), Some(id.to_string()));
        assert_eq!(header(&event, "ce-aggregateversion").as_deref(), version);
        assert_eq!(serde_json::from_slice::<Value>(&event.payload).unwrap(), body);
        if sequence == 2 {
            let reply = query(&gateway, "account.query.get.A").await;
            assert_eq!(serde_json::from_slice::<Value>(&reply.payload).unwrap()["version"], 2);
        }
    }
    let reply = query(&gateway, "account.query.get.A").await;
    assert_eq!(reply.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "404");
    // payment-service may query snapshots, too.
    let reply = query(&connect(&running.nats, "payment-service").await, "account.query.snapshot").await;
    let expected =
        json!({"items": [{"customerId": "A", "version": 3, "deleted": true, "details": null}], "next": null});
    assert_eq!(serde_json::from_slice::<Value>(&reply.payload).unwrap(), expected);
    assert_eq!(running.stream("DEAD_LETTERS").await.cached_info().state.messages, 0);
    running.stop().await;
}

async fn a_repeated_command_is_handled_once(engine: Engine) {
    let running = Running::start(engine).await;
    let events = running.stream(EVENTS).await;
    let id = Uuid::now_v7();
    running.send(id, &create_of("A", "Zoë")).await;
    at(&events, 1).await;
    running.send(Uuid::now_v7(), &delete_of("A", 1)).await;
    at(&events, 2).await;
    // The stream forgets message ids after its duplicate window, which is shortened here.
    let provisioner = jetstream::new(connect(&running.nats, "provisioner").await);
    let mut config = running.stream("COMMANDS").await.cached_info().config.clone();
    config.duplicate_window = Duration::from_millis(100);
    provisioner.update_stream(&config).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    running.send(id, &create_of("A", "Zoë")).await;
    running.send(Uuid::now_v7(), &create_of("A", "Ann")).await;
    let event: Value = serde_json::from_slice(&at(&events, 3).await.payload).unwrap();
    assert_eq!((&event["version"], &event["details"]["name"]), (&json!(3), &json!("Ann")), "the first was dropped");
    assert_eq!(running.stream("COMMANDS").await.cached_info().state.messages, 4);
    running.stop().await;
}
