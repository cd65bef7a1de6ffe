//! The queries: one payment, and the reconciliation totals. [`contracts::query`] has the types of replies.

use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::query::{Endpoint, Query, QueryError};
use contracts::OrderId;
use contracts::query::{LedgerCheck, PaymentView};
use sea_orm::{DatabaseConnection, EntityTrait};
use tokio::sync::watch;

use crate::entity::payment::Entity;
use crate::reconciliation::{Overdue, reconciliation};
use crate::row;

/// Returns the query endpoints on a database, with the latest comparison of the provider's ledger.
#[must_use]
pub fn endpoints(db: &DatabaseConnection, overdue: Overdue, ledger: watch::Receiver<LedgerCheck>) -> Vec<Endpoint> {
    let (for_get, for_reconciliation) = (db.clone(), db.clone());
    vec![
        Endpoint::new("get", "payment.query.get.*", move |query| get(for_get.clone(), query)),
        Endpoint::new("reconciliation", "payment.query.reconciliation", move |_| {
            let latest = ledger.borrow().clone();
            reconciliation(for_reconciliation.clone(), overdue, latest)
        }),
    ]
}

/// Returns the payment of an order.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the key is not a valid id, [`QueryError::NotFound`] if the order's event has not arrived.
pub async fn get(db: DatabaseConnection, query: Query) -> Result<PaymentView, QueryError> {
    let id = OrderId::parse(query.key).map_err(|error| QueryError::Invalid(format!("the order id {error}")))?;
    let unknown = || QueryError::NotFound(format!("there is no payment of order {id}"));
    let row = Entity::find_by_id(id.as_str()).one(&db).await?.ok_or_else(unknown)?;
    let charge = row::charge_of(&row)?.ok_or_else(unknown)?;
    Ok(PaymentView {
        order_id: id,
        customer_id: charge.customer_id,
        status: row.public_status(),
        amount: charge.amount,
        currency: charge.currency,
        reason: row.reason.as_deref().and_then(row::reason_of),
        reference: row.reference,
        updated_at: rfc3339(from_unix_millis(row.updated_at)),
    })
}
