//! The column of the principal on whose behalf a payment is captured. Instances of the previous release may run
//! concurrently: they do not touch it.

use sea_orm_migration::prelude::*;

use crate::entity::payment;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "payment_0003_auth"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = ColumnDef::new(payment::Column::Auth).text().to_owned();
        let table = Table::alter().table(payment::Entity).add_column(&mut column).to_owned();
        manager.alter_table(table).await
    }
}
