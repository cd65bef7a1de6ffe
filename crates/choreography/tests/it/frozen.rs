//! Hanging sessions of PostgreSQL, as after a crash of its host: in the commit of a worker, and in a query. A hanging
//! nats-server: in a read of a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use choreography::Outbox;
use choreography::database::Databases;
use choreography::direct::{Reader, last_sequence};
use choreography::query::{Endpoint, QueryError};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr, Statement, TransactionTrait};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counter::{Migrator, Mode};
use crate::support::{Bench, Engine, eventually, run};

/// Turns off the detection of deadlocks in sessions that are opened from now on. A session that is paused while it
/// searches for one holds internal locks, and blocks the whole server.
pub(crate) async fn without_deadlock_detection(bench: &Bench, admin: &DatabaseConnection) {
    let (_, database) = bench.url.rsplit_once('/').unwrap();
    let set = format!("ALTER DATABASE \"{database}\" SET deadlock_timeout = '1h'");
    admin.execute_unprepared(&set).await.unwrap();
}

/// A process that is paused until this is dropped.
pub(crate) struct Frozen(i32);

impl Frozen {
    pub(crate) fn new(pid: i32) -> Self {
        signal("-STOP", pid);
        Self(pid)
    }

    /// Pauses the session that waits for a lock in a statement with this beginning.
    pub(crate) async fn waiting_with(admin: &DatabaseConnection, statement: &str) -> Self {
        let waiting = format!(
            "SELECT pid FROM pg_stat_activity \
             WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE '{statement}%'"
        );
        let waiting = || Statement::from_string(admin.get_database_backend(), waiting.as_str());
        let pid = async || {
            admin.query_one_raw(waiting()).await.unwrap().map(|row| row.try_get::<i32>("", "pid").unwrap())
        };
        eventually("a session waits", || async { pid().await.is_some() }).await;
        Self::new(pid().await.unwrap())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

fn signal(name: &str, pid: i32) {
    let sent = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Tables and a trigger that makes each commit of a row in `noted` wait for the advisory lock.
const NOTED: &str = "
    CREATE TABLE noted (id BIGINT PRIMARY KEY);
    CREATE TABLE looked_at (id BIGINT PRIMARY KEY);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON noted DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();";

#[tokio::test]
async fn frozen_sessions_of_a_worker_and_of_a_query_are_reported_and_abandoned() {
    let bench = Bench::new(Engine::Postgres).await;
    let admin = Database::connect(&bench.url).await.unwrap();
    admin.execute_unprepared(NOTED).await.unwrap();
    without_deadlock_detection(&bench, &admin).await;
    let db = Databases::open::<Migrator>(&bench.url).await.unwrap();
    let (reader, writer, rounds) = (db.reader.clone(), db.writer.clone(), Arc::new(AtomicU64::new(0)));
    let (queried, done) = (reader.clone(), rounds.clone());
    let look = Endpoint::new("look", "counter.query.look.*", move |_| {
        let db = queried.clone();
        async move { Ok::<_, QueryError>(db.execute_unprepared("SELECT FROM looked_at").await?.rows_affected()) }
    });
    // Inserts numbers, in one transaction each. Each number is used once: the frozen session still locks its own.
    let notes = move |outbox: Outbox, stop: CancellationToken| async move {
        let watch = outbox.watch("notes");
        for number in 0_u64.. {
            if stop.is_cancelled() {
                break;
            }
            let note = async {
                let tx = writer.begin().await?;
                let insert = format!("INSERT INTO noted VALUES ({number})");
                tx.execute_unprepared(&insert).await?;
                outbox.commit(tx, vec![]).await
            };
            match watch.answered::<(), DbErr>(note).await {
                Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(())
    };
    let service = bench.builder(bench.counter()).queries([look]).worker(notes).database(db).build().unwrap();
    let service = run(service, &bench.options());
    eventually("the worker works", || async { rounds.load(Ordering::Relaxed) > 0 && service.readiness().await.0 })
        .await;

    let lock = admin.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE looked_at IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_xact_lock(1)")
        .await
        .unwrap();
    let client = bench.js.client();
    let query = async |limit| {
        let request = async_nats::Request::new().timeout(Some(Duration::from_secs(limit)));
        let reply = client.send_request("counter.query.look.K1", request).await.unwrap();
        reply.headers.and_then(|headers| headers.get("Nats-Service-Error").map(ToString::to_string))
    };
    let watching = async {
        let commit = Frozen::waiting_with(&admin, "COMMIT").await;
        let look = Frozen::waiting_with(&admin, "SELECT FROM looked_at").await;
        lock.rollback().await.unwrap();
        eventually("readiness names both", || async {
            let (ready, text) = service.readiness().await;
            let named = |part: &str| text.contains(&format!(r#""{part}":{{"ok":false,"detail":"the database"#));
            !ready && named("worker/notes") && named("queries")
        })
        .await;
        assert_eq!(query(2).await, None, "another session replies meanwhile");
        (commit, look)
    };
    let (error, frozen) = futures::future::join(query(20), watching).await;
    assert_eq!(error.as_deref(), Some("its database does not answer; try again later"));
    let before = rounds.load(Ordering::Relaxed);
    eventually("the worker continues", || async { rounds.load(Ordering::Relaxed) > before + 10 }).await;
    eventually("the service is ready", || async { service.readiness().await.0 }).await;
    // Both pools have all their connections: the frozen ones were replaced.
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(reader.begin().await.unwrap());
    }
    drop(taken);
    service.stop().await.0.unwrap();
    drop(frozen);
}

#[tokio::test]
async fn a_read_of_a_stream_continues_after_a_time_without_responses() {
    let bench = Bench::new(Engine::Sqlite).await;
    for n in 0..300 {
        bench.send(Uuid::now_v7(), &format!("K{n}"), Mode::Add).await;
    }
    let mut reader = Reader::start(&bench.js, "COMMANDS", ">", 1).await.unwrap();
    assert_eq!(reader.next_batch().await.unwrap().unwrap().len(), 256);
    let frozen = Frozen::new(bench.nats.id().unwrap().cast_signed());
    tokio::spawn(async move {
        // Longer than a request waits for its response.
        tokio::time::sleep(Duration::from_secs(7)).await;
        drop(frozen);
    });
    let (rest, last) = tokio::join!(reader.next_batch(), last_sequence(&bench.js, "COMMANDS"));
    assert_eq!((rest.unwrap().unwrap().len(), last.unwrap()), (44, 300));
    assert!(reader.next_batch().await.unwrap().is_none());
}
