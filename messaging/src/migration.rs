//! The kit's own tables. A service's migrator lists these first, then its own.

use sea_orm::sea_query::{Expr, ExprTrait, Index};
use sea_orm_migration::prelude::*;

use crate::{event_store, inbox, mishap, outbox};

/// Returns the migrations of `inbox`, `outbox`, and `mishaps`, which every service has.
#[must_use]
pub fn messaging() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(InboxAndOutbox), Box::new(Mishaps)]
}

/// Returns the migrations of `events`, which event-sourced services have.
#[must_use]
pub fn event_store() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Events)]
}

struct InboxAndOutbox;

impl MigrationName for InboxAndOutbox {
    fn name(&self) -> &'static str {
        "messaging_0001_inbox_and_outbox"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for InboxAndOutbox {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use inbox::entity::Column as Inbox;
        use outbox::entity::Column as Outbox;
        let inbox = Table::create()
            .table(inbox::entity::Entity)
            .col(ColumnDef::new(Inbox::MessageId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Inbox::ReceivedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(inbox).await?;
        let by_age = Index::create()
            .name("inbox_received_at")
            .table(inbox::entity::Entity)
            .col(Inbox::ReceivedAt)
            .to_owned();
        manager.create_index(by_age).await?;

        let outbox = Table::create()
            .table(outbox::entity::Entity)
            .col(ColumnDef::new(Outbox::RowId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Outbox::MessageId).uuid().not_null())
            .col(ColumnDef::new(Outbox::Subject).text().not_null())
            .col(ColumnDef::new(Outbox::Headers).text().not_null())
            .col(ColumnDef::new(Outbox::Body).binary().not_null())
            .col(ColumnDef::new(Outbox::PublishedAt).big_integer())
            .to_owned();
        manager.create_table(outbox).await?;
        // Holds only what a sweep looks for, so it stays small however long rows are kept.
        let unpublished = Index::create()
            .name("outbox_unpublished")
            .table(outbox::entity::Entity)
            .col(Outbox::RowId)
            .and_where(Expr::col(Outbox::PublishedAt).is_null())
            .to_owned();
        manager.create_index(unpublished).await
    }
}

struct Events;

impl MigrationName for Events {
    fn name(&self) -> &'static str {
        "messaging_0002_events"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Events {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use event_store::entity::Column as Event;
        let events = Table::create()
            .table(event_store::entity::Entity)
            .col(ColumnDef::new(Event::AggregateId).text().not_null())
            .col(ColumnDef::new(Event::Version).big_integer().not_null())
            .col(ColumnDef::new(Event::MessageId).uuid().not_null())
            .col(ColumnDef::new(Event::MessageType).text().not_null())
            .col(ColumnDef::new(Event::Body).text().not_null())
            .col(ColumnDef::new(Event::CausationId).uuid().not_null())
            .col(ColumnDef::new(Event::CorrelationId).uuid().not_null())
            .col(ColumnDef::new(Event::RecordedAt).big_integer().not_null())
            .primary_key(Index::create().col(Event::AggregateId).col(Event::Version))
            .to_owned();
        manager.create_table(events).await
    }
}

struct Mishaps;

impl MigrationName for Mishaps {
    fn name(&self) -> &'static str {
        "messaging_0003_mishaps"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Mishaps {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use mishap::entity::Column as Mishap;
        let mishaps = Table::create()
            .table(mishap::entity::Entity)
            .col(ColumnDef::new(Mishap::MessageId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Mishap::Key).text().not_null())
            .col(ColumnDef::new(Mishap::Subject).text().not_null())
            .col(ColumnDef::new(Mishap::Stream).text().not_null())
            .col(ColumnDef::new(Mishap::Sequence).big_integer().not_null())
            .col(ColumnDef::new(Mishap::Failures).big_integer().not_null())
            .col(ColumnDef::new(Mishap::FailedAt).big_integer())
            .col(ColumnDef::new(Mishap::Detail).text())
            .col(ColumnDef::new(Mishap::Duplicates).big_integer().not_null())
            .col(ColumnDef::new(Mishap::DuplicateAt).big_integer())
            .col(ColumnDef::new(Mishap::GivenUpAt).big_integer())
            .col(ColumnDef::new(Mishap::Reason).text())
            .col(ColumnDef::new(Mishap::RedrivenAt).big_integer())
            .col(ColumnDef::new(Mishap::UpdatedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(mishaps).await?;
        for (name, column) in [("mishaps_key", Mishap::Key), ("mishaps_updated_at", Mishap::UpdatedAt)] {
            let index = Index::create().name(name).table(mishap::entity::Entity).col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }
}
