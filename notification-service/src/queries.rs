//! The queries: a customer's notifications. [`contracts::query`] has the types of requests and replies.

use anyhow::Context;
use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::query::{Endpoint, Query, QueryError, cut_page};
use contracts::query::{DEFAULT_PAGE, ListNotifications, MAX_PAGE, NotificationView, Page};
use contracts::{CustomerId, OrderId};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait};
use sea_orm::{QueryFilter, QueryOrder, QuerySelect};

use crate::entity::notification::{Column, Entity, Model};
use crate::reconciliation::reconciliation;

/// Returns the query endpoints on a database.
#[must_use]
pub fn endpoints(db: &DatabaseConnection) -> Vec<Endpoint> {
    let (for_list, for_reconciliation) = (db.clone(), db.clone());
    vec![
        Endpoint::new("list", "notification.query.list.*", move |query| list(for_list.clone(), query)),
        Endpoint::new("reconciliation", "notification.query.reconciliation", move |_| {
            reconciliation(for_reconciliation.clone())
        }),
    ]
}

/// Returns a page of a customer's notifications, oldest first.
///
/// A customer without notifications, or an unknown one, has an empty page.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the key is not a valid id, the body is not a valid [`ListNotifications`], or its limit is
/// out of range.
pub async fn list(db: DatabaseConnection, query: Query) -> Result<Page<NotificationView>, QueryError> {
    let id =
        CustomerId::parse(query.key).map_err(|error| QueryError::Invalid(format!("the customer id {error}")))?;
    let request: ListNotifications = if query.body.is_empty() {
        ListNotifications::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    let limit = request.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(QueryError::Invalid(format!("limit must be 1 to {MAX_PAGE}")));
    }
    // One row more than requested shows whether another page follows.
    let mut rows = page_after(&db, &id, request.after.unwrap_or(0), limit + 1).await?;
    let more = cut_page(&mut rows, limit, |row| row.text.len());
    let next = rows.last().filter(|_| more).map(|row| row.sequence.to_string());
    let items = rows.into_iter().map(view).collect::<anyhow::Result<_>>().map_err(QueryError::Unavailable)?;
    Ok(Page { items, next })
}

/// Returns at most `limit` notifications of a customer after a sequence, oldest first.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn page_after(
    connection: &impl ConnectionTrait,
    customer_id: &CustomerId,
    after: i64,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::CustomerId.eq(customer_id.as_str()))
        .filter(Column::Sequence.gt(after))
        .order_by_asc(Column::Sequence)
        .limit(limit)
        .all(connection)
        .await
}

/// Converts a row to the reply of queries.
///
/// # Errors
///
/// If the row is invalid.
pub(crate) fn view(row: Model) -> anyhow::Result<NotificationView> {
    Ok(NotificationView {
        sequence: row.sequence,
        event_id: row.event_id.to_string(),
        customer_id: CustomerId::parse(row.customer_id).context("reading a notification")?,
        order_id: OrderId::parse(row.order_id).context("reading a notification")?,
        message_type: row.message_type,
        subject: row.subject,
        text: row.text,
        created_at: rfc3339(from_unix_millis(row.created_at)),
        delivered_at: row.delivered_at.map(|at| rfc3339(from_unix_millis(at))),
    })
}
