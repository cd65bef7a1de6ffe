//! The whole service on a real nats-server.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, jetstream};
use choreography::Publish as _;
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use clap::Parser;
use contracts::declaration::NotificationMessage;
use contracts::declaration::topology;
use contracts::topology::{EVENTS, NOTIFICATION_SERVICE};
use futures::StreamExt;
use notification_service::Config;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Engine, Mail, TestDatabase, all, mail};
use crate::given::{changed, confirmed, one_of_each};
use crate::mailing::files;
use crate::on_both_databases;
use crate::smtp::{SmtpServer, header};
use contracts::Currency;

on_both_databases!(
    a_late_start_catches_up_notifies_of_each_event_once_and_continues_after_a_crash,
    a_mail_that_the_server_defers_is_sent_later,
);

/// The shop without this service.
struct Shop {
    nats: TestNats,
    js: jetstream::Context,
}

impl Shop {
    async fn provisioned() -> Self {
        let nats = TestNats::start().await.unwrap();
        let js = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
        topology().unwrap().provision(&js, 1).await.unwrap();
        Self { nats, js }
    }

    /// Publishes a message as its producer does, with an id that the stream does not deduplicate.
    async fn publish(&self, id: Uuid, message: &NotificationMessage) {
        let mut headers = HeaderMap::new();
        let id = id.to_string();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", &id),
            ("ce-type", message.message_type()),
            ("ce-source", &format!("/{}", message.info().producer)),
            ("ce-subject", message.key()),
            ("ce-time", "2026-01-01T00:00:00Z"),
        ] {
            headers.insert(name, value);
        }
        self.js
            .publish_with_headers(message.subject(), headers, serde_json::to_vec(message).unwrap().into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    fn start(&self, database: &TestDatabase, more: &[&str]) -> Running {
        let address = format!("127.0.0.1:{}", free_port());
        let (nats, folder) = (self.nats.url(), database.folder.0.join("mail"));
        let mut arguments = vec!["notification-service", "--nats-url", &nats, "--database-url", &database.url];
        let folder = folder.to_str().unwrap();
        arguments.extend(["--http-address", &address, "--mail-folder", folder]);
        arguments.extend(more);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(notification_service::run(Config::parse_from(arguments), shutdown.clone()));
        Running { address, shutdown, running }
    }
}

struct Running {
    address: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    async fn crash(self) {
        self.running.abort();
        drop(self.running.await);
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = attempt().await {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn delivered(database: &TestDatabase, count: usize) {
    eventually("everything is delivered", || async {
        let rows = all(&database.db).await;
        (rows.len() >= count && rows.iter().all(|row| mail(row) == Mail::Delivered)).then_some(())
    })
    .await;
}

fn message_ids(folder: &Path) -> Vec<String> {
    let mut ids: Vec<_> = files(folder).iter().map(|mail| header(mail, "Message-ID").to_owned()).collect();
    ids.sort();
    ids
}

async fn a_late_start_catches_up_notifies_of_each_event_once_and_continues_after_a_crash(engine: Engine) {
    let (shop, database) = (Shop::provisioned().await, TestDatabase::new(engine).await);
    let folder = database.folder.0.join("mail");
    // Orders before their account, and every message twice.
    let notified: Vec<_> = one_of_each("C1")
        .into_iter()
        .map(|notified| (Uuid::now_v7(), NotificationMessage::Notify(notified)))
        .collect();
    let account = (Uuid::now_v7(), changed("C1", 1, "Ada", "ada@example.org"));
    for (id, message) in notified.iter().chain(&notified).chain([&account, &account]) {
        shop.publish(*id, message).await;
    }

    let service = shop.start(&database, &[]);
    delivered(&database, 4).await;
    let mut expected: Vec<_> = notified.iter().map(|(id, _)| format!("<{id}@store.example>")).collect();
    expected.sort();
    assert_eq!(message_ids(&folder), expected);
    let url = format!("ws://{}/notifications?customerId=C1&after=2", service.address);
    let (mut socket, _) = connect_async(url).await.unwrap();
    let resumed = [socket.next().await.unwrap().unwrap(), socket.next().await.unwrap().unwrap()];
    let sequences = resumed.map(|message| match message {
        Message::Text(text) => serde_json::from_str::<Value>(&text).unwrap()["sequence"].as_i64().unwrap(),
        other => panic!("{other:?}"),
    });
    assert_eq!(sequences, [3, 4]);
    service.crash().await;

    // While the service is down, new messages arrive, and old ones are repeated.
    let more = (Uuid::now_v7(), NotificationMessage::Notify(confirmed("O5", "C1", 1, Currency::EUR)));
    for (id, message) in [&notified[0], &more, &notified[3], &more] {
        shop.publish(*id, message).await;
    }
    let service = shop.start(&database, &[]);
    delivered(&database, 5).await;
    let client = async_nats::connect(shop.nats.url()).await.unwrap();
    let reply = eventually("the list", || async {
        client.request("notification.query.list.C1", r#"{"after": 4}"#.into()).await.ok()
    })
    .await;
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reply["items"][0]["orderId"], "O5");
    assert_eq!(reply["items"][0]["eventId"], more.0.to_string());
    eventually("everything is acknowledged", || async {
        let stream = shop.js.get_stream(EVENTS).await.unwrap();
        let mut consumer: jetstream::consumer::PullConsumer =
            stream.get_consumer(NOTIFICATION_SERVICE).await.unwrap();
        let info = consumer.info().await.unwrap();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
    service.stop().await;
    assert_eq!(message_ids(&folder).len(), 5);
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(choreography::outbox_pending::depth(&database.db).await.unwrap(), 0);
    assert_eq!(shop.js.get_stream("DEAD_LETTERS").await.unwrap().cached_info().state.messages, 0);
}

async fn a_mail_that_the_server_defers_is_sent_later(engine: Engine) {
    let (shop, database, server) =
        (Shop::provisioned().await, TestDatabase::new(engine).await, SmtpServer::start().await);
    server.reply_to_recipients(&["451 later"]);
    let service = shop.start(&database, &["--smtp-url", &server.url, "--mail-from", "Shop <shop@shop.example>"]);
    shop.publish(Uuid::now_v7(), &changed("C1", 1, "Ada", "ada@example.org")).await;
    shop.publish(Uuid::now_v7(), &NotificationMessage::Notify(confirmed("O1", "C1", 1, Currency::EUR))).await;
    delivered(&database, 1).await;
    service.stop().await;
    let row = all(&database.db).await.remove(0);
    assert_eq!(row.attempts, 2);
    assert_eq!(server.mails().len(), 1);
    assert_eq!(header(&server.mails()[0], "Message-ID"), format!("<{}@shop.example>", row.event_id));
}
