//! The table `order_views`, with an index for the open orders of the reconciliation.

use sea_orm::sea_query::Index;
use sea_orm_migration::prelude::*;

use crate::entity::order_view::{Column, Entity};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "order_0001_order_views"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Entity)
            .col(ColumnDef::new(Column::OrderId).text().not_null().primary_key())
            .col(ColumnDef::new(Column::CustomerId).text().not_null())
            .col(ColumnDef::new(Column::Status).text().not_null())
            .col(ColumnDef::new(Column::Currency).text().not_null())
            .col(ColumnDef::new(Column::TotalPrice).big_integer().not_null())
            .col(ColumnDef::new(Column::Items).text().not_null())
            .col(ColumnDef::new(Column::Reason).text())
            .col(ColumnDef::new(Column::Version).big_integer().not_null())
            .col(ColumnDef::new(Column::PlacedAt).big_integer().not_null())
            .col(ColumnDef::new(Column::UpdatedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(table).await?;
        let by_status = Index::create()
            .name("order_views_status")
            .table(Entity)
            .col(Column::Status)
            .col(Column::PlacedAt)
            .col(Column::OrderId)
            .to_owned();
        manager.create_index(by_status).await
    }
}
