//! The table `accounts`. A check constraint refuses a deleted account that still has details.

use sea_orm::DbBackend;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm_migration::prelude::*;

use crate::entity::account::{Column, Entity};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "account_0001_accounts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut customer_id = ColumnDef::new(Column::CustomerId);
        customer_id.text().not_null().primary_key();
        // Compared byte by byte as SQLite does by default, so that both databases sort lists alike.
        if manager.get_database_backend() == DbBackend::Postgres {
            customer_id.extra("COLLATE \"C\"");
        }
        let account = Table::create()
            .table(Entity)
            .col(customer_id)
            .col(ColumnDef::new(Column::Version).big_integer().not_null().check(Expr::col(Column::Version).gte(1)))
            .col(ColumnDef::new(Column::Deleted).boolean().not_null())
            .col(ColumnDef::new(Column::Details).text())
            .col(ColumnDef::new(Column::UpdatedAt).big_integer().not_null())
            .check(Expr::col(Column::Deleted).eq(Expr::col(Column::Details).is_null()))
            .to_owned();
        manager.create_table(account).await
    }
}
