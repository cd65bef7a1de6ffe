//! Metrics of database size and free disk space, and the warning about a nearly full disk.

use choreography::ServiceOptions;
use choreography::storage::StorageOptions;

use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually};

on_both_databases!(a_service_warns_before_its_disk_is_full_and_stays_ready,);

async fn a_service_warns_before_its_disk_is_full_and_stays_ready(engine: Engine) {
    let bench = Bench::new(engine).await;
    // More than any disk has.
    let storage = StorageOptions { min_free_disk_bytes: 1 << 60 };
    let running = bench.launch(&ServiceOptions { storage, ..bench.options() }).await;
    let expected = match engine {
        Engine::Sqlite => "the disk of the database is nearly full: ",
        Engine::Postgres => "PostgreSQL does not report the free space of its disk",
    };
    eventually("the disk is in readiness", || async {
        let (ready, text) = running.readiness().await;
        ready && text.contains(expected)
    })
    .await;
    let metrics = running.metrics().await;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("messaging_database_bytes") >= 4096.0, "{metrics}");
    // The services of both engines share the metrics of this process.
    let free = value("messaging_disk_free_bytes");
    assert!(free > 0.0 || free.is_nan(), "{metrics}");
    running.stop().await.0.unwrap();
}
