//! Sends what customers were told by mail.
//!
//! The record is made exactly once, with the event's inbox row; the mail is sent *at least* once: a process may die
//! between the mail server's answer and the note of it. It is then sent again, with the same `Message-ID`.
//!
//! A worker takes what is due in bounded batches. Taking is a lease: it counts the attempt and sets the time of the
//! next one far enough ahead that this one is over by then, in one committed statement. So a crash delays a mail and
//! does not lose it, a mail that kills its process is not tried forever, and two instances do not send the same one.
//! A mail server that is away uses up no attempts.

pub mod email;
pub mod transport;

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use lettre::message::Mailbox;
use messaging::database::Watch;
use messaging::envelope::unix_millis;
use messaging::service::Worker;
use messaging::{clock, statement};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::entity::{customer, notification};
use transport::{MailTransport, NotTaken};

/// How long a batch is left alone: longer than its mails may take together, which is 30 s.
const LEASE: Duration = Duration::from_secs(120);
/// How long a shutdown waits for mails that are under way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to leave it to another instance to take what is due.
const STEP_BACK: Duration = Duration::from_millis(200);
/// How long to wait for more when something was committed: mails are taken by the batch.
const BATCH_LINGER: Duration = Duration::from_millis(50);
/// How often to look for mail that is due, where nothing says so: another instance may have left some.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait for a mail server or a database that is away.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(60);
/// The longest wait between two attempts at one mail.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);
/// How often a note of what became of mail is tried again: for at least 4 s, less than a shutdown may take.
const RECORD_TRIES: u32 = 8;
/// After so many attempts, about four days, a mail is given up.
const MAX_ATTEMPTS: i64 = 100;

/// What sends mail.
#[derive(Debug)]
pub struct MailDispatcher {
    /// Where notifications and customers are.
    pub db: DatabaseConnection,
    /// Where mail goes.
    pub transport: MailTransport,
    /// Whom mail comes from.
    pub from: Mailbox,
    /// Changes when something was committed.
    pub committed: watch::Receiver<()>,
}

/// What became of one mail.
type Outcome = (notification::Model, Result<(), NotTaken>);

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
                        tracing::info!("mail can be sent again");
                    }
                    (wait, outage) = (until_next.min(POLL_INTERVAL), Duration::ZERO);
                }
                Err(error) => {
                    if outage.is_zero() {
                        tracing::warn!(error = format!("{error:#}"), "no mail can be sent now; will try again");
                    }
                    outage = (outage * 2).clamp(Duration::from_secs(1), LONGEST_OUTAGE_WAIT);
                }
            }
        }
    }

    /// Sends everything that is due, batch by batch, and returns how long it is until something is again.
    ///
    /// # Errors
    ///
    /// Where the database or the mail server is away.
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
                // Another instance is about to take what is due.
                return Ok(STEP_BACK);
            }
            let outcomes = self.send(batch, watch, shutdown).await?;
            self.record(outcomes, watch).await?;
        }
    }

    /// Notes what became of a batch. What cannot be noted is sent again, so this is tried for longer than other things.
    async fn record(&self, outcomes: Vec<Outcome>, watch: &Watch) -> anyhow::Result<()> {
        let now = now();
        let (mut delivered, mut failed) = (Vec::new(), Vec::new());
        for (row, outcome) in outcomes {
            match outcome {
                Ok(()) => delivered.push(row.sequence),
                Err(why) => failed.push(noted(row, why, now)),
            }
        }
        let mut tries = 0;
        loop {
            match watch.answered(record(&self.db, &delivered, failed.clone(), now)).await {
                // Readiness and the log have the error.
                Err(_) if tries < RECORD_TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                recorded => return recorded,
            }
        }
    }

    /// Sends a batch. At a shutdown, what is not over in time is left out: it is in doubt, and tried again.
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
        let mut under_way = Box::pin(futures::stream::iter(sending).buffer_unordered(self.transport.at_a_time()));
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::pin!(too_late);
        let mut outcomes = Vec::with_capacity(ids.len());
        loop {
            tokio::select! {
                outcome = under_way.next() => match outcome {
                    Some(outcome) => outcomes.push(outcome),
                    None => return Ok(outcomes),
                },
                () = &mut too_late => return Ok(outcomes),
            }
        }
    }

    async fn send_one(&self, row: &notification::Model, to: Option<&customer::Model>) -> Result<(), NotTaken> {
        let reachable = to.and_then(|customer| Some((customer.name.as_deref()?, customer.email.as_deref()?)));
        let Some((name, email)) = reachable else {
            // The account was deleted between the lease and now.
            return Err(NotTaken::Ever("there is no account to send it to".to_owned()));
        };
        self.transport.send(email::write(row, &self.from, name, email).map_err(NotTaken::Ever)?).await
    }
}

/// Returns when the next mail is due; `None` where nothing is to be sent.
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

/// Takes a batch of what is due, the longest due first.
async fn lease(db: &DatabaseConnection, now: i64, most: u64) -> Result<Vec<notification::Model>, DbErr> {
    use notification::Column as Notification;
    let due = Query::select()
        .column(Notification::Sequence)
        .from(notification::Entity)
        .and_where(Expr::col(Notification::NextAttemptAt).lte(now))
        .order_by(Notification::NextAttemptAt, sea_orm::Order::Asc)
        .limit(most)
        // What another instance takes at this moment is not waited for.
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .to_owned();
    notification::Entity::update_many()
        .col_expr(Notification::Attempts, Expr::col(Notification::Attempts).add(1))
        .col_expr(Notification::NextAttemptAt, Expr::value(now + millis(LEASE)))
        .filter(Notification::Sequence.in_subquery(due))
        .exec_with_returning(db)
        .await
}

/// Writes what was delivered at `now`, and rows that say what became of the rest.
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

/// Returns the row that says why one mail was not taken.
fn noted(row: notification::Model, why: NotTaken, now: i64) -> notification::ActiveModel {
    let (sequence, attempts, event) = (row.sequence, row.attempts, row.event_id);
    // All columns, because an insert names them all before it becomes an update.
    let mut row = row.into_active_model().reset_all();
    let (next_attempt_at, failed_at, why) = match why {
        NotTaken::Yet(why) if attempts < MAX_ATTEMPTS => {
            let delay = delay_after(attempts);
            tracing::warn!(sequence, event.id = %event, attempts, ?delay, why, "a mail was not taken; will try again");
            (Some(now + millis(delay)), None, why)
        }
        NotTaken::Yet(why) | NotTaken::Ever(why) => {
            tracing::error!(sequence, event.id = %event, attempts, why, "a mail is given up");
            (None, Some(now), why)
        }
    };
    row.delivered_at = Set(None);
    row.next_attempt_at = Set(next_attempt_at);
    row.failed_at = Set(failed_at);
    row.failure = Set(Some(why));
    row
}

/// Doubles from a second to an hour.
fn delay_after(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 12)).unwrap_or(12);
    (Duration::from_secs(1) * 2_u32.pow(doublings)).min(LONGEST_DELAY)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    unix_millis(clock::now())
}
