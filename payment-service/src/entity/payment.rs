//! The table `payments`.

use contracts::query::PaymentStatus;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, SimpleExpr};

/// The payment of an order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    /// The order's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// The status of the payment.
    pub status: Status,
    /// The customer who pays; null, like amount and currency, until the order's event has arrived.
    pub customer_id: Option<String>,
    /// The amount in minor units.
    pub amount: Option<i64>,
    /// The ISO 4217 code.
    pub currency: Option<String>,
    /// The decline reason; null unless the payment was declined.
    pub reason: Option<String>,
    /// The provider's reference of the capture; null until the capture is known.
    pub reference: Option<String>,
    /// The token of the card; null unless the payment is capturing.
    pub token: Option<String>,
    /// The id of the event that reserved the stock.
    pub reserved_id: Option<Uuid>,
    /// The id of the event that cancelled the order.
    pub cancelled_id: Option<Uuid>,
    /// The correlation id of the order's flow.
    pub correlation_id: Uuid,
    /// The W3C trace context of the latest event.
    pub trace_parent: Option<String>,
    /// On whose behalf the flow of the latest event runs, as `<kind>:<id>`; null if callers do not sign in.
    pub auth: Option<String>,
    /// The time at which the payment became due, in milliseconds since 1970.
    pub due_since: Option<i64>,
    /// The number of attempts at the provider, including one that is in progress.
    pub attempts: i64,
    /// The time of the next attempt, in milliseconds since 1970; null if there is none. During an attempt: the end of
    /// its lease.
    pub next_attempt_at: Option<i64>,
    /// As `next_attempt_at`, for payments with a `provider_key`: instances of earlier releases, which would use another
    /// key, do not see them.
    pub due_at: Option<i64>,
    /// The idempotency key of requests to the provider; null if that is the order's id.
    pub provider_key: Option<String>,
    /// The provider's latest failure or refusal; null after a success.
    pub provider_answer: Option<String>,
    /// The time at which an operator became necessary, in milliseconds since 1970; null if none is.
    pub alarm_since: Option<i64>,
    /// The instance whose attempt is in progress.
    pub lease_owner: Option<String>,
    /// The number of changes; 0 only inside the transaction that inserts the row.
    pub version: i64,
    /// The time of the last change, in milliseconds since 1970.
    pub updated_at: i64,
}

/// The status of a payment: [`PaymentStatus`] as a column, and [`Self::Voiding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "kebab-case")]
pub enum Status {
    /// The payment is not due yet.
    Pending,
    /// The payment is due, and there is no copy of the account.
    AwaitingAccount,
    /// A capture may have been sent; its outcome is unknown.
    Capturing,
    /// A void may have been sent; queries show `capturing`.
    Voiding,
    /// The payment is captured.
    Captured,
    /// The payment is declined for good.
    Declined,
    /// A refund is due or in progress.
    Refunding,
    /// The payment is refunded.
    Refunded,
    /// The order was cancelled before the capture.
    Cancelled,
}

impl Model {
    /// Returns the time of the next attempt, in milliseconds since 1970.
    #[must_use]
    pub fn due(&self) -> Option<i64> {
        self.due_at.or(self.next_attempt_at)
    }

    /// Returns the idempotency key of requests to the provider.
    #[must_use]
    pub fn key(&self) -> &str {
        self.provider_key.as_deref().unwrap_or(&self.order_id)
    }

    /// Returns the status that queries show.
    #[must_use]
    pub fn public_status(&self) -> PaymentStatus {
        match self.status {
            Status::Refunding if self.alarm_since.is_some() => PaymentStatus::RefundFailed,
            status => status.into(),
        }
    }
}

/// The time of the next attempt, as [`Model::due`]: the expression of the index `payments_due`.
#[must_use]
pub fn due() -> SimpleExpr {
    Expr::cust("COALESCE(due_at, next_attempt_at)")
}

impl From<Status> for PaymentStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::AwaitingAccount => Self::AwaitingAccount,
            Status::Capturing | Status::Voiding => Self::Capturing,
            Status::Captured => Self::Captured,
            Status::Declined => Self::Declined,
            Status::Refunding => Self::Refunding,
            Status::Refunded => Self::Refunded,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
