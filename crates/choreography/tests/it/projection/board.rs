//! A producer with an event store, and a service with projections of its events.

use std::time::Duration;

use async_nats::HeaderMap;
use choreography::database::Databases;
use choreography::envelope::{Attributes, unix_millis};
use choreography::projection::admin::{self, Action, Request, State, Status};
use choreography::{
    Cause, Envelope, Event, HandleError, Outgoing, Projection, Publish, Service, ServiceBuilder, ServiceOptions,
    Topology, database, event_store, history, migration, query, statement,
};
use choreography_test::{TestPostgres, free_port};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement};
use sea_orm_migration::prelude::*;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::{Bench, Engine, Running, TOPOLOGY, eventually, run};

/// An amount was added to a counter.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "counter", name = "added", version = 1, key = name, producer = "counter-service")]
pub(crate) struct Added {
    pub(crate) name: String,
    pub(crate) amount: i64,
}

/// Declares a projection of totals; it fails while the table `broken` has a row with the name of a counter.
macro_rules! totals {
    ($type:ident, $version:literal, $stores:expr) => {
        #[derive(Clone)]
        pub(crate) struct $type;

        impl Projection for $type {
            const NAME: &'static str = "totals";
            const VERSION: u32 = $version;
            const TABLES: &'static [&'static str] = &[concat!("totals_v", $version)];
            const SCHEMA: &'static [&'static str] = &[concat!(
                "CREATE TABLE totals_v",
                $version,
                " (name text PRIMARY KEY, total bigint NOT NULL, events bigint NOT NULL)"
            )];
            const EVENT_STORES: &'static [&'static str] = $stores;
            type Messages = Added;

            async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<Added>]) -> Result<(), HandleError> {
                let add = concat!(
                    "INSERT INTO totals_v",
                    $version,
                    " VALUES ($1, $2, 1) ON CONFLICT (name) DO UPDATE \
                     SET total = totals_v",
                    $version,
                    ".total + excluded.total, events = totals_v",
                    $version,
                    ".events + 1"
                );
                for added in batch {
                    if count(tx, &format!("SELECT count(*) FROM broken WHERE name = '{}'", added.key)).await > 0 {
                        return Err(HandleError::Reject(format!("{} is broken", added.key)));
                    }
                    statement::execute(tx, add, [added.key.clone().into(), added.payload.amount.into()]).await?;
                }
                Ok(())
            }
        }
    };
}

totals!(Totals, 1, &["counter"]);
totals!(NextTotals, 2, &["counter"]);
totals!(StreamTotals, 3, &[]);

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = migration::library();
        migrations.extend(migration::projections());
        migrations.push(migration::sql("broken", "CREATE TABLE broken (name text)"));
        migrations
    }
}

async fn count(connection: &impl ConnectionTrait, sql: &str) -> i64 {
    let select = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(select).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// A nats-server, the event store of the producer, and the database of the projections.
pub(crate) struct Board {
    pub(crate) bench: Bench,
    url: String,
    pub(crate) db: DatabaseConnection,
    /// Serves the event store.
    _producer: Running,
}

impl Board {
    pub(crate) async fn new(engine: Engine) -> Self {
        let bench = Bench::new(engine).await;
        let url = match engine {
            Engine::Postgres => TestPostgres::shared().await.unwrap().create_database().await.unwrap(),
            Engine::Sqlite => bench.url.replace(".sqlite", "-board.sqlite"),
        };
        let db = database::open::<Migrator>(&url).await.unwrap();
        let databases = Databases::open::<crate::counter::Migrator>(&bench.url).await.unwrap();
        let producer = bench.builder(bench.counter()).queries([history::endpoint("counter", &bench.db)]);
        let producer = run(producer.database(databases).build().unwrap(), &bench.options());
        eventually("the producer is ready", || async { producer.readiness().await.0 }).await;
        Self { bench, url, db, _producer: producer }
    }

    pub(crate) async fn start<P: Projection>(&self, projection: P) -> Running<()> {
        self.launch(self.service().await.projection(projection)).await
    }

    pub(crate) async fn service(&self) -> ServiceBuilder<()> {
        Service::builder("board-service")
            .topology(Topology::parse(TOPOLOGY).unwrap())
            .database(Databases::open::<Migrator>(&self.url).await.unwrap())
            .http(format!("127.0.0.1:{}", free_port()).parse().unwrap())
    }

    pub(crate) async fn launch(&self, service: ServiceBuilder<()>) -> Running<()> {
        // As if the lease of a killed process had ended.
        self.db.execute_unprepared("UPDATE projections SET lease_until = 0").await.unwrap();
        let options = ServiceOptions { database_url: Some(self.url.clone()), ..self.bench.options() };
        run(service.build().unwrap(), &options)
    }

    /// Records events of counters: `per_counter` each, of one.
    pub(crate) async fn record_all(&self, counters: usize, per_counter: i64) {
        let of = |counter: usize| (1..=per_counter).map(move |version| outgoing(&format!("C{counter}"), version));
        let events: Vec<_> = (0..counters).flat_map(of).collect();
        for chunk in events.chunks(200) {
            event_store::append(&self.bench.db, chunk, unix_millis(OffsetDateTime::now_utc())).await.unwrap();
        }
    }

    pub(crate) async fn record(&self, name: &str, version: i64) {
        event_store::append(&self.bench.db, &[outgoing(name, version)], 0).await.unwrap();
    }

    /// Publishes the event of a version; without `Nats-Msg-Id`, so that the stream stores it every time.
    pub(crate) async fn publish(&self, name: &str, version: i64) {
        self.publish_as(Uuid::now_v7(), name, version).await;
    }

    pub(crate) async fn publish_as(&self, id: Uuid, name: &str, version: i64) {
        self.publish_with(id, name, Some(version), None).await;
    }

    /// Publishes an event whose body cannot be read.
    pub(crate) async fn publish_unreadable(&self, name: &str, version: Option<i64>) {
        self.publish_with(Uuid::now_v7(), name, version, Some(b"{}".to_vec())).await;
    }

    async fn publish_with(&self, id: Uuid, name: &str, version: Option<i64>, body: Option<Vec<u8>>) {
        let event = Added { name: name.to_owned(), amount: 1 };
        let body = body.unwrap_or_else(|| serde_json::to_vec(&event).unwrap());
        let attributes = Attributes {
            id,
            message_type: event.message_type(),
            source: "/counter-service",
            key: name,
            time: OffsetDateTime::now_utc(),
            correlation_id: id,
            causation_id: None,
            aggregate_version: version,
            trace_parent: None,
            auth: None,
        };
        let mut headers = HeaderMap::new();
        for (header, value) in attributes.headers().into_iter().filter(|(header, _)| header != "Nats-Msg-Id") {
            headers.insert(&*header, value.as_str());
        }
        self.bench.send_raw(&event.subject(), headers, body).await;
    }

    pub(crate) async fn both(&self, name: &str, version: i64) {
        self.record(name, version).await;
        self.publish(name, version).await;
    }

    /// Sends a request to the service with the projections.
    pub(crate) async fn ask(&self, action: Action, version: u32) -> Result<Vec<Status>, query::AskError> {
        let request = Request { action, name: "totals".to_owned(), version };
        let body = serde_json::to_vec(&request).unwrap();
        let client = self.bench.js.client();
        let reply =
            query::ask(&client, admin::subject("board-service"), body.into(), Duration::from_secs(5)).await?;
        Ok(serde_json::from_slice(&reply).unwrap())
    }

    /// Returns the status of a version; `None` if the service does not run, or does not have it.
    pub(crate) async fn status(&self, version: u32) -> Option<Status> {
        let statuses = self.ask(Action::List, 0).await.ok()?;
        statuses.into_iter().find(|status| status.version == version)
    }

    pub(crate) async fn is_active(&self, version: u32) -> bool {
        self.status(version).await.unwrap().is_active
    }

    pub(crate) async fn is(&self, version: u32, state: State) {
        eventually(&format!("version {version} is {state:?}"), || async {
            self.status(version).await.is_some_and(|status| status.state == state)
        })
        .await;
    }

    /// Returns the number that a statement selects.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        count(&self.db, sql).await
    }

    /// Waits until a version has caught up and contains so many counters and events, each once.
    pub(crate) async fn contains(&self, version: u32, counters: i64, events: i64) {
        let table = format!("totals_v{version}");
        let expected = (counters, events, events);
        let found = || async {
            let counters = count(&self.db, &format!("SELECT count(*) FROM {table}")).await;
            let sum =
                |column: &'static str| format!("SELECT CAST(COALESCE(sum({column}), 0) AS bigint) FROM {table}");
            (counters, count(&self.db, &sum("events")).await, count(&self.db, &sum("total")).await)
        };
        self.is(version, State::Live).await;
        eventually(&format!("{table} contains {expected:?}"), || async { found().await.1 >= events }).await;
        assert_eq!(found().await, expected, "{table}: counters, events, and their sum");
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(file) = self.url.strip_prefix("sqlite://").and_then(|url| url.strip_suffix("?mode=rwc")) {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{file}{suffix}"));
            }
        }
    }
}

fn outgoing(name: &str, version: i64) -> Outgoing {
    let event = Added { name: name.to_owned(), amount: 1 };
    let cause = Cause { id: Uuid::now_v7(), correlation_id: Uuid::now_v7(), trace_parent: None, auth: None };
    Outgoing::of(cause, &event, Some(version)).unwrap()
}
