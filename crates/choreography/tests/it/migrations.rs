//! The first start of a service and its upgrades: killed, concurrent, and with few privileges.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use choreography::{database, migration};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use uuid::Uuid;

use crate::counter::Migrator;
use crate::support::{Bench, Engine};

/// The environment variable with the URL for [`opens_a_database`].
const URL: &str = "MIGRATIONS_TEST_URL";

/// The migrations of a release before the table of pending batches.
struct Earlier;

impl MigratorTrait for Earlier {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = migration::library();
        migrations.truncate(2);
        migrations
    }
}

/// Not a test: the process that other tests kill.
#[tokio::test]
async fn opens_a_database() {
    if let Ok(url) = std::env::var(URL) {
        database::open::<Migrator>(&url).await.unwrap();
    }
}

/// Opens the database in a separate process, and kills it when its write-ahead log is longer than `limit` bytes.
fn open_and_kill(folder: &Folder, url: &str, limit: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "migrations::opens_a_database"])
        .env(URL, url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = folder.0.join("service.sqlite-wal");
    while child.try_wait().unwrap().is_none() {
        if std::fs::metadata(&log).is_ok_and(|log| log.len() > limit) {
            child.kill().unwrap();
        }
        std::thread::yield_now();
    }
}

fn file() -> (Folder, String) {
    let folder = Folder::new();
    let url = format!("sqlite://{}?mode=rwc", folder.0.join("service.sqlite").display());
    (folder, url)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("messaging-migrations-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn count(db: &DatabaseConnection, table: &str) -> i64 {
    let select = Statement::from_string(db.get_database_backend(), format!("SELECT count(*) AS n FROM {table}"));
    db.query_one_raw(select).await.unwrap().unwrap().try_get("", "n").unwrap()
}

#[tokio::test]
async fn a_first_start_killed_at_any_moment_leaves_a_database_that_opens() {
    for round in 0..25 {
        let (folder, url) = file();
        open_and_kill(&folder, &url, round * 8192);
        let db = database::open::<Migrator>(&url).await.unwrap();
        assert_eq!(count(&db, "counter").await, 0);
        db.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_upgrade_killed_at_any_moment_keeps_the_rows_and_opens() {
    for round in 0..15 {
        let (folder, url) = file();
        let db = database::open::<Earlier>(&url).await.unwrap();
        for published in ["NULL", "1"] {
            let row = Uuid::now_v7().simple().to_string();
            let insert = format!("INSERT INTO outbox VALUES (X'{row}', X'{row}', 's', '[]', X'00', {published})");
            db.execute_unprepared(&insert).await.unwrap();
        }
        db.close().await.unwrap();
        open_and_kill(&folder, &url, round * 8192);
        let db = database::open::<Migrator>(&url).await.unwrap();
        assert_eq!((count(&db, "outbox").await, count(&db, "outbox_pending").await), (2, 1));
        db.close().await.unwrap();
    }
}

#[tokio::test]
async fn instances_that_start_together_on_an_empty_database_all_start() {
    let postgres = choreography_test::TestPostgres::shared().await.unwrap();
    for round in 0..6 {
        let (_folder, file) = file();
        let url = if round % 2 == 0 { postgres.create_database().await.unwrap() } else { file };
        let starts = (0..4).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { database::open::<Migrator>(&url).await })
        });
        for started in futures::future::join_all(starts).await {
            started.unwrap().unwrap().close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_role_without_ddl_rights_starts_when_no_migration_is_pending() {
    let bench = Bench::new(Engine::Postgres).await;
    let role = format!("restricted_{}", Uuid::now_v7().simple());
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    bench.db.execute_unprepared(&grants).await.unwrap();
    let url = bench.url.replace("postgres@", &format!("{role}@"));
    database::open::<Migrator>(&url).await.unwrap().close().await.unwrap();

    bench.db.execute_unprepared("DELETE FROM seaql_migrations WHERE version = 'counter'").await.unwrap();
    let error = format!("{:#}", database::open::<Migrator>(&url).await.unwrap_err());
    assert!(error.contains("permission denied") && error.contains("nothing was changed"), "{error}");
    bench.db.execute_unprepared(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn a_database_from_before_the_first_release_is_rejected_unchanged() {
    let postgres = choreography_test::TestPostgres::shared().await.unwrap();
    let (_folder, file) = file();
    for url in [file, postgres.create_database().await.unwrap()] {
        let db = database::open::<Earlier>(&url).await.unwrap();
        let earlier = "INSERT INTO seaql_migrations VALUES ('messaging_0003_mishaps', 1)";
        db.execute_unprepared(earlier).await.unwrap();
        let error = format!("{:#}", database::open::<Migrator>(&url).await.unwrap_err());
        assert!(error.contains("start with an empty database"), "{error}");
        assert!(
            count(&db, "inbox").await == 0 && db.execute_unprepared("SELECT 1 FROM outbox_pending").await.is_err()
        );
        db.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_old_instance_starts_on_the_database_of_a_newer_one() {
    let (_folder, url) = file();
    database::open::<Migrator>(&url).await.unwrap().close().await.unwrap();
    database::open::<Earlier>(&url).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn the_error_about_a_half_migrated_database_of_an_earlier_version_has_the_next_step() {
    let (_folder, url) = file();
    let db = Database::connect(&url).await.unwrap();
    db.execute_unprepared("CREATE TABLE inbox (message_id blob)").await.unwrap();
    db.close().await.unwrap();
    let error = format!("{:#}", database::open::<Migrator>(&url).await.unwrap_err());
    assert!(error.contains("seaql_migrations does not name") && error.contains("delete it"), "{error}");
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    struct Failing;
    impl MigratorTrait for Failing {
        fn migrations() -> Vec<Box<dyn MigrationTrait>> {
            let mut migrations = Migrator::migrations();
            migrations.push(Box::new(Fails));
            migrations
        }
    }
    struct Fails;
    impl sea_orm_migration::MigrationName for Fails {
        fn name(&self) -> &'static str {
            "fails"
        }
    }
    #[async_trait::async_trait]
    impl MigrationTrait for Fails {
        async fn up(&self, manager: &sea_orm_migration::SchemaManager) -> Result<(), DbErr> {
            manager.get_connection().execute_unprepared("CREATE TABLE half (id integer)").await?;
            Err(DbErr::Custom("no".to_owned()))
        }
    }
    let (_folder, file) = file();
    let postgres = choreography_test::TestPostgres::shared().await.unwrap().create_database().await.unwrap();
    for url in [file, postgres] {
        let error = format!("{:#}", database::open::<Failing>(&url).await.unwrap_err());
        assert!(error.contains("nothing was changed"), "{error}");
        let db = Database::connect(&url).await.unwrap();
        let inbox = db.execute_unprepared("SELECT * FROM inbox").await;
        assert!(inbox.is_err(), "the first migration was kept");
        db.close().await.unwrap();
    }
}
