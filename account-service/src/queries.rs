//! The queries: one account, a snapshot of all. [`contracts::query`] has the types of requests and replies.

use choreography::query::{Endpoint, Query, QueryError, cut_page};
use contracts::CustomerId;
use contracts::query::{AccountSnapshotEntry, AccountView, DEFAULT_PAGE, ListAccounts, MAX_PAGE, Page};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::account::Account;
use crate::entity::account::{Column, Entity, Model};
use crate::handler::account_of;

/// Returns the query endpoints on a database.
#[must_use]
pub fn endpoints(db: &DatabaseConnection) -> Vec<Endpoint> {
    let (for_get, for_snapshot) = (db.clone(), db.clone());
    vec![
        Endpoint::new("get", "account.query.get.*", move |query| get(for_get.clone(), query)),
        Endpoint::new("snapshot", "account.query.snapshot", move |query| snapshot(for_snapshot.clone(), query)),
    ]
}

/// Returns one account.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the key is not a valid id, [`QueryError::NotFound`] if the account does not exist or was
/// deleted.
pub async fn get(db: DatabaseConnection, query: Query) -> Result<AccountView, QueryError> {
    let id =
        CustomerId::parse(query.key).map_err(|error| QueryError::Invalid(format!("the customer id {error}")))?;
    let row = Entity::find_by_id(id.as_str()).one(&db).await?;
    match row.map(account_of).transpose()? {
        Some((customer_id, Account::Open { version, details })) => {
            Ok(AccountView { customer_id, version, details })
        }
        _ => Err(QueryError::NotFound(format!("there is no account of customer {id}"))),
    }
}

/// Returns a page of all accounts by id, including deleted ones.
///
/// Accounts may change between two pages. A service that builds copies from a snapshot also consumes the events since
/// before the first page, and applies both by version.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a valid [`ListAccounts`], or its limit is out of range.
pub async fn snapshot(db: DatabaseConnection, query: Query) -> Result<Page<AccountSnapshotEntry>, QueryError> {
    let request: ListAccounts = if query.body.is_empty() {
        ListAccounts::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    let limit = request.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(QueryError::Invalid(format!("limit must be 1 to {MAX_PAGE}")));
    }
    let mut select = Entity::find();
    if let Some(after) = &request.after {
        select = select.filter(Column::CustomerId.gt(after.as_str()));
    }
    // One row more than requested shows whether another page follows.
    let mut rows = select.order_by_asc(Column::CustomerId).limit(limit + 1).all(&db).await?;
    let more = cut_page(&mut rows, limit, |row| row.details.as_ref().map_or(0, String::len));
    let next = rows.last().filter(|_| more).map(|row| row.customer_id.clone());
    Ok(Page { items: rows.into_iter().map(entry).collect::<Result<_, _>>()?, next })
}

fn entry(row: Model) -> Result<AccountSnapshotEntry, QueryError> {
    let (customer_id, account) = account_of(row)?;
    let version = account.version();
    let details = match account {
        Account::Open { details, .. } => Some(details),
        Account::Unknown | Account::Deleted { .. } => None,
    };
    Ok(AccountSnapshotEntry { customer_id, version, deleted: details.is_none(), details })
}
