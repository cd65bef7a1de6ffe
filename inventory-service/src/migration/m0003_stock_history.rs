//! The column `changed_at` of `products`, and the table `stock_history`. The history begins with the units of now.

use choreography::clock;
use choreography::envelope::unix_millis;
use sea_orm::DbBackend;
use sea_orm::sea_query::Expr;
use sea_orm_migration::prelude::*;

use crate::entity::product;
use crate::entity::stock_history::{Column, Entity};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "inventory_0003_stock_history"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let now = unix_millis(clock::now());
        let changed_at =
            ColumnDef::new(product::Column::ChangedAt).big_integer().not_null().default(now).to_owned();
        manager.alter_table(Table::alter().table(product::Entity).add_column(changed_at).to_owned()).await?;

        let mut product_id = ColumnDef::new(Column::ProductId);
        product_id.text().not_null();
        if manager.get_database_backend() == DbBackend::Postgres {
            product_id.extra("COLLATE \"C\"");
        }
        let mut table = Table::create();
        table.table(Entity).col(product_id);
        for column in [Column::ChangedAt, Column::Available, Column::Reserved, Column::Backordered] {
            table.col(ColumnDef::new(column).big_integer().not_null());
        }
        table.primary_key(Index::create().col(Column::ProductId).col(Column::ChangedAt));
        manager.create_table(table).await?;

        let units = [product::Column::Available, product::Column::Reserved, product::Column::Backordered];
        let known = Query::select()
            .column(product::Column::ProductId)
            .expr(Expr::value(now))
            .columns(units)
            .from(product::Entity)
            .to_owned();
        let mut insert = Query::insert();
        insert.into_table(Entity).columns([
            Column::ProductId,
            Column::ChangedAt,
            Column::Available,
            Column::Reserved,
            Column::Backordered,
        ]);
        insert.select_from(known).map_err(|error| DbErr::Custom(error.to_string()))?;
        manager.execute(insert).await
    }
}
