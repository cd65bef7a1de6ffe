//! The table `notifications`: what customers were told, and whether it was mailed.
//!
//! | what became of its mail | `next_attempt_at` | `delivered_at` | `failed_at` |
//! |---|---|---|---|
//! | waits until the account comes | | | |
//! | is due at that time | set | | |
//! | is handed to the mail server | | set | |
//! | is never sent (again) | | | set |

use sea_orm::entity::prelude::*;

/// One notification. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notifications")]
pub struct Model {
    /// Its place among all notifications; a gap may be left, an order of commits not (see [`super::counter`]).
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    /// The event it tells of; no event is told of twice.
    pub event_id: Uuid,
    /// Who is told.
    pub customer_id: String,
    /// Which order it is about.
    pub order_id: String,
    /// The type of the event.
    pub message_type: String,
    /// The subject line.
    #[sea_orm(column_type = "Text")]
    pub subject: String,
    /// The text.
    #[sea_orm(column_type = "Text")]
    pub text: String,
    /// When it was written.
    pub created_at: i64,
    /// When the mail server took it.
    pub delivered_at: Option<i64>,
    /// How often it was given to the mail server, tries that a crash ended included.
    pub attempts: i64,
    /// When it is next; under way, when it is tried again if nothing more is heard of this try.
    pub next_attempt_at: Option<i64>,
    /// Since when it is clear that it will not be sent.
    pub failed_at: Option<i64>,
    /// What was wrong last.
    #[sea_orm(column_type = "Text", nullable)]
    pub failure: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
