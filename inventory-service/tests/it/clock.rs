//! The service as a process whose clock is wrong by days, by libfaketime.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::PullConsumer, stream::Stream};
use choreography::inbox;
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use contracts::declaration::topology;
use contracts::topology::{COMMANDS, INVENTORY_SERVICE};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::Value;
use uuid::Uuid;

use crate::database::{Engine, TestDatabase, begin_with};
use crate::given::{available, restock};
use crate::on_both_databases;
use crate::service::publish;

on_both_databases!(a_clock_that_is_wrong_by_nine_days_is_reported_and_duplicates_nothing);

/// The library that shifts the clock of a process; `None` if it is not installed.
fn library() -> Option<PathBuf> {
    ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"]
        .into_iter()
        .map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
}

/// A process that is killed after the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn settled(commands: &Stream) -> bool {
    let mut consumer: PullConsumer = commands.get_consumer(INVENTORY_SERVICE).await.unwrap();
    let info = consumer.info().await.unwrap();
    info.num_pending == 0 && info.num_ack_pending == 0
}

async fn readiness(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return String::new() };
    let request = b"GET /readiness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

async fn a_clock_that_is_wrong_by_nine_days_is_reported_and_duplicates_nothing(engine: Engine) {
    let Some(library) = library() else {
        eprintln!("libfaketime is not installed: the test is skipped");
        return;
    };
    let (nats, database) = (TestNats::start().await.unwrap(), TestDatabase::new(engine).await);
    begin_with(&database.db, &available(&[("CUP", 2)])).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let js = jetstream::new(client.clone());
    topology().unwrap().provision(&js, 1).await.unwrap();
    let commands = js.get_stream(COMMANDS).await.unwrap();
    for (round, ahead) in (1_u64..).zip(["+9d", "-9d"]) {
        let address = format!("127.0.0.1:{}", free_port());
        let _running = Running(
            Command::new(env!("CARGO_BIN_EXE_inventory-service"))
                .args(["--nats-url", &nats.url(), "--database-url", &database.url])
                .args(["--http-address", &address, "--cleanup-seconds", "1"])
                .env("LD_PRELOAD", &library)
                .envs([("FAKETIME", ahead), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")])
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let command = publish(&js, &restock("CUP", 5)).await;
        eventually("the restock is handled", async || {
            inbox::entity::Entity::find_by_id(command).count(&database.db).await.unwrap() == 1
        })
        .await;
        let outbox = choreography::outbox::entity::Entity::find().count(&database.db).await.unwrap();
        assert!(outbox >= round, "its event is in the outbox");

        // A row of 1970 is deleted after a whole cleanup cycle.
        let old = Uuid::now_v7();
        let row = inbox::entity::ActiveModel { message_id: Set(old), received_at: Set(5) };
        row.insert(&database.db).await.unwrap();
        eventually("old rows are deleted", async || {
            let is_old = Expr::col(inbox::entity::Column::MessageId).eq(old);
            inbox::entity::Entity::find().filter(is_old).count(&database.db).await.unwrap() == 0
        })
        .await;
        let recent = inbox::entity::Entity::find().filter(inbox::entity::Column::MessageId.eq(command));
        assert_eq!(recent.count(&database.db).await.unwrap(), 1, "{ahead}: the inbox has forgotten the restock");
        assert_eq!(
            choreography::outbox::entity::Entity::find().count(&database.db).await.unwrap(),
            outbox,
            "{ahead}"
        );

        // Now only the inbox can detect the repeated command.
        choreography::effects::entity::Entity::delete_many().exec(&database.db).await.unwrap();
        let stored = commands.get_last_raw_message_by_subject("inventory.command.restock.CUP").await.unwrap();
        let mut headers = HeaderMap::new();
        for (name, values) in stored.headers.iter().filter(|(name, _)| name.as_ref() as &str != "Nats-Msg-Id") {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
        js.publish_with_headers(stored.subject.clone(), headers, stored.payload).await.unwrap().await.unwrap();
        eventually("the second copy is settled", async || settled(&commands).await).await;
        let reply = client.request("inventory.query.product.CUP", "".into()).await.unwrap();
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(reply["available"], 2 + 5 * round, "{ahead}: {reply}");

        eventually("readiness reports the clock", async || {
            let reply = readiness(&address).await;
            reply.starts_with("HTTP/1.1 200") && reply.contains(&format!("nats-server's by {}7", &ahead[..1]))
        })
        .await;
    }
}
