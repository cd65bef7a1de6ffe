//! The message handler: load the aggregates, decide, save.

use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::{AggregateStatus, EncodeError, Envelope, HandleError, Handler, Outgoing};
use sea_orm::{ActiveEnum, DatabaseConnection, DatabaseTransaction, EntityTrait};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::accounts;
use crate::entity::payment::{self, Status};
use crate::payment::{Account, Decided, PaymentMessage, Policy};
use crate::reconciliation::Overdue;
use crate::unit_of_work;

/// Applies batches of messages to the aggregates, and wakes the workers.
#[derive(Debug, Clone)]
pub struct PaymentHandler {
    /// The time limits of payments.
    pub policy: Policy,
    /// The clock, for due times and expired cards.
    pub clock: fn() -> OffsetDateTime,
    /// Wakes the workers.
    pub wake: watch::Sender<()>,
    /// The age at which an unfinished payment is overdue.
    pub overdue: Overdue,
}

impl Handler for PaymentHandler {
    type Message = PaymentMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<PaymentMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        // First, so that payments are decided with the newest accounts.
        accounts::apply(tx, batch.iter().filter_map(|message| Account::of(&message.payload))).await?;
        let now = (self.clock)();
        let mut aggregates = unit_of_work::load(tx, batch, now).await?;
        let mut outgoing = Vec::new();
        for message in batch {
            let decided = aggregates.apply(&message.payload, &message.cause(), now, &self.policy);
            outgoing.extend(decided.map(outgoing_of).transpose()?);
        }
        unit_of_work::save(tx, &aggregates).await?;
        Ok(outgoing)
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = payment::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let time = |millis: i64| rfc3339(from_unix_millis(millis));
        let next = row.due().map_or_else(String::new, |at| format!(", next at {}", time(at)));
        let answer = row.provider_answer.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let blocked_on = match row.status {
            _ if row.alarm_since.is_some() => {
                let command = match row.status {
                    Status::Voiding | Status::Refunding => "retry",
                    _ => "dismiss",
                };
                Some(format!("an operator (payment-service {command} {}){answer}", row.order_id))
            }
            Status::AwaitingAccount => Some("the account of its customer".to_owned()),
            Status::Capturing | Status::Voiding | Status::Refunding => {
                let late = (self.clock)() - self.overdue.0 > from_unix_millis(row.updated_at);
                let overdue = if late { ", overdue" } else { "" };
                let attempts = row.attempts;
                Some(format!("the payment provider{overdue} ({attempts} attempts{next}){answer}"))
            }
            _ => None,
        };
        let failed = row.status == Status::Refunding && row.alarm_since.is_some();
        let state = if failed { "refund-failed".to_owned() } else { row.status.to_value() };
        Ok(Some(AggregateStatus { state, since: Some(time(row.updated_at)), blocked_on }))
    }

    fn committed(&self) {
        self.wake.send_replace(());
    }
}

/// Returns the outgoing message of an event.
///
/// # Errors
///
/// [`EncodeError`].
pub(crate) fn outgoing_of(decided: Decided) -> Result<Outgoing, EncodeError> {
    let Decided { event, version, cause } = decided;
    Outgoing::of(cause, &event, Some(version))
}
