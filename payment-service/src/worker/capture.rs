//! The capture worker calls the payment provider: claim, call, record.
//!
//! The worker *claims* an attempt before it calls: the attempt's number increases, and other instances skip the payment
//! until its lease expires. The call is outside of any transaction. The outcome is *recorded* in one transaction with
//! its events, unless another attempt has begun meanwhile. After a crash in between, the lease expires, and the payment
//! is claimed again; the provider does nothing twice, because the key is the same.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use choreography::database::Watch;
use choreography::envelope::unix_millis;
use choreography::spans::{KeyValue, SpanKind, StartedSpan};
use choreography::{Outbox, Outgoing, statement};
use contracts::OrderId;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{begin, is_due};
use crate::entity::payment::{ActiveModel, Column, Entity, Status, due};
use crate::handler::outgoing_of;
use crate::payment::{Call, Charge, MAX_RETRY_AFTER, Outcome, Payment, Policy, State};
use crate::provider::{Money, PaymentProvider, execute};
use crate::row;
use crate::unit_of_work::{self, Report};

/// The number of concurrent calls.
const CONCURRENT: usize = 64;
/// The number of payments per claim.
const CLAIM: u64 = 256;
/// The longest interval between two polls for due payments: another instance may have left some.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest interval between two polls: another instance may hold the payments that are due.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// The poll interval while calls are in progress, each of which may cause another attempt, and after an error of the
/// database.
const TICK: Duration = Duration::from_millis(250);
/// The time limit for calls in progress at a shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// The statuses that need a call to the provider.
const CALLING: [Status; 3] = [Status::Capturing, Status::Voiding, Status::Refunding];

/// Calls the payment provider for all payments that are capturing, voiding, or refunding.
pub struct CaptureWorker<P> {
    /// The service's database.
    pub db: DatabaseConnection,
    /// The payment provider.
    pub provider: Arc<P>,
    /// The time limits of payments.
    pub policy: Policy,
    /// The time limit of one call.
    pub timeout: Duration,
    /// The clock of due times.
    pub clock: fn() -> OffsetDateTime,
    /// Changes when a payment may be due.
    pub wake: watch::Receiver<()>,
    /// The name of the shop at the provider, part of every idempotency key.
    pub shop_id: String,
    /// The name of this instance, the same after a restart.
    pub instance: String,
}

/// An attempt in progress.
#[derive(Debug)]
struct Claim {
    money: Money,
    attempt: i64,
    call: Call,
    /// The trace context of the order's flow.
    trace_parent: Option<String>,
    /// The end of the lease: then another attempt may begin.
    leased_until: Instant,
}

/// Calls the provider, in a span of the order's flow if traces are enabled.
async fn call_and_record<P: PaymentProvider>(provider: &P, claim: &Claim) -> Outcome {
    let flow = claim.trace_parent.as_deref();
    let begun = StartedSpan::within(flow);
    let outcome = execute(provider, &claim.money, &claim.call).await;
    if let Some(begun) = begun {
        let attributes =
            vec![KeyValue::new("peer.service", "payment-provider"), KeyValue::new("attempt", claim.attempt)];
        let error = match &outcome {
            Outcome::Unavailable { why, .. } | Outcome::Refused { why } | Outcome::Mismatch { why } => {
                Some(why.clone())
            }
            _ => None,
        };
        begun.end(claim.call.name(), SpanKind::Client, attributes, error);
    }
    outcome
}

impl<P: PaymentProvider> CaptureWorker<P> {
    /// Runs until `stop` is cancelled, and then waits at most 3 s for calls in progress.
    ///
    /// # Errors
    ///
    /// None: errors are logged, and the work is retried.
    pub async fn run(mut self, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
        let watch = outbox.watch("captures");
        if let Err(error) = watch.answered(self.release_leases()).await {
            tracing::warn!(%error, "cannot end the leases of an earlier run; they expire by themselves");
        }
        let (mut queue, mut calls) = (VecDeque::new(), JoinSet::new());
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = calls.join_next() => self.settle(ended, &mut calls, &outbox, &watch).await,
                Ok(()) = self.wake.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            wait = match self.fill(&mut queue, &mut calls, &watch).await {
                Ok(()) if calls.is_empty() => watch.answered(self.until_next()).await.unwrap_or(TICK),
                // Readiness and the log have the error.
                Ok(()) | Err(_) => TICK,
            };
        }
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, calls.join_next()).await {
            self.settle(ended, &mut calls, &outbox, &watch).await;
        }
        Ok(())
    }

    /// Starts calls while there is capacity and a payment is due.
    async fn fill(
        &self,
        queue: &mut VecDeque<Claim>,
        calls: &mut JoinSet<(Claim, Outcome)>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        loop {
            while calls.len() < CONCURRENT {
                let Some(claim) = queue.pop_front() else { break };
                // A claim that has waited in the queue for too long is dropped; the payment is claimed again.
                if Instant::now() + self.timeout < claim.leased_until {
                    let provider = self.provider.clone();
                    calls.spawn(async move {
                        let outcome = call_and_record(provider.as_ref(), &claim).await;
                        (claim, outcome)
                    });
                }
            }
            if !queue.is_empty() || calls.len() >= CONCURRENT {
                return Ok(());
            }
            let claims = watch.answered(self.claim()).await?;
            if claims.is_empty() {
                return Ok(());
            }
            queue.extend(claims);
        }
    }

    /// Returns the time until the next payment is due, at most [`POLL_INTERVAL`].
    async fn until_next(&self) -> Result<Duration, DbErr> {
        let next: Option<Option<i64>> = Entity::find()
            .select_only()
            .expr(due())
            .filter(Column::Status.is_in(CALLING))
            .filter(due().is_not_null())
            .order_by_asc(due())
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await?;
        let Some(next) = next.flatten() else { return Ok(POLL_INTERVAL) };
        let until = u64::try_from(next - unix_millis((self.clock)())).unwrap_or(0);
        Ok(Duration::from_millis(until).clamp(MIN_INTERVAL, POLL_INTERVAL))
    }

    /// Claims an attempt for each payment that is due.
    async fn claim(&self) -> Result<Vec<Claim>, DbErr> {
        let now = (self.clock)();
        // A read first, to avoid a write transaction if nothing is due.
        if self
            .due(now)
            .select_only()
            .column(Column::OrderId)
            .limit(1)
            .into_tuple::<String>()
            .one(&self.db)
            .await?
            .is_none()
        {
            return Ok(Vec::new());
        }
        let lease = self.lease();
        let leased_until = Instant::now() + lease;
        let tx = begin(&self.db).await?;
        let rows = self
            .due(now)
            .order_by_asc(due())
            .limit(CLAIM)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(&tx)
            .await?;
        let mut claims = Vec::with_capacity(rows.len());
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let (order_id, mut payment) = row::to_payment(row)?;
            payment.attempts += 1;
            self.set_key(&order_id, &mut payment);
            payment.next_attempt_at = Some(now + lease);
            let row = row::of_payment(&order_id, &payment);
            claimed.push(ActiveModel { lease_owner: Set(Some(self.instance.clone())), ..row });
            let Some(call) = payment.call(&order_id, now, &self.policy) else { continue };
            let (attempt, trace_parent) = (payment.attempts, payment.trace_parent);
            let Some(charge) = payment.charge else { continue };
            let key = payment.provider_key.unwrap_or_else(|| order_id.to_string());
            claims.push(Claim {
                money: Money { key, order_id, charge },
                attempt,
                call,
                trace_parent,
                leased_until,
            });
        }
        let changed =
            [Column::Attempts, Column::NextAttemptAt, Column::DueAt, Column::ProviderKey, Column::LeaseOwner];
        statement::insert(&tx, claimed, Some(statement::overwrite(&[Column::OrderId], &changed))).await?;
        tx.commit().await?;
        Ok(claims)
    }

    /// Sets the idempotency key before the first call. The same order id in another shop, or at another price, has
    /// another key.
    fn set_key(&self, order_id: &OrderId, payment: &mut Payment) {
        let (State::Capturing { token }, Some(charge), 1) = (&payment.state, &payment.charge, payment.attempts)
        else {
            return;
        };
        let Charge { customer_id, amount, currency } = charge;
        let (token, amount, currency) = (token.as_str(), amount.minor_units(), currency.code());
        let digest = Sha256::digest(format!("{customer_id}\n{token}\n{amount}\n{currency}"));
        let digest = digest.iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        payment.provider_key = Some(format!("{order_id}:{}:{digest}", self.shop_id));
    }

    /// Records a call that has ended, together with all others that have.
    async fn settle(
        &self,
        ended: Result<(Claim, Outcome), tokio::task::JoinError>,
        calls: &mut JoinSet<(Claim, Outcome)>,
        outbox: &Outbox,
        watch: &Watch,
    ) {
        let mut outcomes = Vec::new();
        let mut next = Some(ended);
        while let Some(ended) = next {
            match ended {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => tracing::error!(%error, "a call to the payment provider failed"),
            }
            next = calls.try_join_next();
        }
        // If an outcome is not recorded, the call is repeated after its lease expires.
        if let Err(error) = watch.answered(self.record(&outcomes, outbox)).await {
            tracing::debug!(%error, outcomes = outcomes.len(), "outcomes of the payment provider were not recorded");
        }
    }

    async fn record(&self, outcomes: &[(Claim, Outcome)], outbox: &Outbox) -> anyhow::Result<()> {
        let now = (self.clock)();
        let order_ids: BTreeSet<OrderId> = outcomes.iter().map(|(claim, _)| claim.money.order_id.clone()).collect();
        let tx = begin(&self.db).await?;
        let mut aggregates = unit_of_work::load_orders(&tx, &order_ids).await?;
        let mut outgoing: Vec<Outgoing> = Vec::new();
        for (claim, outcome) in outcomes {
            let order_id = &claim.money.order_id;
            let decided = aggregates.record(order_id, claim.attempt, outcome, now, &self.policy);
            outgoing.extend(decided.map(outgoing_of).transpose()?);
        }
        let reports: Vec<Report> =
            outcomes.iter().filter_map(|(claim, _)| Report::of(&aggregates, &claim.money.order_id)).collect();
        unit_of_work::save(&tx, &aggregates).await?;
        outbox.commit(tx, outgoing).await?;
        for report in reports {
            report.log();
        }
        Ok(())
    }

    /// Ends the leases of an earlier run of this instance, so that its unfinished attempts are repeated at once. Leases
    /// of other instances, and back-offs after failed attempts, stay unchanged.
    async fn release_leases(&self) -> Result<(), DbErr> {
        let now = unix_millis((self.clock)());
        Entity::update_many()
            .col_expr(Column::NextAttemptAt, Expr::case(Column::ProviderKey.is_null(), now).into())
            .col_expr(Column::DueAt, Expr::case(Column::ProviderKey.is_not_null(), now).into())
            .col_expr(Column::LeaseOwner, Expr::value(Option::<String>::None))
            .filter(Column::LeaseOwner.eq(self.instance.as_str()))
            .filter(due().is_not_null())
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// The duration of a lease, which includes the time in the queue.
    fn lease(&self) -> Duration {
        4 * self.timeout
    }

    /// The payments that are due for a call.
    fn due(&self, now: OffsetDateTime) -> Select<Entity> {
        let max_wait = self.lease().max(MAX_RETRY_AFTER);
        Entity::find().filter(Column::Status.is_in(CALLING)).filter(is_due(now, max_wait))
    }
}
