//! The reconciliation totals of the notifications: repeated ones.

use choreography::query::QueryError;
use contracts::query::{MAX_NAMED, NotificationReconciliation, RepeatedNotification};
use sea_orm::{DatabaseConnection, EntityTrait, FromQueryResult, PaginatorTrait, Statement};

use crate::entity::notification::Entity;

/// The number of latest notifications that are examined.
const RECENT: u64 = 10_000;

#[derive(FromQueryResult)]
struct Row {
    order_id: String,
    message_type: String,
    notified: i64,
    total: i64,
}

/// Returns repeated notifications: each order has at most one event of each type.
///
/// # Errors
///
/// The database's error.
pub async fn reconciliation(db: DatabaseConnection) -> Result<NotificationReconciliation, QueryError> {
    let sql = format!(
        "SELECT order_id, message_type, COUNT(*) AS notified, COUNT(*) OVER () AS total FROM (\
         SELECT order_id, message_type FROM notifications ORDER BY sequence DESC LIMIT {RECENT}) AS recent \
         GROUP BY order_id, message_type HAVING COUNT(*) > 1 ORDER BY order_id, message_type LIMIT {MAX_NAMED}"
    );
    let rows = Row::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(&db).await?;
    let repeated_total = rows.first().map_or(0, |row| row.total.unsigned_abs());
    let repeated = rows.into_iter().map(|row| RepeatedNotification {
        order_id: row.order_id,
        message_type: row.message_type,
        count: row.notified,
    });
    let examined = Entity::find().count(&db).await?.min(RECENT);
    Ok(NotificationReconciliation { examined, repeated: repeated.collect(), repeated_total })
}
