//! Asks the payment provider: claim, call, record.
//!
//! An attempt is *claimed* before it is made: its number goes up, and others leave the payment alone until the lease
//! is over. The call is made outside of any transaction. Its outcome is *recorded* in one transaction with what is
//! said about it, unless another attempt has begun meanwhile. A crash in between leaves a payment whose lease runs
//! out: it is claimed again, and the provider, which is asked under the same key, does nothing twice.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use contracts::OrderId;
use messaging::database::Watch;
use messaging::envelope::unix_millis;
use messaging::spans::{KeyValue, SpanKind, StartedSpan};
use messaging::{Outbox, Outgoing, statement};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{begin, time_has_come};
use crate::entity::payment::{ActiveModel, Column, Entity, Status, due};
use crate::handler::outgoing_of;
use crate::payment::{Call, Charge, LONGEST_WAIT, Outcome, Payment, Policy, State};
use crate::provider::{Money, PaymentProvider, ask};
use crate::row;
use crate::unit_of_work::{Report, UnitOfWork};

/// Calls at the same time.
const CONCURRENT: usize = 64;
/// Payments claimed at a time.
const CLAIM: u64 = 256;
/// How often to look for payments whose time has come, where none is known to come earlier: another instance may have left
/// some.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long to wait at least: what is due by now may be another instance's.
const SHORTEST: Duration = Duration::from_millis(50);
/// How long to wait while calls are under way, each of which may begin another attempt; and before a database is asked again
/// that did not answer.
const TICK: Duration = Duration::from_millis(250);
/// How long a shutdown waits for the answers that are under way.
const DRAIN: Duration = Duration::from_secs(3);

/// What the provider is asked about.
const ASKED: [Status; 3] = [Status::Capturing, Status::Voiding, Status::Refunding];

/// Asks the payment provider about all payments that are capturing, voiding, or refunding.
pub struct CaptureWorker<P> {
    /// The service's database.
    pub db: DatabaseConnection,
    /// Who is asked.
    pub provider: Arc<P>,
    /// How long to wait for what.
    pub policy: Policy,
    /// How long one question may take.
    pub timeout: Duration,
    /// The time.
    pub clock: fn() -> OffsetDateTime,
    /// Changes when there may be something to do.
    pub wake: watch::Receiver<()>,
    /// The name of the shop at the provider, part of every idempotency key.
    pub shop_id: String,
    /// The name of this instance, the same after a restart.
    pub instance: String,
}

/// An attempt that has begun.
#[derive(Debug)]
struct Claim {
    money: Money,
    attempt: i64,
    call: Call,
    /// The flow it belongs to.
    trace_parent: Option<String>,
    /// After this, others may begin another one.
    leased_until: Instant,
}

/// Asks the provider, as a span of the flow where somebody wants to know.
async fn call_and_record<P: PaymentProvider>(provider: &P, claim: &Claim) -> Outcome {
    let flow = claim.trace_parent.as_deref();
    let begun = StartedSpan::within(flow);
    let outcome = ask(provider, &claim.money, &claim.call).await;
    if let Some(begun) = begun {
        let attributes =
            vec![KeyValue::new("peer.service", "payment-provider"), KeyValue::new("attempt", claim.attempt)];
        let unheard = match &outcome {
            Outcome::Unavailable { why, .. } | Outcome::Refused { why } | Outcome::Mismatch { why } => {
                Some(why.clone())
            }
            _ => None,
        };
        begun.end(claim.call.name(), SpanKind::Client, attributes, unheard);
    }
    outcome
}

impl<P: PaymentProvider> CaptureWorker<P> {
    /// Runs until `stop` is cancelled, and then waits a little for answers.
    ///
    /// # Errors
    ///
    /// None: what goes wrong is logged, and tried again.
    pub async fn run(mut self, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
        let watch = outbox.watch("captures");
        if let Err(error) = watch.answered(self.release_leases()).await {
            tracing::warn!(%error, "the leases of an earlier run could not be ended; they run out by themselves");
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

    /// Begins calls while there is room for them and something to ask.
    async fn fill(
        &self,
        queue: &mut VecDeque<Claim>,
        calls: &mut JoinSet<(Claim, Outcome)>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        loop {
            while calls.len() < CONCURRENT {
                let Some(claim) = queue.pop_front() else { break };
                // One that has stood in the queue for too long is left to whoever claims it next.
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

    /// Returns how long it is until the time of a payment comes, [`POLL_INTERVAL`] at most.
    async fn until_next(&self) -> Result<Duration, DbErr> {
        let next: Option<Option<i64>> = Entity::find()
            .select_only()
            .expr(due())
            .filter(Column::Status.is_in(ASKED))
            .filter(due().is_not_null())
            .order_by_asc(due())
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await?;
        let Some(next) = next.flatten() else { return Ok(POLL_INTERVAL) };
        let until = u64::try_from(next - unix_millis((self.clock)())).unwrap_or(0);
        Ok(Duration::from_millis(until).clamp(SHORTEST, POLL_INTERVAL))
    }

    /// Begins an attempt at each payment whose time has come.
    async fn claim(&self) -> Result<Vec<Claim>, DbErr> {
        let now = (self.clock)();
        // Only a look, to leave the database alone where there is nothing to do.
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
            self.name(&order_id, &mut payment);
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

    /// Gives a payment the key that the provider knows it by, before it is asked for the first time: whatever else it
    /// knows, of this order id in another shop or at another price, has another key.
    fn name(&self, order_id: &OrderId, payment: &mut Payment) {
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

    /// Records a call that has ended, and with it whatever else has.
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
        // An answer that is not recorded is asked for again once its lease is over.
        if let Err(error) = watch.answered(self.record(&outcomes, outbox)).await {
            tracing::debug!(%error, answers = outcomes.len(), "answers of the payment provider were not recorded");
        }
    }

    async fn record(&self, outcomes: &[(Claim, Outcome)], outbox: &Outbox) -> anyhow::Result<()> {
        let now = (self.clock)();
        let order_ids: BTreeSet<OrderId> = outcomes.iter().map(|(claim, _)| claim.money.order_id.clone()).collect();
        let tx = begin(&self.db).await?;
        let mut unit_of_work = UnitOfWork::of(&tx, &order_ids).await?;
        let mut outgoing: Vec<Outgoing> = Vec::new();
        for (claim, outcome) in outcomes {
            let order_id = &claim.money.order_id;
            let decided = unit_of_work.aggregates.record(order_id, claim.attempt, outcome, now, &self.policy);
            outgoing.extend(decided.map(outgoing_of).transpose()?);
        }
        let reports: Vec<Report> =
            outcomes.iter().filter_map(|(claim, _)| unit_of_work.report(&claim.money.order_id)).collect();
        unit_of_work.save(&tx).await?;
        outbox.commit(tx, outgoing).await?;
        for report in reports {
            report.log();
        }
        Ok(())
    }

    /// Lets the attempts that an earlier run of this instance left unfinished be made again at once. Leases of other
    /// instances, and waits after failed attempts, stay as they are.
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

    /// For how long others leave a payment alone whose attempt has begun; with room for standing in the queue.
    fn lease(&self) -> Duration {
        4 * self.timeout
    }

    /// The payments about which the provider is to be asked.
    fn due(&self, now: OffsetDateTime) -> Select<Entity> {
        let longest_wait = self.lease().max(LONGEST_WAIT);
        Entity::find().filter(Column::Status.is_in(ASKED)).filter(time_has_come(now, longest_wait))
    }
}
