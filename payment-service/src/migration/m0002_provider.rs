//! The columns of the provider's side: the idempotency key, the last response, an alarm, and the owner of a lease; and
//! the table `shops`. Instances of the previous release may run concurrently: they do not touch these columns.

use sea_orm_migration::prelude::*;

use crate::entity::{payment, shop};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "payment_0002_provider"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use payment::Column as Payment;
        for mut column in [
            ColumnDef::new(Payment::DueAt).big_integer().to_owned(),
            ColumnDef::new(Payment::ProviderKey).text().to_owned(),
            ColumnDef::new(Payment::ProviderAnswer).text().to_owned(),
            ColumnDef::new(Payment::AlarmSince).big_integer().to_owned(),
            ColumnDef::new(Payment::LeaseOwner).text().to_owned(),
        ] {
            let table = Table::alter().table(payment::Entity).add_column(&mut column).to_owned();
            manager.alter_table(table).await?;
        }
        let db = manager.get_connection();
        // As `payments_unfinished`, which instances of the previous release still use. The expression is that of
        // `due()`.
        db.execute_unprepared(
            "CREATE INDEX payments_due ON payments (COALESCE(due_at, next_attempt_at)) \
             WHERE COALESCE(due_at, next_attempt_at) IS NOT NULL",
        )
        .await?;
        db.execute_unprepared(
            "CREATE INDEX payments_alarm ON payments (alarm_since) WHERE alarm_since IS NOT NULL",
        )
        .await?;
        let shop = Table::create()
            .table(shop::Entity)
            .col(ColumnDef::new(shop::Column::Id).big_integer().not_null().primary_key())
            .col(ColumnDef::new(shop::Column::ShopId).text().not_null())
            .to_owned();
        manager.create_table(shop).await
    }
}
