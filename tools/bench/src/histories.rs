//! The cost of a message to an event-sourced aggregate, by the length of its history, without and with snapshots.

use std::time::Instant;

use anyhow::Context;
use choreography::envelope::Cause;
use choreography::{Decider, Envelope, Event, EventSourced, Handler, Message, Outgoing, Snapshots, event_store};
use order_service::migration::Migrator;
use sea_orm::{DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::baseline_sql::open;
use crate::chain::Engine;
use crate::report::{Line, Report, Table};
use crate::stage::folder;
use crate::statistics::{median, number};

/// The number of aggregates per length and round.
const AGGREGATES: u64 = 4;
/// The number of events between two snapshots, and of measured messages per aggregate: the average includes the cost of
/// taking one snapshot.
const EVERY: u32 = 20;

/// Units were counted.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "meter", name = "counted", version = 1, key = meter_id, producer = "meter-service")]
struct Counted {
    meter_id: String,
    units: i64,
}

/// A total; with snapshots if `KEPT`.
struct Meter<const KEPT: bool>;

impl<const KEPT: bool> Decider for Meter<KEPT> {
    type Message = Counted;
    type Event = Counted;
    type State = i64;

    const SNAPSHOTS: Option<Snapshots<i64>> = if KEPT { Some(Snapshots::every(EVERY, 1)) } else { None };

    fn decide(&self, _: &i64, message: &Envelope<Counted>) -> Vec<Counted> {
        vec![message.payload.clone()]
    }

    fn evolve(&self, total: i64, event: &Counted) -> i64 {
        total + event.units
    }
}

/// Measures each length in turn.
///
/// # Errors
///
/// If the database refuses a statement.
pub async fn run(
    engine: Engine,
    lengths: &[u64],
    rounds: u64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let data = folder(None)?;
    let (postgres, db) = open::<Migrator>(engine, &data).await?;
    let mut report = Report::begin("events in the history", "µs/message");
    let mut table = Table::new(
        "Histories (medians)",
        &["snapshots", "events in the history", "µs/message", "ratio to the first"],
    );
    for kept in [false, true] {
        let name = if kept { format!("every {EVERY} events") } else { "none".to_owned() };
        let (mut line, mut first) = (Line { name: name.clone(), points: Vec::new() }, None);
        for length in lengths {
            let mut times = Vec::new();
            for round in 0..rounds {
                let ids = fill(&db, *length, &format!("{kept}-{length}-{round}")).await?;
                times.push(if kept {
                    measure(&db, Meter::<true>, &ids).await?
                } else {
                    measure(&db, Meter::<false>, &ids).await?
                });
            }
            let time = median(&times).unwrap_or_default();
            progress(&format!("snapshots: {name}; {length} events: {time:.0} µs/message"));
            let first = *first.get_or_insert(time);
            table.add(vec![json!(name), json!(length), json!(time), json!(time / first)]);
            line.points.push((number(*length), time));
        }
        report.plot.lines.push(line);
    }
    report.tables.push(table);
    db.close().await.context("closing the database")?;
    drop(postgres);
    std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    Ok(report)
}

/// Records histories of a length, and returns the ids of their aggregates.
async fn fill(db: &DatabaseConnection, length: u64, name: &str) -> anyhow::Result<Vec<String>> {
    let ids: Vec<String> = (0..AGGREGATES).map(|n| format!("{name}-{n}")).collect();
    for id in &ids {
        let mut events = Vec::new();
        for version in 1..=length {
            let cause = Uuid::now_v7();
            let cause = Cause { id: cause, correlation_id: cause, trace_parent: None, auth: None };
            let event = Counted { meter_id: id.clone(), units: 1 };
            events.push(Outgoing::of(cause, &event, Some(i64::try_from(version)?))?);
        }
        let tx = db.begin().await?;
        event_store::append(&tx, &events, 0).await?;
        tx.commit().await?;
    }
    Ok(ids)
}

/// Returns the time per message, in microseconds, each in a transaction of its own. The first message of each aggregate
/// is not measured: with snapshots, it takes the first one.
async fn measure<D>(db: &DatabaseConnection, decider: D, ids: &[String]) -> anyhow::Result<f64>
where
    D: Decider<Message = Counted>,
{
    let (handler, mut begun) = (EventSourced(decider), Instant::now());
    for turn in 0..=EVERY {
        if turn == 1 {
            begun = Instant::now();
        }
        for id in ids {
            let message = message(id);
            let tx = db.begin().await?;
            handler.handle(&tx, &[&message]).await?;
            tx.commit().await?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / (f64::from(EVERY) * number(AGGREGATES)))
}

fn message(id: &str) -> Envelope<Counted> {
    let message_id = Uuid::now_v7();
    Envelope {
        id: message_id,
        message_type: Counted::TYPE.to_owned(),
        source: "/bench".to_owned(),
        key: id.to_owned(),
        time: OffsetDateTime::now_utc(),
        correlation_id: message_id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: Counted { meter_id: id.to_owned(), units: 1 },
    }
}
