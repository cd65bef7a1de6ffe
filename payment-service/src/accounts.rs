//! The copies of accounts: kept by version, so that neither order nor repetition matters.

use std::collections::{BTreeMap, BTreeSet};

use contracts::CustomerId;
use messaging::statement;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ConnectionTrait, DbErr, Iterable};

use crate::entity::account_copy::{Column, Entity};
use crate::payment::Account;
use crate::row;

/// Writes copies of accounts, each over an older one only.
///
/// One statement for many, which is a transaction in itself: it may run beside anything else that writes copies.
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
    let over_older = OnConflict::column(Column::CustomerId)
        .update_columns(Column::iter().skip(1))
        .action_and_where(newer)
        .to_owned();
    statement::insert(connection, rows, Some(over_older)).await
}

/// Loads the copies of some accounts; those that are not known here are not in it.
///
/// # Errors
///
/// The database's error, or [`DbErr::Custom`] where a row does not say what this service writes.
pub async fn load(
    connection: &impl ConnectionTrait,
    customer_ids: &BTreeSet<CustomerId>,
) -> Result<BTreeMap<CustomerId, Account>, DbErr> {
    let customer_ids: Vec<String> = customer_ids.iter().map(ToString::to_string).collect();
    let rows = statement::select_in::<Entity, _>(connection, Column::CustomerId, &customer_ids).await?;
    rows.into_iter().map(row::to_account).collect()
}
