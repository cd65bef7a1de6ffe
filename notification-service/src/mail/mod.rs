//! The mail dispatcher sends notifications by mail.
//!
//! The notification is written exactly once, with the event's inbox row. The mail is sent *at least* once: a process
//! may crash between the mail server's reply and the commit that marks the mail as sent. It is then sent again, with
//! the same `Message-ID`.
//!
//! The worker leases due mails in bounded batches. One committed statement counts the attempt and sets the time of the
//! next one after the end of this one. So a crash delays a mail and does not lose it, a mail that crashes its process
//! is not retried forever, and two instances do not send the same mail. An unavailable mail server uses up no attempts.

pub mod email;
pub mod transport;

use std::collections::HashMap;
use std::time::Duration;

use choreography::database::Watch;
use choreography::envelope::unix_millis;
use choreography::service::Worker;
use choreography::{clock, statement};
use futures::StreamExt;
use lettre::message::Mailbox;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::entity::{customer, notification};
use transport::{MailTransport, SendError};

/// The lease of a batch: longer than its mails may take together, which is 30 s.
const LEASE: Duration = Duration::from_secs(120);
/// The time limit for mails in progress at a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait for another instance that is about to lease the due mails.
const LEASE_WAIT: Duration = Duration::from_millis(200);
/// The wait for more mails after a commit, because mails are leased in batches.
const BATCH_LINGER: Duration = Duration::from_millis(50);
/// The poll interval without a commit of this instance: another instance may have left due mails.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The longest back-off while the mail server or the database is unavailable.
const MAX_OUTAGE_BACKOFF: Duration = Duration::from_secs(60);
/// The longest back-off between two attempts at one mail.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
/// The number of retries to record outcomes: for at least 4 s, less than a shutdown may take.
const MAX_RECORD_RETRIES: u32 = 8;
/// The number of attempts, over about four days, after which a mail is abandoned.
const MAX_ATTEMPTS: i64 = 100;

/// The mail dispatcher.
#[derive(Debug)]
pub struct MailDispatcher {
    /// The database of notifications and customers.
    pub db: DatabaseConnection,
    /// The mail transport.
    pub transport: MailTransport,
    /// The sender of mail.
    pub from: Mailbox,
    /// Changes after each commit of the handler.
    pub committed: watch::Receiver<()>,
}

/// The outcome of sending one mail.
type Outcome = (notification::Model, Result<(), SendError>);

impl MailDispatcher {
    /// Returns the worker that delivers until shutdown.
    #[must_use]
    pub fn worker(self) -> Worker {
        Box::new(move |outbox, shutdown| {
            Box::pin(async move {
                self.run(outbox.watch("mail"), shutdown).await;
                Ok(())
            })
        })
    }

    /// Delivers until shutdown.
    pub async fn run(mut self, watch: Watch, shutdown: CancellationToken) {
        let mut wait = Duration::ZERO;
        let mut outage = Duration::ZERO;
        loop {
            if outage.is_zero() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    Ok(()) = self.committed.changed() => tokio::time::sleep(BATCH_LINGER).await,
                    () = tokio::time::sleep(wait) => {}
                }
            } else {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(outage) => {}
                }
            }
            match self.deliver_due(&watch, &shutdown).await {
                Ok(until_next) => {
                    if !outage.is_zero() {
                        tracing::info!("the mail transport is available again");
                    }
                    (wait, outage) = (until_next.min(POLL_INTERVAL), Duration::ZERO);
                }
                Err(error) => {
                    if outage.is_zero() {
                        tracing::warn!(error = format!("{error:#}"), "mail cannot be sent; retrying");
                    }
                    outage = (outage * 2).clamp(Duration::from_secs(1), MAX_OUTAGE_BACKOFF);
                }
            }
        }
    }

    /// Sends all due mails, batch by batch, and returns the time until the next one is due.
    ///
    /// # Errors
    ///
    /// If the database or the mail server is unavailable.
    pub async fn deliver_due(&self, watch: &Watch, shutdown: &CancellationToken) -> anyhow::Result<Duration> {
        loop {
            if shutdown.is_cancelled() {
                return Ok(POLL_INTERVAL);
            }
            let now = now();
            match watch.answered(next_due(&self.db)).await? {
                None => return Ok(POLL_INTERVAL),
                Some(due) if due > now => return Ok(Duration::from_millis((due - now).unsigned_abs())),
                Some(_) => {}
            }
            self.transport.check().await.map_err(anyhow::Error::msg)?;
            let batch = watch.answered(lease(&self.db, now, self.transport.batch())).await?;
            if batch.is_empty() {
                // Another instance is about to lease the due mails.
                return Ok(LEASE_WAIT);
            }
            let outcomes = self.send(batch, watch, shutdown).await?;
            self.record(outcomes, watch).await?;
        }
    }

    /// Records the outcomes of a batch. A mail without a recorded outcome is sent again, so this is retried for longer
    /// than other statements.
    async fn record(&self, outcomes: Vec<Outcome>, watch: &Watch) -> anyhow::Result<()> {
        let now = now();
        let (mut delivered, mut failed) = (Vec::new(), Vec::new());
        for (row, outcome) in outcomes {
            match outcome {
                Ok(()) => delivered.push(row.sequence),
                Err(error) => failed.push(failed_row(row, error, now)),
            }
        }
        let mut retries = 0;
        loop {
            match watch.answered(record(&self.db, &delivered, failed.clone(), now)).await {
                // Readiness and the log have the error.
                Err(_) if retries < MAX_RECORD_RETRIES => {
                    retries += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                recorded => return recorded,
            }
        }
    }

    /// Sends a batch. At a shutdown, mails that do not end in time have no outcome and are sent again.
    async fn send(
        &self,
        batch: Vec<notification::Model>,
        watch: &Watch,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Vec<Outcome>> {
        let ids: Vec<String> = batch.iter().map(|row| row.customer_id.clone()).collect();
        let customers = statement::select_in::<customer::Entity, _>(&self.db, customer::Column::CustomerId, &ids);
        let customers = watch.answered(customers).await?;
        let customers: HashMap<_, _> = customers.into_iter().map(|row| (row.customer_id.clone(), row)).collect();
        let sending = batch.into_iter().map(|row| async {
            let outcome = self.send_one(&row, customers.get(&row.customer_id)).await;
            (row, outcome)
        });
        let mut in_progress =
            Box::pin(futures::stream::iter(sending).buffer_unordered(self.transport.concurrency()));
        let time_limit = async {
            shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::pin!(time_limit);
        let mut outcomes = Vec::with_capacity(ids.len());
        loop {
            tokio::select! {
                outcome = in_progress.next() => match outcome {
                    Some(outcome) => outcomes.push(outcome),
                    None => return Ok(outcomes),
                },
                () = &mut time_limit => return Ok(outcomes),
            }
        }
    }

    async fn send_one(&self, row: &notification::Model, to: Option<&customer::Model>) -> Result<(), SendError> {
        let contact = to.and_then(|customer| Some((customer.name.as_deref()?, customer.email.as_deref()?)));
        let Some((name, email)) = contact else {
            // The account was deleted between the lease and now.
            return Err(SendError::Permanent("the account was deleted".to_owned()));
        };
        self.transport.send(email::write(row, &self.from, name, email).map_err(SendError::Permanent)?).await
    }
}

/// Returns the time of the next attempt; `None` if there is none.
async fn next_due(db: &DatabaseConnection) -> Result<Option<i64>, DbErr> {
    use notification::Column as Notification;
    let due: Option<Option<i64>> = notification::Entity::find()
        .select_only()
        .column(Notification::NextAttemptAt)
        .filter(Notification::NextAttemptAt.is_not_null())
        .order_by_asc(Notification::NextAttemptAt)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    Ok(due.flatten())
}

/// Leases a batch of due mails, the oldest first.
async fn lease(db: &DatabaseConnection, now: i64, limit: u64) -> Result<Vec<notification::Model>, DbErr> {
    use notification::Column as Notification;
    let due = Query::select()
        .column(Notification::Sequence)
        .from(notification::Entity)
        .and_where(Expr::col(Notification::NextAttemptAt).lte(now))
        .order_by(Notification::NextAttemptAt, sea_orm::Order::Asc)
        .limit(limit)
        // Skips mails that another instance is leasing.
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .to_owned();
    notification::Entity::update_many()
        .col_expr(Notification::Attempts, Expr::col(Notification::Attempts).add(1))
        .col_expr(Notification::NextAttemptAt, Expr::value(now + millis(LEASE)))
        .filter(Notification::Sequence.in_subquery(due))
        .exec_with_returning(db)
        .await
}

/// Marks mails as delivered at `now`, and writes the rows of failed ones.
async fn record(
    db: &DatabaseConnection,
    delivered: &[i64],
    failed: Vec<notification::ActiveModel>,
    now: i64,
) -> Result<(), DbErr> {
    use notification::Column as Notification;
    for chunk in statement::padded_chunks(delivered) {
        notification::Entity::update_many()
            .col_expr(Notification::DeliveredAt, Expr::value(now))
            .col_expr(Notification::NextAttemptAt, Expr::value(None::<i64>))
            .col_expr(Notification::FailedAt, Expr::value(None::<i64>))
            .col_expr(Notification::Failure, Expr::value(None::<String>))
            .filter(Notification::Sequence.is_in(chunk))
            .exec(db)
            .await?;
    }
    let changed =
        [Notification::DeliveredAt, Notification::NextAttemptAt, Notification::FailedAt, Notification::Failure];
    statement::insert(db, failed, Some(statement::overwrite(&[Notification::Sequence], &changed))).await
}

/// Returns the row of a mail after a failed attempt.
fn failed_row(row: notification::Model, error: SendError, now: i64) -> notification::ActiveModel {
    let (sequence, attempts, event) = (row.sequence, row.attempts, row.event_id);
    // All columns, because an insert names them all before it becomes an update.
    let mut row = row.into_active_model().reset_all();
    let (next_attempt_at, failed_at, why) = match error {
        SendError::Temporary(why) if attempts < MAX_ATTEMPTS => {
            let delay = backoff(attempts);
            tracing::warn!(sequence, event.id = %event, attempts, ?delay, why, "a mail was not accepted; retrying");
            (Some(now + millis(delay)), None, why)
        }
        SendError::Temporary(why) | SendError::Permanent(why) => {
            tracing::error!(sequence, event.id = %event, attempts, why, "a mail is abandoned");
            (None, Some(now), why)
        }
    };
    row.delivered_at = Set(None);
    row.next_attempt_at = Set(next_attempt_at);
    row.failed_at = Set(failed_at);
    row.failure = Set(Some(why));
    row
}

/// Returns the back-off, which doubles from a second to an hour.
fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 12)).unwrap_or(12);
    (Duration::from_secs(1) * 2_u32.pow(doublings)).min(MAX_BACKOFF)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    unix_millis(clock::now())
}
