//! Faults of PostgreSQL that only its own superuser can cause: paused sessions, read-only databases.

use std::time::Duration;

use anyhow::{Context, bail};
use choreography_test::PostgresServer;
use demo::Component;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

/// The number of attempts to find a moment inside a transaction.
const MAX_ATTEMPTS: usize = 200;
/// How long a transaction must stay open to belong to a paused process.
const MIN_OPEN: Duration = Duration::from_millis(40);

/// Returns the name of the database of a service.
pub(super) fn database_name(component: Component) -> String {
    component.name().replace('-', "_")
}

async fn administrator(server: &PostgresServer) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(server.url("postgres"));
    options.max_connections(1).acquire_timeout(Duration::from_secs(5)).sqlx_logging(false);
    Database::connect(options).await.context("connecting to PostgreSQL as its superuser")
}

async fn sessions(admin: &DatabaseConnection, component: Component, states: &str) -> anyhow::Result<Vec<i32>> {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND state IN ({states}) ORDER BY xact_start",
        database_name(component)
    );
    let rows = admin.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    rows.iter().map(|row| Ok(row.try_get("", "pid")?)).collect()
}

/// Pauses a process at a moment when it is inside a transaction.
///
/// # Errors
///
/// If no such moment is found; then the process continues.
pub(super) async fn pause_inside_transaction(
    server: &PostgresServer,
    component: Component,
    process: u32,
) -> anyhow::Result<()> {
    let admin = administrator(server).await?;
    let process = Pid::from_raw(process.cast_signed());
    for _ in 0..MAX_ATTEMPTS {
        signal::kill(process, Signal::SIGSTOP)?;
        let open = sessions(&admin, component, "'idle in transaction'").await?;
        if !open.is_empty() {
            // Transactions of the other instance have ended by then.
            tokio::time::sleep(MIN_OPEN).await;
            let still_open = sessions(&admin, component, "'idle in transaction'").await?;
            if open.iter().any(|session| still_open.contains(session)) {
                return Ok(());
            }
        }
        signal::kill(process, Signal::SIGCONT)?;
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    bail!("{component} has no transaction open at any attempt")
}

/// Pauses a session of a service, one inside a transaction if there is one. Returns its process id.
///
/// # Errors
///
/// If the service has no session.
pub(super) async fn pause_session(server: &PostgresServer, component: Component) -> anyhow::Result<i32> {
    let admin = administrator(server).await?;
    for attempt in 0..MAX_ATTEMPTS {
        let states = if attempt + 1 < MAX_ATTEMPTS { "'active', 'idle in transaction'" } else { "'idle'" };
        if let Some(session) = sessions(&admin, component, states).await?.first() {
            signal::kill(Pid::from_raw(*session), Signal::SIGSTOP)?;
            return Ok(*session);
        }
    }
    bail!("{component} has no session")
}

/// Resumes a paused session; does nothing if it is gone.
pub(super) fn resume_session(session: i32) {
    let _ = signal::kill(Pid::from_raw(session), Signal::SIGCONT);
}

/// Makes the database of a service read-only for new sessions and ends the present ones, or makes it writable again.
/// Sessions that were opened meanwhile stay read-only, as after a fail-over.
///
/// # Errors
///
/// If PostgreSQL refuses.
pub(super) async fn set_read_only(
    server: &PostgresServer,
    component: Component,
    read_only: bool,
) -> anyhow::Result<()> {
    let admin = administrator(server).await?;
    let name = database_name(component);
    if !read_only {
        admin.execute_unprepared(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await?;
        return Ok(());
    }
    admin.execute_unprepared(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await?;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.execute_unprepared(&end).await?;
    Ok(())
}
