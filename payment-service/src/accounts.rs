//! The copies of accounts, written by version: the order and the repetition of events do not matter.

use std::collections::{BTreeMap, BTreeSet};

use choreography::statement;
use contracts::CustomerId;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ConnectionTrait, DbErr};

use crate::entity::account_copy::{Column, Entity};
use crate::payment::Account;
use crate::row;

/// Writes copies of accounts; each overwrites only an older version.
///
/// One statement for all of them, which is atomic: it may run concurrently with any other writer of copies.
///
/// # Errors
///
/// The database's error.
pub async fn apply(
    connection: &impl ConnectionTrait,
    accounts: impl IntoIterator<Item = (CustomerId, Account)>,
) -> Result<(), DbErr> {
    let mut newest: BTreeMap<CustomerId, Account> = BTreeMap::new();
    for (customer_id, account) in accounts {
        let known = newest.get(&customer_id).map_or(0, |known| known.version);
        if account.version > known {
            newest.insert(customer_id, account);
        }
    }
    let rows = newest.iter().map(|(customer_id, account)| row::of_account(customer_id, account)).collect();
    let newer = Expr::col((Entity, Column::Version)).lt(Expr::col(("excluded", Column::Version)));
    let over_older = statement::overwrite_row::<Entity>().action_and_where(newer).to_owned();
    statement::insert(connection, rows, Some(over_older)).await
}

/// Loads the copies of some accounts; accounts without a copy are missing from the result.
///
/// # Errors
///
/// The database's error, or [`DbErr::Custom`] if a row is invalid.
pub async fn load(
    connection: &impl ConnectionTrait,
    customer_ids: &BTreeSet<CustomerId>,
) -> Result<BTreeMap<CustomerId, Account>, DbErr> {
    let customer_ids: Vec<String> = customer_ids.iter().map(ToString::to_string).collect();
    let rows = statement::select_in::<Entity, _>(connection, Column::CustomerId, &customer_ids).await?;
    rows.into_iter().map(row::to_account).collect()
}
