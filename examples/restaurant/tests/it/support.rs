//! Values for tests, and the system on a real nats-server.

pub(crate) use choreography_test::Engine;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use choreography_test::{LocalSystem, TestPostgres, free_port};
use restaurant::ServiceConfig;
use restaurant::declaration::{CATALOGUE_SERVICE, PROJECTION_SERVICE, PROVISIONER, RESERVATION_SERVICE, USERS};
use restaurant::messages::*;
use restaurant::text::DayId;
use restaurant::{reservation, system};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Parses a text.
pub(crate) fn text<T: TryFrom<String, Error = &'static str>>(text: impl Into<String>) -> T {
    let text = text.into();
    T::try_from(text.clone()).unwrap_or_else(|why| panic!("{text:?} {why}"))
}

pub(crate) fn day(restaurant: &str, date: &str) -> DayId {
    text(format!("{restaurant}_{date}"))
}

/// A restaurant whose tables `T1`, `T2`, … have these seats.
pub(crate) fn restaurant_with(id: &str, seats: &[u32], sittings: &[&str]) -> Restaurant {
    let table = |(index, seats): (usize, &u32)| Table { table_id: text(format!("T{}", index + 1)), seats: *seats };
    Restaurant {
        restaurant_id: text(id),
        name: id.to_owned(),
        tables: seats.iter().enumerate().map(table).collect(),
        sittings: sittings.iter().map(|sitting| text(*sitting)).collect(),
    }
}

pub(crate) fn booking(id: &str, sitting: &str, party: u32) -> Booking {
    Booking { reservation_id: text(id), guest_id: text(format!("G_{id}")), sitting: text(sitting), party }
}

/// A folder that is removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("restaurant-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A nats-server with the streams, a database per service, and tasks that run until the end of the test.
pub(crate) struct Bench {
    pub(crate) system: LocalSystem,
    /// The URLs of the services' PostgreSQL databases; without one a service has an SQLite file.
    databases: HashMap<&'static str, String>,
    _folder: Folder,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Bench {
    pub(crate) async fn start(engine: Engine) -> Self {
        let (folder, config) = (Folder::new(), include_str!("../../nats.conf"));
        let system = LocalSystem::start(config, &USERS, folder.path(), (free_port(), free_port())).await.unwrap();
        system::provision(&system.nats(PROVISIONER)).await.unwrap();
        let mut databases = HashMap::new();
        if let Engine::Postgres = engine {
            let server = TestPostgres::shared().await.unwrap();
            for service in [CATALOGUE_SERVICE, RESERVATION_SERVICE, PROJECTION_SERVICE] {
                databases.insert(service, server.create_database().await.unwrap());
            }
        }
        Self { system, databases, _folder: folder, stop: CancellationToken::new(), tasks: Vec::new() }
    }

    pub(crate) fn config(&self, service: &str) -> ServiceConfig {
        let http_address = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let mut options = self.system.service(service);
        if let Some(url) = self.databases.get(service) {
            options.database_url = Some(url.clone());
        }
        ServiceConfig { http_address, service: options }
    }

    /// Starts an instance of reservation-service; all of them have the same database.
    pub(crate) fn reservations(&mut self, confirm_within_seconds: u64) {
        let config = reservation::Config { confirm_within_seconds, common: self.config(RESERVATION_SERVICE) };
        self.run(|stop| reservation::run(config, stop));
    }

    pub(crate) fn run<F>(&mut self, program: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.push(tokio::spawn(program(self.stop.clone())));
    }

    /// Ends all tasks, which must not have failed.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
    }
}

/// Waits until a condition holds, for at most two minutes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let holds = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), holds).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
