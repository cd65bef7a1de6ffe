//! The table `notifications`: the notifications of customers, and the delivery of their mails.
//!
//! | state of the mail | `next_attempt_at` | `delivered_at` | `failed_at` |
//! |---|---|---|---|
//! | waits for the account | | | |
//! | is due at that time | set | | |
//! | is accepted by the mail server | | set | |
//! | is never sent (again) | | | set |

use sea_orm::entity::prelude::*;

/// One notification. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notifications")]
pub struct Model {
    /// The number of the notification, in the order of commits, possibly with gaps (see [`super::counter`]).
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    /// The id of the event, unique: there is one notification per event.
    pub event_id: Uuid,
    /// The id of the customer to notify.
    pub customer_id: String,
    /// The order's id.
    pub order_id: String,
    /// The type of the event.
    pub message_type: String,
    /// The subject line.
    #[sea_orm(column_type = "Text")]
    pub subject: String,
    /// The text of the notification.
    #[sea_orm(column_type = "Text")]
    pub text: String,
    /// The time of creation.
    pub created_at: i64,
    /// The time at which the mail server accepted the mail.
    pub delivered_at: Option<i64>,
    /// The number of attempts to send the mail, including those that a crash ended.
    pub attempts: i64,
    /// The time of the next attempt; during an attempt, the end of its lease.
    pub next_attempt_at: Option<i64>,
    /// The time at which sending was abandoned.
    pub failed_at: Option<i64>,
    /// The latest error.
    #[sea_orm(column_type = "Text", nullable)]
    pub failure: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
