//! The reconciliation worker compares the payment provider's ledger with the payments, and counts unfinished payments.
//!
//! The worker reads the ledger page by page, in the order of the order ids, and compares each page with the payments of
//! the same orders. The two systems are not read at the same moment, so a difference counts only if two successive
//! passes find it. After each page and each pass the worker pauses for a multiple of the time it took.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use choreography::database::Watch;
use choreography::envelope::rfc3339;
use choreography::metrics::{self, Gauges};
use choreography::{Outbox, clock};
use contracts::query::{LedgerCheck, LedgerDifference, MAX_NAMED};
use sea_orm::{ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::entity::payment::{Column, Entity, Model, Status};
use crate::ledger::{Compared, compare};
use crate::provider::{LedgerPage, PaymentProvider, ProviderError};
use crate::reconciliation::Overdue;

/// The number of payments per page.
const PAGE: u64 = 500;
/// The shortest pause between two passes.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two passes.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The ratio of a pause to the duration of the page or pass before it.
const PAUSE_FACTOR: u32 = 4;
/// The largest number of differences that one pass keeps.
const MAX_DIFFERENCES: usize = 10_000;

/// The statuses of payments with a charge at the provider.
const CHARGED: [Status; 3] = [Status::Captured, Status::Refunding, Status::Refunded];
/// The statuses of payments that may have a charge at the provider.
const POSSIBLY_CHARGED: [Status; 2] = [Status::Capturing, Status::Voiding];

static UNFINISHED: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("payment_issues", "Payments that are overdue at the provider or need an operator, by kind")
});
static DIFFERENCES: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("payment_ledger_differences", "Differences between the provider's ledger and the payments")
});

/// Compares the ledger periodically.
pub struct Reconciling<P> {
    /// The service's database.
    pub db: DatabaseConnection,
    /// The provider of the ledger.
    pub provider: Arc<P>,
    /// The name of the shop at the provider.
    pub shop_id: String,
    /// The age at which an unfinished payment is overdue.
    pub overdue: Overdue,
    /// Receives the latest result.
    pub found: watch::Sender<LedgerCheck>,
}

impl<P: PaymentProvider> Reconciling<P> {
    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// None: errors are part of the result.
    pub async fn run(self, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
        let watch = outbox.watch("ledger");
        let mut before = BTreeSet::new();
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let work = async {
                self.measure(&watch).await;
                self.pass(&watch).await
            };
            let pass = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                pass = work => pass,
            };
            before = self.publish(pass, &before);
            let pause = (begun.elapsed() * PAUSE_FACTOR).clamp(MIN_PAUSE, MAX_PAUSE);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Publishes the result of a pass; returns the differences that the next pass must confirm.
    fn publish(
        &self,
        pass: Result<Compared, String>,
        before: &BTreeSet<LedgerDifference>,
    ) -> BTreeSet<LedgerDifference> {
        match pass {
            Err(why) => {
                self.found.send_modify(|check| check.unavailable = Some(why));
                before.clone()
            }
            Ok(compared) => {
                let confirmed: Vec<_> = compared.differences.intersection(before).cloned().collect();
                let (previous, total) = (self.found.borrow().total, confirmed.len() as u64);
                if total != previous {
                    let first = confirmed.first().map_or("", |difference| difference.explanation.as_str());
                    tracing::error!(
                        total,
                        first,
                        "the number of differences between the provider's ledger and the payments has changed"
                    );
                }
                #[allow(clippy::cast_precision_loss, reason = "a count for display")]
                DIFFERENCES.get_or_create(&Vec::new()).set(total as f64);
                let differences =
                    confirmed.into_iter().take(usize::try_from(MAX_NAMED).unwrap_or(usize::MAX)).collect();
                self.found.send_replace(LedgerCheck {
                    checked_at: Some(rfc3339(clock::now())),
                    unavailable: None,
                    charges: compared.charges,
                    total,
                    differences,
                });
                compared.differences
            }
        }
    }

    /// Sets the gauges of overdue payments and alarms; `NaN` if the database fails.
    async fn measure(&self, watch: &Watch) {
        let counts = watch.answered(self.overdue.count(&self.db)).await.ok();
        #[allow(clippy::cast_precision_loss, reason = "a count for display")]
        let value = |count: Option<u64>| count.map_or(f64::NAN, |count| count as f64);
        for (kind, count) in [("overdue", counts.map(|it| it.overdue)), ("alarm", counts.map(|it| it.alarms))] {
            UNFINISHED.get_or_create(&vec![("kind", kind.to_owned())]).set(value(count));
        }
    }

    /// Compares the whole ledger once.
    async fn pass(&self, watch: &Watch) -> Result<Compared, String> {
        let mut compared = Compared::default();
        let mut after: Option<String> = None;
        loop {
            let begun = Instant::now();
            let database = |error: anyhow::Error| format!("cannot read the payments: {error:#}");
            // The payments first: the provider captures before a payment records it.
            let payments = watch.answered(self.payments(after.as_deref())).await.map_err(database)?;
            let page = self.provider.ledger(after.as_deref()).await.map_err(|error| match error {
                ProviderError::Unavailable { why, .. }
                | ProviderError::Refused(why)
                | ProviderError::Mismatch(why) => {
                    format!("cannot read the provider's ledger: {why}")
                }
            })?;
            let page: LedgerPage = page.ok_or_else(|| "the provider offers no ledger".to_owned())?;
            // Compares up to the last order that is read on both sides.
            let full = payments.len() as u64 >= PAGE;
            let last_payment = payments.last().filter(|_| full).map(|payment| payment.order_id.clone());
            let upto = match (last_payment, page.next.clone()) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            let rows: Vec<Model> =
                payments.into_iter().filter(|row| upto.as_ref().is_none_or(|upto| row.order_id <= *upto)).collect();
            let charges: Vec<_> = page
                .charges
                .into_iter()
                .filter(|it| upto.as_ref().is_none_or(|upto| it.order_id <= *upto))
                .collect();
            compare(&rows, &charges, &self.shop_id, &mut compared);
            if compared.differences.len() > MAX_DIFFERENCES {
                return Ok(compared);
            }
            match upto {
                Some(upto) => after = Some(upto),
                None => return Ok(compared),
            }
            tokio::time::sleep(begun.elapsed() * PAUSE_FACTOR).await;
        }
    }

    /// The payments after an order that have a charge, or may have one, in the order of the order ids.
    async fn payments(&self, after: Option<&str>) -> Result<Vec<Model>, sea_orm::DbErr> {
        let later = after.map(|after| Column::OrderId.gt(after));
        Entity::find()
            .filter(Condition::all().add_option(later))
            .filter(Column::Status.is_in(CHARGED.into_iter().chain(POSSIBLY_CHARGED)))
            .order_by_asc(Column::OrderId)
            .limit(PAGE)
            .all(&self.db)
            .await
    }
}
