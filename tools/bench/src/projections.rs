//! A new projection in a running shop: it is built from the complete history under load, killed on its way, and built
//! again as a second version beside the first. At the end each equals a recount from the event store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use choreography::setting::sqlite_url;
use choreography_test::{Program, ProgramSettings};
use contracts::topology::streams;
use demo::{Component, ShopConfig};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};
use serde_json::json;

use crate::options::Setting;
use crate::recount::{NAME, SERVICE, declaration};
use crate::report::{Report, Table};
use crate::stage::{Stage, own_program};
use crate::statistics::rate;
use crate::{drive, paced};

/// How long a projection may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The result of building a version.
struct Built {
    version: u32,
    seconds: Duration,
    kills: u64,
}

/// Builds both versions over a history of `count` orders, with `pace` new orders per second.
///
/// # Errors
///
/// If a projection makes no progress, or its rows differ from a recount.
pub async fn run(
    setting: &Setting,
    count: u64,
    pace: f64,
    kills: u64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    drive::fill(&mut stage, count).await?;
    progress(&format!("{count} orders are final"));
    let user = declaration(&[1, 2]).user(&streams()?)?;
    let password = ShopConfig::password(SERVICE);
    stage.add_user(&user, &password).await?;
    let url = sqlite_url(&stage.data().join(SERVICE));
    let history = Database::connect(order_database(&stage)?).await.context("opening the event store")?;
    let settings = |second: bool| settings(&stage, &url, &password, second);
    let (first, second) = (settings(false)?, settings(true)?);
    let building = async {
        let mut program = Program::start(first)?;
        let first = build(&mut program, &url, &history, 1, kills).await?;
        progress(&format!("version 1 has caught up after {:.1} s", first.seconds.as_secs_f64()));
        program.stop().await?;
        program.change(second);
        program.restart()?;
        let second = build(&mut program, &url, &history, 2, kills).await?;
        progress(&format!("version 2 has caught up after {:.1} s", second.seconds.as_secs_f64()));
        Ok((program, [first, second]))
    };
    let ((mut program, built), paced) = Box::pin(paced::during(&stage, stage.next, pace, building)).await?;
    let table = compare(&url, &history, &built).await?;
    program.stop().await?;
    let mut report = Report::begin("", "");
    let mut load = Table::new("Load meanwhile", &["orders placed", "orders/s"]);
    load.add(vec![json!(paced.placed), json!(pace)]);
    report.tables.extend([table, load]);
    stage.finish().await?;
    Ok(report)
}

fn order_database(stage: &Stage) -> anyhow::Result<String> {
    stage.shop.config().database_url(Component::OrderService).context("order-service has no database")
}

fn settings(stage: &Stage, url: &str, password: &str, second: bool) -> anyhow::Result<ProgramSettings> {
    let variables = [
        ("NATS_URL", stage.shop.config().nats_url()),
        ("NATS_USER", SERVICE.to_owned()),
        ("NATS_PASSWORD", password.to_owned()),
        ("DATABASE_URL", url.to_owned()),
        ("SECOND_VERSION", second.to_string()),
        ("RUST_LOG", "warn".to_owned()),
    ];
    let log = crate::stage::log(&stage.data().join(format!("{SERVICE}-{}.log", 1 + u32::from(second))))?;
    Ok(ProgramSettings {
        name: SERVICE.to_owned(),
        program: own_program()?,
        arguments: vec![SERVICE.to_owned()],
        variables: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        on_line: Arc::new(move |line: &str| log(Component::ProjectionService, line)),
    })
}

/// Waits until a version has caught up; kills the process at equal distances on its way.
async fn build(
    program: &mut Program,
    url: &str,
    history: &DatabaseConnection,
    version: u32,
    kills: u64,
) -> anyhow::Result<Built> {
    let start = Instant::now();
    let expected: i64 = recount(history).await?.values().map(|(events, _)| events).sum();
    for kill in 1..=kills {
        let least = expected * i64::try_from(kill)? / (i64::try_from(kills)? + 1);
        until(url, version, |applied, is_live| applied >= least || is_live).await?;
        program.kill()?;
        program.restart()?;
    }
    until(url, version, |_, is_live| is_live).await?;
    Ok(Built { version, seconds: start.elapsed(), kills })
}

/// Waits for a state of a version: its applied events, and whether it has caught up.
async fn until(url: &str, version: u32, is_reached: impl Fn(i64, bool) -> bool) -> anyhow::Result<()> {
    let (mut last, mut moved) = (-1, Instant::now());
    loop {
        // Before the first start there is no database.
        if let Ok((applied, is_live)) = status(url, version).await {
            if is_reached(applied, is_live) {
                return Ok(());
            }
            if applied != last {
                (last, moved) = (applied, Instant::now());
            }
        }
        if moved.elapsed() > STALL_TIMEOUT {
            bail!("version {version} makes no progress after {last} events");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn status(url: &str, version: u32) -> anyhow::Result<(i64, bool)> {
    anyhow::ensure!(Path::new(url.trim_start_matches("sqlite://").split('?').next().unwrap_or(url)).exists());
    let db = Database::connect(url).await?;
    let select = format!("SELECT applied, state FROM projections WHERE name = '{NAME}' AND version = {version}");
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), select)).await;
    db.close().await?;
    let row = row?.context("the projection is not registered")?;
    Ok((row.try_get("", "applied")?, row.try_get::<String>("", "state")? == "live"))
}

/// The number of events and the last version, by order.
type Counts = BTreeMap<String, (i64, i64)>;

async fn counts(db: &DatabaseConnection, select: &str) -> anyhow::Result<Counts> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), select)).await?;
    let count = |row: sea_orm::QueryResult| {
        Ok((row.try_get("", "order_id")?, (row.try_get("", "events")?, row.try_get("", "version")?)))
    };
    rows.into_iter().map(count).collect()
}

/// Counts the events in the event store.
async fn recount(history: &DatabaseConnection) -> anyhow::Result<Counts> {
    let types = ["placed", "awaiting-stock", "reserved", "confirmed", "cancelled"];
    let types = types.map(|name| format!("'order.{name}.v1'")).join(", ");
    let select = format!(
        "SELECT aggregate_id AS order_id, COUNT(*) AS events, MAX(version) AS version FROM events \
         WHERE message_type IN ({types}) GROUP BY aggregate_id"
    );
    counts(history, &select).await
}

/// Compares each version with a recount, as soon as it has applied the last events.
async fn compare(url: &str, history: &DatabaseConnection, built: &[Built; 2]) -> anyhow::Result<Table> {
    let expected = recount(history).await?;
    let events: i64 = expected.values().map(|(events, _)| events).sum();
    let db = Database::connect(url).await?;
    let columns = ["version", "events", "kills", "seconds to catch up", "events/s", "skipped", "repeated"];
    let mut table = Table::new("A new projection of a running shop", &columns);
    let mut is_equal = true;
    for Built { version, seconds, kills } in built {
        until(url, *version, |applied, _| applied >= events).await?;
        let counted =
            counts(&db, &format!("SELECT order_id, events, version FROM order_counts_v{version}")).await?;
        is_equal &= counted == expected;
        let of = |counts: &Counts, id: &String| counts.get(id).map_or(0, |(events, _)| *events);
        let skipped: i64 = expected.keys().map(|id| (of(&expected, id) - of(&counted, id)).max(0)).sum();
        let repeated: i64 = counted.keys().map(|id| (of(&counted, id) - of(&expected, id)).max(0)).sum();
        table.add(vec![
            json!(version),
            json!(events),
            json!(kills),
            json!(seconds.as_secs_f64()),
            json!(rate(events.unsigned_abs(), *seconds)),
            json!(skipped),
            json!(repeated),
        ]);
    }
    db.close().await?;
    if !is_equal {
        bail!("a projection differs from a recount from the event store:\n{}", table.text());
    }
    Ok(table)
}
