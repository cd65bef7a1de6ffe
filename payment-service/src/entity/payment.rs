//! The table `payments`.

use contracts::query::PaymentStatus;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, SimpleExpr};

/// The payment of an order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    /// For which order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// Where it stands.
    pub status: Status,
    /// Whose money; null, as amount and currency, until the order has been heard of.
    pub customer_id: Option<String>,
    /// How much, in minor units.
    pub amount: Option<i64>,
    /// Of which currency, ISO 4217.
    pub currency: Option<String>,
    /// Why it was declined, where it was.
    pub reason: Option<String>,
    /// What the payment provider knows the money by, once it has it.
    pub reference: Option<String>,
    /// The card that is charged, while it is.
    pub token: Option<String>,
    /// The id of the message that said that the stock is reserved.
    pub reserved_id: Option<Uuid>,
    /// The id of the message that said that the order is void.
    pub cancelled_id: Option<Uuid>,
    /// The id of the message that began the order's flow.
    pub correlation_id: Uuid,
    /// W3C trace context of what moved it on last.
    pub trace_parent: Option<String>,
    /// When it came to be due, in milliseconds since 1970.
    pub due_since: Option<i64>,
    /// How often the provider was asked, or was about to be.
    pub attempts: i64,
    /// When there is something to do, in milliseconds since 1970; null where nothing is. While the provider is being
    /// asked: when another may ask it again.
    pub next_attempt_at: Option<i64>,
    /// As `next_attempt_at`, of payments with a `provider_key`: instances of earlier releases, which would ask under
    /// another key, do not see them.
    pub due_at: Option<i64>,
    /// The idempotency key of requests to the provider; null where that is the order's id.
    pub provider_key: Option<String>,
    /// What the provider answered last, where that was no success.
    pub provider_answer: Option<String>,
    /// Since when a person is needed, in milliseconds since 1970; null where none is.
    pub alarm_since: Option<i64>,
    /// The instance that asks the provider at present.
    pub lease_owner: Option<String>,
    /// How many changes there have been; 0 only inside of the transaction that makes the row.
    pub version: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
}

/// Where a payment stands: [`PaymentStatus`] as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "kebab-case")]
pub enum Status {
    /// Nothing is due yet.
    Pending,
    /// It is due, and there is no copy of the account.
    AwaitingAccount,
    /// The provider may have been asked, and its answer is not known.
    Capturing,
    /// The provider may have been told to take no money; to others this is still capturing.
    Voiding,
    /// The money is taken.
    Captured,
    /// The money is not taken, and will not be.
    Declined,
    /// The money is about to be given back.
    Refunding,
    /// The money is given back.
    Refunded,
    /// The order was void before money was taken.
    Cancelled,
}

impl Model {
    /// When there is something to do, in milliseconds since 1970.
    #[must_use]
    pub fn due(&self) -> Option<i64> {
        self.due_at.or(self.next_attempt_at)
    }

    /// The idempotency key of requests to the provider.
    #[must_use]
    pub fn key(&self) -> &str {
        self.provider_key.as_deref().unwrap_or(&self.order_id)
    }

    /// Where it stands, for others.
    #[must_use]
    pub fn public_status(&self) -> PaymentStatus {
        match self.status {
            Status::Refunding if self.alarm_since.is_some() => PaymentStatus::RefundFailed,
            status => status.into(),
        }
    }
}

/// When there is something to do, as [`Model::due`]: the text of the index `payment_due`.
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
