//! Republishing: a service publishes the messages of its retained outbox again, because a stream has lost them.
//!
//! Each service serves `admin.<service>.republish`: one request publishes one batch after a cursor, in the order of
//! writing, and returns the next cursor. So a service keeps no state of a stream restore: the caller can repeat it,
//! stop it, and continue it from any cursor, and sets its pace.
//!
//! Messages keep their ids: a stream that still has one drops it within its duplicate window, and later the inbox of a
//! consumer that handled it does. They have the header [`REPUBLISHED`], so that a consumer whose inbox may have
//! forgotten them dead-letters them ([`Reason::DedupWindowExpired`](crate::outbound::dead_letter::Reason)) instead of handling
//! them twice.
//!
//! A purged stream drops them as well, although it no longer has them; then they get another `Nats-Msg-Id`.
//!
//! Not republished are timers that were cancelled, replaced, or delivered, and dead letters that were redriven.
//! Messages written after the stream restore began are left to the relay.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::broker::clock;
use crate::broker::direct::Stored;
use crate::broker::topology::subject_matches;
use crate::inbound::inbox;
use crate::inbound::query::{Endpoint, Query, QueryError};
use crate::outbound::dead_letter::DeadLetter;
use crate::outbound::outbox::entity::{Column, Entity};
use crate::outbound::outbox::{self, OutboxRow};
use crate::state::delivery_issue;
use crate::state::statement;
use crate::wire::envelope::{REPUBLISHED, ROLLUP, SCHEDULE, from_unix_millis, rfc3339};

/// The number of messages per batch.
const BATCH: u64 = 256;
/// The time limit to read, compare, and publish one batch.
const REPUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum number of patterns per request.
const MAX_SUBJECTS: usize = 64;

/// Returns the subject on which a service republishes its messages.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.republish")
}

/// The messages to republish.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The subjects that the stream stores, with the wildcards of NATS.
    pub subjects: Vec<String>,
    /// The end of the previous batch; `None` for the first.
    pub after: Option<Uuid>,
    /// Only messages created since then, in milliseconds since 1970.
    pub since: Option<i64>,
    /// The end of the stream restore, as returned with the first batch; `None` for the first batch.
    #[serde(default)]
    pub until: Option<Uuid>,
    /// The sequence from which on the stream lacks nothing. A purged stream still knows the ids of messages that it no
    /// longer has: known messages with an earlier sequence are published under another id.
    #[serde(default)]
    pub intact_from: u64,
}

/// The result of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Republished {
    /// Messages that the stream stored.
    pub published: u64,
    /// Messages that the stream already had.
    pub known: u64,
    /// Messages that are not republished: settled timers, and dead letters that were redriven.
    pub settled: u64,
    /// The cursor of the next batch; `None` if this was the last.
    pub next: Option<Uuid>,
    /// The end of the stream restore: the last row when it began. Not a time, since a clock may have been ahead.
    pub until: Option<Uuid>,
    /// When the last message of the batch was created, in milliseconds since 1970.
    pub reached: Option<i64>,
}

/// Creates the republish endpoint.
pub(crate) fn endpoint(db: DatabaseConnection, js: jetstream::Context, service: &'static str) -> Endpoint {
    Endpoint::new("republish", subject(service), move |query| {
        let (db, js) = (db.clone(), js.clone());
        async move { reply(&db, &js, service, query).await }
    })
    .within(REPUBLISH_TIMEOUT)
}

async fn reply(
    db: &DatabaseConnection,
    js: &jetstream::Context,
    service: &str,
    query: Query,
) -> Result<Republished, QueryError> {
    let request: Request =
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?;
    if request.subjects.is_empty() || request.subjects.len() > MAX_SUBJECTS {
        return Err(QueryError::Invalid(format!("subjects must be 1 to {MAX_SUBJECTS} patterns")));
    }
    let until = match request.until {
        Some(until) => Some(until),
        None => last(db).await?,
    };
    let rows = load(db, &request, until).await?;
    let full = rows.len() as u64 == BATCH;
    let end = rows.last().map(|row| row.row_id);
    let read = rows.len() as u64;
    let rows = unsettled(db, service, &request.subjects, rows).await?;
    let (published, known) = publish(js, &rows, request.intact_from).await.map_err(QueryError::Unavailable)?;
    tracing::info!(published, known, "messages were republished for a stream restore");
    Ok(Republished {
        published,
        known,
        settled: read - rows.len() as u64,
        next: end.filter(|_| full),
        until,
        reached: end.map(outbox::written_at),
    })
}

/// Returns the row that was written last.
async fn last(db: &DatabaseConnection) -> Result<Option<Uuid>, DbErr> {
    let last = Entity::find().select_only().column(Column::RowId).order_by_desc(Column::RowId);
    last.into_tuple().one(db).await
}

/// Returns the next rows, in the order of writing.
async fn load(db: &DatabaseConnection, request: &Request, until: Option<Uuid>) -> Result<Vec<OutboxRow>, DbErr> {
    let mut wanted = Condition::any();
    for pattern in &request.subjects {
        wanted = wanted.add(Column::Subject.like(pattern.replace(['*', '>'], "%")));
    }
    let mut select = Entity::find().filter(wanted).order_by_asc(Column::RowId).limit(BATCH);
    if let Some(until) = until {
        select = select.filter(Column::RowId.lte(until));
    }
    if let Some(after) = request.after {
        select = select.filter(Column::RowId.gt(after));
    }
    if let Some(since) = request.since {
        select = select.filter(Column::RowId.gte(outbox::first_row_id(from_unix_millis(since))));
    }
    let read = |model: outbox::entity::Model| OutboxRow::from_model(model, Uuid::nil());
    select.all(db).await?.into_iter().map(read).collect()
}

/// Leaves out settled messages, which must not take effect again.
async fn unsettled(
    db: &DatabaseConnection,
    service: &str,
    subjects: &[String],
    rows: Vec<OutboxRow>,
) -> Result<Vec<OutboxRow>, DbErr> {
    let timers: Vec<&OutboxRow> = rows.iter().filter(|row| is_timed(row)).collect();
    let ids: Vec<Uuid> = timers.iter().map(|row| row.message_id).collect();
    let delivered = statement::select_in::<inbox::entity::Entity, _>(db, inbox::entity::Column::MessageId, &ids);
    let delivered: HashSet<Uuid> = delivered.await?.into_iter().map(|row| row.message_id).collect();
    let latest = latest(db, &timers).await?;

    let dead_letter_ids: HashMap<Uuid, Uuid> =
        rows.iter().filter_map(|row| Some((row.row_id, dead_letter_id(row, service)?))).collect();
    let redriven = delivery_issue::redriven(db, &dead_letter_ids.values().copied().collect::<Vec<_>>()).await?;
    let is_settled = |row: &OutboxRow| {
        // The database's patterns match more than those of NATS.
        if !subjects.iter().any(|pattern| subject_matches(pattern, &row.subject)) {
            return true;
        }
        if is_timed(row) {
            let replaced = latest.get(&row.subject).is_some_and(|latest| *latest != row.row_id);
            return replaced || has(row, ROLLUP) || delivered.contains(&row.message_id);
        }
        dead_letter_ids.get(&row.row_id).is_some_and(|id| redriven.contains(id))
    };
    Ok(rows.into_iter().filter(|row| !is_settled(row)).collect())
}

/// Returns the last row on each subject of a timer.
async fn latest(db: &DatabaseConnection, timers: &[&OutboxRow]) -> Result<HashMap<String, Uuid>, DbErr> {
    let Some(first) = timers.iter().map(|row| row.row_id).min() else { return Ok(HashMap::new()) };
    let subjects: Vec<String> = timers.iter().map(|row| row.subject.clone()).collect();
    let mut latest = HashMap::new();
    for chunk in statement::padded_chunks(&subjects) {
        let rows: Vec<(String, Uuid)> = Entity::find()
            .select_only()
            .columns([Column::Subject, Column::RowId])
            .filter(Expr::col(Column::RowId).gte(first))
            .filter(Column::Subject.is_in(chunk))
            .order_by_asc(Column::RowId)
            .into_tuple()
            .all(db)
            .await?;
        latest.extend(rows);
    }
    Ok(latest)
}

/// Returns the id under which a dead letter's message was dead-lettered; `None` if the row is not a dead letter.
fn dead_letter_id(row: &OutboxRow, service: &str) -> Option<Uuid> {
    let stored = Stored {
        subject: row.subject.clone(),
        sequence: 0,
        time: OffsetDateTime::UNIX_EPOCH,
        headers: row.header_map(),
        body: row.body.clone(),
    };
    row.subject
        .starts_with("dead-letter.")
        .then(|| DeadLetter::read(stored, service))?
        .map(|dead_letter| dead_letter.inbox_id())
}

fn is_timed(row: &OutboxRow) -> bool {
    has(row, SCHEDULE) || has(row, ROLLUP)
}

fn has(row: &OutboxRow, header: &str) -> bool {
    row.headers.iter().any(|(name, _)| name == header)
}

/// Publishes rows in order and waits until the stream has all of them; returns the number of new and of known messages.
async fn publish(js: &jetstream::Context, rows: &[OutboxRow], intact_from: u64) -> anyhow::Result<(u64, u64)> {
    let now = rfc3339(clock::now());
    let rows: Vec<&OutboxRow> = rows.iter().collect();
    let (mut published, known) = send(js, &rows, &now, None).await?;
    let (there, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, sequence)| *sequence >= intact_from);
    let gone: Vec<&OutboxRow> = gone.into_iter().map(|(row, _)| row).collect();
    // The same loss yields the same id: repeating the batch adds nothing.
    let (again, known) = send(js, &gone, &now, Some(intact_from)).await?;
    published += again;
    Ok((published, (there.len() + known.len()) as u64))
}

/// Publishes rows in order; returns the number of new messages, and the known rows with their sequences.
async fn send<'a>(
    js: &jetstream::Context,
    rows: &[&'a OutboxRow],
    now: &str,
    loss: Option<u64>,
) -> anyhow::Result<(u64, Vec<(&'a OutboxRow, u64)>)> {
    let mut acknowledgements = Vec::with_capacity(rows.len());
    for row in rows {
        let mut headers = row.header_map();
        headers.insert(REPUBLISHED, now);
        if let Some(loss) = loss {
            headers.insert(NATS_MESSAGE_ID, format!("{}-{loss}", row.message_id));
        }
        let message = PublishMessage::build().headers(headers).payload(row.body.clone());
        acknowledgements.push((*row, js.send_publish(row.subject.clone(), message).await?));
    }
    let (mut published, mut known) = (0, Vec::new());
    for (row, acknowledgement) in acknowledgements {
        let acknowledged = acknowledgement.await?;
        if acknowledged.duplicate {
            known.push((row, acknowledged.sequence));
        } else {
            published += 1;
        }
    }
    Ok((published, known))
}
