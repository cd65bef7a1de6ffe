//! The tables `payments`, `account_copies`, and `exposures`. A check constraint refuses an exposure below zero.

use sea_orm::sea_query::{Expr, ExprTrait, IntoIden};
use sea_orm::{DbBackend, Iterable};
use sea_orm_migration::prelude::*;

use crate::entity::{account_copy, exposure, payment};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "payment_0001_payments"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        payments(manager).await?;
        accounts(manager).await
    }
}

async fn payments(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use payment::Column as Payment;
    let backend = manager.get_database_backend();
    let statuses = payment::Status::iter().map(|status| sea_orm::ActiveEnum::to_value(&status));
    let table = Table::create()
        .table(payment::Entity)
        .col(id(backend, Payment::OrderId).primary_key())
        .col(ColumnDef::new(Payment::Status).text().not_null().check(Expr::col(Payment::Status).is_in(statuses)))
        .col(ColumnDef::new(Payment::CustomerId).text())
        .col(ColumnDef::new(Payment::Amount).big_integer())
        .col(ColumnDef::new(Payment::Currency).text())
        .col(ColumnDef::new(Payment::Reason).text())
        .col(ColumnDef::new(Payment::Reference).text())
        .col(ColumnDef::new(Payment::Token).text())
        .col(ColumnDef::new(Payment::ReservedId).uuid())
        .col(ColumnDef::new(Payment::CancelledId).uuid())
        .col(ColumnDef::new(Payment::CorrelationId).uuid().not_null())
        .col(ColumnDef::new(Payment::TraceParent).text())
        .col(ColumnDef::new(Payment::DueSince).big_integer())
        .col(count(Payment::Attempts))
        .col(ColumnDef::new(Payment::NextAttemptAt).big_integer())
        .col(count(Payment::Version))
        .col(ColumnDef::new(Payment::UpdatedAt).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    // A partial index on unfinished payments only, which stays small.
    let unfinished = Index::create()
        .name("payments_unfinished")
        .table(payment::Entity)
        .col(Payment::Status)
        .col(Payment::NextAttemptAt)
        .and_where(Expr::col(Payment::NextAttemptAt).is_not_null())
        .to_owned();
    manager.create_index(unfinished).await
}

async fn accounts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use account_copy::Column as Account;
    use exposure::Column as Exposure;
    let backend = manager.get_database_backend();
    let account = Table::create()
        .table(account_copy::Entity)
        .col(id(backend, Account::CustomerId).primary_key())
        .col(count(Account::Version))
        .col(ColumnDef::new(Account::Deleted).boolean().not_null())
        .col(ColumnDef::new(Account::Token).text())
        .col(ColumnDef::new(Account::Brand).text())
        .col(ColumnDef::new(Account::LastFour).text())
        .col(ColumnDef::new(Account::Expiry).text())
        .col(ColumnDef::new(Account::LimitAmount).big_integer())
        .col(ColumnDef::new(Account::LimitCurrency).text())
        .to_owned();
    manager.create_table(account).await?;
    let exposure = Table::create()
        .table(exposure::Entity)
        .col(id(backend, Exposure::CustomerId))
        .col(id(backend, Exposure::Currency))
        .col(count(Exposure::Amount))
        .primary_key(Index::create().col(Exposure::CustomerId).col(Exposure::Currency))
        .to_owned();
    manager.create_table(exposure).await
}

/// A column for an id, compared byte by byte as SQLite does by default, so that both databases sort lists alike.
fn id(backend: DbBackend, column: impl IntoIden) -> ColumnDef {
    let mut id = ColumnDef::new(column);
    id.text().not_null();
    if backend == DbBackend::Postgres {
        id.extra("COLLATE \"C\"");
    }
    id
}

/// A column for a number that is never below zero.
fn count<C: IntoIden + Copy>(column: C) -> ColumnDef {
    ColumnDef::new(column).big_integer().not_null().check(Expr::col(column).gte(0)).to_owned()
}
