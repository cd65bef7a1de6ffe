//! The tables `products`, `reservations`, and `backorder_lines`. Check constraints refuse counts below zero.

use sea_orm::sea_query::{Expr, ExprTrait, IntoIden};
use sea_orm::{DbBackend, Iterable};
use sea_orm_migration::prelude::*;

use crate::entity::{backorder_line, product, reservation};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "inventory_0001_stock"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use backorder_line::Column as BackorderLine;
        use product::Column as Product;
        use reservation::Column as Reservation;
        let backend = manager.get_database_backend();

        let product = Table::create()
            .table(product::Entity)
            .col(id(backend, Product::ProductId).primary_key())
            .col(count(Product::Available, 0))
            .col(count(Product::Reserved, 0))
            .col(count(Product::Backordered, 0))
            .col(count(Product::LastPosition, 0))
            .col(count(Product::Version, 0))
            .to_owned();
        manager.create_table(product).await?;

        let statuses = reservation::Status::iter().map(|status| sea_orm::ActiveEnum::to_value(&status));
        let waits = Expr::col(Reservation::Status).eq(sea_orm::ActiveEnum::to_value(&reservation::Status::Waiting));
        let reservation = Table::create()
            .table(reservation::Entity)
            .col(id(backend, Reservation::OrderId).primary_key())
            .col(
                ColumnDef::new(Reservation::Status)
                    .text()
                    .not_null()
                    .check(Expr::col(Reservation::Status).is_in(statuses)),
            )
            .col(ColumnDef::new(Reservation::Lines).text().not_null())
            .col(ColumnDef::new(Reservation::CorrelationId).uuid().not_null())
            .col(count(Reservation::Version, 1))
            .col(ColumnDef::new(Reservation::Position).big_integer())
            .check(waits.eq(Expr::col(Reservation::Position).is_not_null()))
            .to_owned();
        manager.create_table(reservation).await?;

        let backorder_line = Table::create()
            .table(backorder_line::Entity)
            .col(id(backend, BackorderLine::ProductId))
            .col(count(BackorderLine::Position, 1))
            .col(id(backend, BackorderLine::OrderId))
            .col(count(BackorderLine::Quantity, 1))
            .primary_key(
                Index::create()
                    .col(BackorderLine::ProductId)
                    .col(BackorderLine::Position)
                    .col(BackorderLine::OrderId),
            )
            .to_owned();
        manager.create_table(backorder_line).await?;
        let by_order = Index::create()
            .name("backorder_lines_order_id")
            .table(backorder_line::Entity)
            .col(BackorderLine::OrderId)
            .to_owned();
        manager.create_index(by_order).await
    }
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

/// A column for a number that is never below `min`.
fn count<C: IntoIden + Copy>(column: C, min: i64) -> ColumnDef {
    ColumnDef::new(column).big_integer().not_null().check(Expr::col(column).gte(min)).to_owned()
}
