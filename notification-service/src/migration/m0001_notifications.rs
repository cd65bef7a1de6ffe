//! The tables `customers`, `notifications`, and `notification_counters`.

use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Index};
use sea_orm_migration::prelude::*;

use crate::entity::{counter, customer, notification};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "notification_0001_notifications"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        customers(manager).await?;
        counters(manager).await?;
        notifications(manager).await?;
        indices(manager).await
    }
}

async fn customers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use customer::Column as Customer;
    let customer = Table::create()
        .table(customer::Entity)
        .col(ColumnDef::new(Customer::CustomerId).text().not_null().primary_key())
        .col(ColumnDef::new(Customer::Version).big_integer().not_null())
        .col(ColumnDef::new(Customer::Deleted).boolean().not_null())
        .col(ColumnDef::new(Customer::Name).text())
        .col(ColumnDef::new(Customer::Email).text())
        .to_owned();
    manager.create_table(customer).await
}

async fn counters(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use counter::Column as Counter;
    let counter = Table::create()
        .table(counter::Entity)
        .col(
            ColumnDef::new(Counter::Id)
                .big_integer()
                .not_null()
                .primary_key()
                .check(Expr::col(Counter::Id).eq(counter::ID)),
        )
        .col(ColumnDef::new(Counter::LastSequence).big_integer().not_null())
        .to_owned();
    manager.create_table(counter).await?;
    let row = counter::ActiveModel { id: Set(counter::ID), last_sequence: Set(0) };
    counter::Entity::insert(row).exec_without_returning(manager.get_connection()).await?;
    Ok(())
}

async fn notifications(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use notification::Column as Notification;
    let notification = Table::create()
        .table(notification::Entity)
        .col(ColumnDef::new(Notification::Sequence).big_integer().not_null().primary_key())
        .col(ColumnDef::new(Notification::EventId).uuid().not_null().unique_key())
        .col(ColumnDef::new(Notification::CustomerId).text().not_null())
        .col(ColumnDef::new(Notification::OrderId).text().not_null())
        .col(ColumnDef::new(Notification::MessageType).text().not_null())
        .col(ColumnDef::new(Notification::Subject).text().not_null())
        .col(ColumnDef::new(Notification::Text).text().not_null())
        .col(ColumnDef::new(Notification::CreatedAt).big_integer().not_null())
        .col(ColumnDef::new(Notification::DeliveredAt).big_integer())
        .col(ColumnDef::new(Notification::Attempts).big_integer().not_null())
        .col(ColumnDef::new(Notification::NextAttemptAt).big_integer())
        .col(ColumnDef::new(Notification::FailedAt).big_integer())
        .col(ColumnDef::new(Notification::Failure).text())
        .to_owned();
    manager.create_table(notification).await
}

/// One index for readers, and two partial indexes on unsent mails only, which stay small.
async fn indices(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use notification::Column as Notification;
    let by_customer = Index::create()
        .name("notifications_customer_id_sequence")
        .table(notification::Entity)
        .col(Notification::CustomerId)
        .col(Notification::Sequence)
        .to_owned();
    manager.create_index(by_customer).await?;
    let due = Index::create()
        .name("notifications_due")
        .table(notification::Entity)
        .col(Notification::NextAttemptAt)
        .and_where(Expr::col(Notification::NextAttemptAt).is_not_null())
        .to_owned();
    manager.create_index(due).await?;
    let unsent = Index::create()
        .name("notifications_unsent")
        .table(notification::Entity)
        .col(Notification::CustomerId)
        .and_where(Expr::col(Notification::DeliveredAt).is_null())
        .and_where(Expr::col(Notification::FailedAt).is_null())
        .to_owned();
    manager.create_index(unsent).await
}
