//! The table `stock_receipts`. Receipts before this migration are the units that are available or reserved now.

use sea_orm::DbBackend;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm_migration::prelude::*;

use crate::entity::product;
use crate::entity::stock_receipt::{Column, Entity};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "inventory_0002_stock_receipts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut product_id = ColumnDef::new(Column::ProductId);
        product_id.text().not_null().primary_key();
        if manager.get_database_backend() == DbBackend::Postgres {
            product_id.extra("COLLATE \"C\"");
        }
        let units = ColumnDef::new(Column::Units)
            .big_integer()
            .not_null()
            .check(Expr::col(Column::Units).gte(0))
            .to_owned();
        manager.create_table(Table::create().table(Entity).col(product_id).col(units).to_owned()).await?;
        let known = Query::select()
            .column(product::Column::ProductId)
            .expr(Expr::col(product::Column::Available).add(Expr::col(product::Column::Reserved)))
            .from(product::Entity)
            .to_owned();
        let mut insert = Query::insert();
        insert.into_table(Entity).columns([Column::ProductId, Column::Units]);
        insert.select_from(known).map_err(|error| DbErr::Custom(error.to_string()))?;
        manager.execute(insert).await
    }
}
