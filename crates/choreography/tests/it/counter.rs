//! A service that counts additions in one table. Its handler behaves as each message requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use choreography::{
    AggregateStatus, Command, DecodeError, Envelope, HandleError, Handler, Message, MessageInfo, Messages,
    Outgoing, Timing, migration,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, Statement, TransactionTrait};
use sea_orm_migration::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The behaviour that a message requests of the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Add,
    /// Takes 1.5 s.
    Slow,
    /// Takes 10 ms.
    Slowish,
    Reject,
    /// Is rejected unless `allowed` has a row with this message's key.
    Barred,
    Fail,
    /// Fails until two failures of it are recorded.
    FailTwice,
    Panic,
    BreakSql,
    /// Violates a deferred constraint, so that the commit fails, unless `allowed` has a row with this message's key.
    BreakCommit,
    /// Loses the connection to the database, on the first four attempts; PostgreSQL only.
    LoseConnection,
    /// Is the victim of a deadlock, on the first four attempts; PostgreSQL only.
    Deadlock,
    /// Is rejected here after another instance has begun to handle it; PostgreSQL only.
    HandledElsewhere,
    /// Adds the value of `PRAGMA synchronous`; SQLite only.
    Synchronous,
    Schedule,
    /// In an hour.
    ScheduleLater,
    Cancel,
    /// Its event has a body of 3,000 bytes.
    Medium,
    /// Its event has a body of 70,000 bytes.
    Large,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Add {
    pub(crate) mode: Mode,
}

/// The declaration of [`Add`], whose body has no key.
#[derive(Serialize, Deserialize, Command)]
#[message(context = "counter", name = "add", version = 1, key = name, producer = "tester")]
struct Declared {
    name: String,
}

impl Messages for Add {
    const MESSAGES: &'static [MessageInfo] = &[Declared::INFO];

    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError> {
        if message_type != Declared::TYPE {
            return Err(DecodeError::UnknownType(message_type.to_owned()));
        }
        serde_json::from_slice(body).map_err(|source| DecodeError::Body { message_type: Declared::TYPE, source })
    }
}

/// The same command in the next release, which has another producer.
#[derive(Serialize, Deserialize, Command)]
#[message(context = "counter", name = "add", version = 1, key = name, producer = "successor")]
struct NextDeclared {
    name: String,
}

/// [`Add`] in the next release.
pub(crate) struct NextAdd;

impl Messages for NextAdd {
    const MESSAGES: &'static [MessageInfo] = &[NextDeclared::INFO];

    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError> {
        Add::decode(message_type, body).map(|_| Self)
    }
}

/// The next release of the counter: adds one for each message.
#[derive(Clone)]
pub(crate) struct NextCounter;

impl Handler for NextCounter {
    type Message = NextAdd;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<NextAdd>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let mut outgoing = Vec::new();
        for message in batch {
            outgoing.push(add(tx, message, 0).await?);
        }
        Ok(outgoing)
    }
}

/// Counts additions in a table, and publishes an event for each.
#[derive(Clone, Default)]
pub(crate) struct Counter {
    pub(crate) attempts: Arc<Mutex<HashMap<Uuid, Vec<Instant>>>>,
    pub(crate) largest_batch: Arc<Mutex<usize>>,
    /// The number of calls of the handler, with a batch or a part of one.
    pub(crate) calls: Arc<AtomicUsize>,
    /// Another instance's connection to the database.
    pub(crate) elsewhere: Option<DatabaseConnection>,
    /// The handled messages in order, including those that were rolled back afterwards.
    pub(crate) handled: Arc<Mutex<Vec<Uuid>>>,
}

impl Counter {
    fn count_batch(&self, batch: &[&Envelope<Add>]) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut largest = self.largest_batch.lock().unwrap();
        *largest = batch.len().max(*largest);
    }

    /// Records an attempt, and returns the number of attempts of this message.
    fn count_attempt(&self, message: Uuid) -> usize {
        let mut attempts = self.attempts.lock().unwrap();
        let attempts = attempts.entry(message).or_default();
        attempts.push(Instant::now());
        attempts.len()
    }
}

impl Handler for Counter {
    type Message = Add;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<Add>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        self.count_batch(batch);
        let mut outgoing = Vec::new();
        for message in batch {
            let attempts = self.count_attempt(message.id);
            match message.payload.mode {
                Mode::Reject => return Err(HandleError::Reject("the test rejects it".to_owned())),
                Mode::Barred if !is_allowed(tx, &message.key).await? => {
                    return Err(HandleError::Reject(format!("{} is barred", message.key)));
                }
                Mode::Fail => return Err(HandleError::Retry(anyhow::anyhow!("the test always fails it"))),
                Mode::FailTwice if failures_of(tx, message.id).await? < 2 => {
                    return Err(HandleError::Retry(anyhow::anyhow!("not yet")));
                }
                Mode::Panic => panic!("it panics"),
                Mode::BreakSql => {
                    tx.execute_unprepared("INSERT INTO counter (name, total) VALUES ('BROKEN', NULL)").await?;
                }
                Mode::BreakCommit => {
                    let insert = Statement::from_sql_and_values(
                        tx.get_database_backend(),
                        "INSERT INTO claimed VALUES ($1)",
                        [message.key.clone().into()],
                    );
                    tx.execute_raw(insert).await?;
                }
                Mode::LoseConnection if attempts < 5 => {
                    tx.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await?;
                }
                Mode::Deadlock if attempts < 5 => {
                    let deadlock = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'deadlock_detected'; END $$";
                    tx.execute_unprepared(deadlock).await?;
                }
                Mode::HandledElsewhere => {
                    handle_elsewhere(self.elsewhere.clone().unwrap(), message.id).await;
                    return Err(HandleError::Reject("the test rejects it".to_owned()));
                }
                Mode::Synchronous => {
                    let pragma = Statement::from_string(tx.get_database_backend(), "PRAGMA synchronous");
                    let value: i64 = tx.query_one_raw(pragma).await?.unwrap().try_get_by_index(0)?;
                    tx.execute_unprepared(&format!("INSERT INTO counter VALUES ('{}', {value})", message.key))
                        .await?;
                    continue;
                }
                Mode::Slowish => tokio::time::sleep(Duration::from_millis(10)).await,
                Mode::Slow => tokio::time::sleep(Duration::from_millis(1500)).await,
                Mode::Add
                | Mode::Barred
                | Mode::FailTwice
                | Mode::LoseConnection
                | Mode::Deadlock
                | Mode::Medium
                | Mode::Large => {}
                Mode::Schedule | Mode::ScheduleLater | Mode::Cancel => {
                    outgoing.push(timer(message));
                    continue;
                }
            }
            self.handled.lock().unwrap().push(message.id);
            let size = match message.payload.mode {
                Mode::Medium => 3_000,
                Mode::Large => 70_000,
                _ => 0,
            };
            outgoing.push(add(tx, message, size).await?);
        }
        Ok(outgoing)
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let state = match total_of(db, key).await {
            0 => return Ok(None),
            total => format!("at {total}"),
        };
        Ok(Some(AggregateStatus { state, since: None, blocked_on: Some("more".to_owned()) }))
    }
}

/// Adds one under the message's key, and returns the event.
async fn add<M>(tx: &DatabaseTransaction, message: &Envelope<M>, size: usize) -> Result<Outgoing, DbErr> {
    let add = Statement::from_sql_and_values(
        tx.get_database_backend(),
        "INSERT INTO counter (name, total) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET total = counter.total + 1",
        [message.key.clone().into()],
    );
    tx.execute_raw(add).await?;
    let subject = format!("counter.event.added.{}", message.key);
    let body = format!("{{{}}}", " ".repeat(size)).into_bytes();
    Ok(Outgoing::new(message.cause(), subject, "counter.added.v1", &message.key, None, body))
}

/// Returns the total of a key.
pub(crate) async fn total_of(db: &DatabaseConnection, key: &str) -> i64 {
    let select = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT total FROM counter WHERE name = $1",
        [key.into()],
    );
    db.query_one_raw(select).await.unwrap().map_or(0, |row| row.try_get("", "total").unwrap())
}

/// Records the message as handled, in a transaction of another instance. It waits until this instance's transaction has
/// ended, and commits before this instance records the rejection.
async fn handle_elsewhere(db: DatabaseConnection, id: Uuid) {
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared("LOCK TABLE delivery_issues").await.unwrap();
    tokio::spawn(async move {
        tx.execute_unprepared(&format!("INSERT INTO inbox VALUES ('{id}', 0)")).await.unwrap();
        tx.commit().await.unwrap();
    });
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while db.query_one_raw(Statement::from_string(db.get_database_backend(), waits)).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn failures_of(tx: &DatabaseTransaction, id: Uuid) -> Result<i64, DbErr> {
    let delivery_issue = choreography::delivery_issue::entity::Entity::find_by_id(id).one(tx).await?;
    Ok(delivery_issue.map_or(0, |delivery_issue| delivery_issue.failures))
}

async fn is_allowed(tx: &DatabaseTransaction, key: &str) -> Result<bool, DbErr> {
    let backend = tx.get_database_backend();
    let select = Statement::from_sql_and_values(backend, "SELECT 1 FROM allowed WHERE name = $1", [key.into()]);
    Ok(tx.query_one_raw(select).await?.is_some())
}

/// Schedules a timer of one second or one hour, or cancels it.
fn timer(message: &Envelope<Add>) -> Outgoing {
    let key = &message.key;
    let subject = format!("counter.schedule.ring.{key}");
    let after = |delay| Timing::At {
        time: time::OffsetDateTime::now_utc() + delay,
        target: format!("counter.timer.ring.{key}"),
    };
    let timing = match message.payload.mode {
        Mode::Schedule => after(Duration::from_secs(1)),
        Mode::ScheduleLater => after(Duration::from_secs(3600)),
        _ => Timing::Cancel,
    };
    Outgoing::new(message.cause(), subject, "counter.ring.v1", key, None, b"{}".into()).timed(timing)
}

pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = migration::library();
        migrations.extend(migration::event_store());
        migrations.push(Box::new(CounterTable));
        migrations
    }
}

struct CounterTable;

impl MigrationName for CounterTable {
    fn name(&self) -> &'static str {
        "counter"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CounterTable {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = "CREATE TABLE counter (name text PRIMARY KEY, total bigint NOT NULL)";
        manager.get_connection().execute_unprepared(create).await?;
        let create = "CREATE TABLE allowed (name text PRIMARY KEY)";
        manager.get_connection().execute_unprepared(create).await?;
        let create = "CREATE TABLE claimed (name text REFERENCES allowed (name) DEFERRABLE INITIALLY DEFERRED)";
        manager.get_connection().execute_unprepared(create).await.map(drop)
    }
}
