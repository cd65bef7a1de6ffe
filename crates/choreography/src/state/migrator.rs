//! Migrates a service's tables: all or nothing, by one instance, within a time limit.
//!
//! All pending migrations run in one transaction, also on SQLite: a process that is killed halfway leaves the database
//! unchanged. Instances that start together take turns, and the later ones find nothing to do. If nothing is pending,
//! nothing is written, so that a role without rights on the schema can start a service.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail};
use sea_orm::sea_query::Query;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode,
    SqlxError, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigratorTrait, SchemaManager, seaql_migrations};

/// The time limit of the migrations, including the wait for another instance.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The key of the lock that serializes migrations, in the service's database.
const LOCK: i64 = 0x6d69_6772_6174_6521;
/// SQLite's result code for a database that another connection writes to.
const BUSY: &str = "5";

/// A migration of databases from before the first release, which are not migrated: their tables have other names.
const RETIRED: &str = "messaging_0003_mishaps";

/// Runs the pending migrations of a service on its database; errors refer to it as `name`.
///
/// # Errors
///
/// If a migration fails, or all of them take longer than 10 minutes. Then the database is unchanged.
pub(crate) async fn migrate<M: MigratorTrait>(db: &DatabaseConnection, name: &str) -> anyhow::Result<()> {
    let applied = applied::<M>(db).await.with_context(|| format!("reading which migrations {name} has had"))?;
    if applied.contains(RETIRED) {
        bail!(
            "{name} was written before the first release, and its tables have other names: it cannot be brought up to \
             date; nothing was changed: start with an empty database, or with the program that wrote it"
        );
    }
    let migrating = async {
        if M::migrations().iter().all(|migration| applied.contains(migration.name())) {
            return Ok(());
        }
        let tx = begin_alone(db).await?;
        M::up(&tx, None).await?;
        tx.commit().await
    };
    match tokio::time::timeout(TIMEOUT, migrating).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.to_string().contains("already exists") => Err(error).with_context(|| {
            format!(
                "{name} has a table that seaql_migrations does not name: a first start of an earlier version was killed \
                 halfway, or the database belongs to another program; if it holds no data yet, delete it and start \
                 again, otherwise restore a backup"
            )
        }),
        Ok(Err(error)) => Err(error).with_context(|| {
            format!("bringing the tables of {name} up to date; nothing was changed, a later start tries again")
        }),
        Err(_) => bail!(
            "bringing the tables of {name} up to date took longer than {} s; nothing was changed: look for a \
             transaction that holds locks there, then start again",
            TIMEOUT.as_secs()
        ),
    }
}

/// Returns the applied migrations. Writes nothing. Migrations of a newer release, unknown to this one, are allowed: old
/// and new instances run side by side.
async fn applied<M: MigratorTrait>(db: &DatabaseConnection) -> Result<HashSet<String>, DbErr> {
    let table = M::migration_table_name();
    let mut applied = HashSet::new();
    if SchemaManager::new(db).has_table(table.to_string()).await? {
        let select = Query::select().column(seaql_migrations::Column::Version).from(table).to_owned();
        for row in db.query_all(&select).await? {
            applied.insert(row.try_get::<String>("", "version")?);
        }
    }
    Ok(applied)
}

/// Begins a transaction that excludes the migrations of other instances.
async fn begin_alone(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        let tx = db.begin().await?;
        let limit = TIMEOUT.as_millis();
        // Waiting for the lock may take as long as another instance's migrations; waiting for a table must be short,
        // since other sessions queue up.
        tx.execute_unprepared(&format!("SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}"))
            .await?;
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        tx.execute_unprepared("SET LOCAL lock_timeout = 30000").await?;
        return Ok(tx);
    }
    loop {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        match db.begin_with_options(immediate).await {
            // SQLite itself has already waited for some seconds.
            Err(error) if is_busy(&error) => {}
            begun => return begun,
        }
    }
}

fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return false;
    };
    matches!(error.as_ref(), SqlxError::Database(error) if error.code().is_some_and(|code| code == BUSY))
}
