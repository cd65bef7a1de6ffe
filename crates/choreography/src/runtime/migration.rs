//! The library's own tables. A service's migrator lists these first, then its own.

use sea_orm::sea_query::{Expr, ExprTrait, Index};
use sea_orm_migration::prelude::*;

use crate::inbound::inbox;
use crate::outbound::outbox;
use crate::outbound::outbox_pending;
use crate::outbound::owner;
use crate::projection::table as projection_table;
use crate::state::delivery_issue;
use crate::state::effects;
use crate::state::event_store;
use crate::state::snapshot;

/// Returns the migrations of `inbox`, `outbox`, `delivery_issues`, `outbox_pending`, and `outbox_owners`: for every
/// service.
#[must_use]
pub fn library() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(InboxAndOutbox), Box::new(DeliveryIssues), Box::new(OutboxPending), Box::new(OutboxOwners)]
}

/// Returns the migrations of `events` and `snapshots`: for event-sourced services.
#[must_use]
pub fn event_store() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Events), Box::new(Snapshots)]
}

/// Returns the migrations of `effects`: for services with effects that need an idempotency key.
#[must_use]
pub fn effects() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Effects)]
}

/// Returns the migrations of `documents`: for services with [`documents`](crate::documents).
#[must_use]
pub fn documents() -> Vec<Box<dyn MigrationTrait>> {
    let table =
        "CREATE TABLE documents (document_id text PRIMARY KEY, version bigint NOT NULL, body text NOT NULL)";
    vec![sql("messaging_0010_documents", table)]
}

/// Returns the migrations of `projections`: for services with projections. Their own tables need none.
#[must_use]
pub fn projections() -> Vec<Box<dyn MigrationTrait>> {
    let stored_at = "ALTER TABLE projections ADD COLUMN position_stored_at bigint NOT NULL DEFAULT 0";
    vec![Box::new(Projections), sql("messaging_0011_projection_positions", stored_at)]
}

/// The migrator of a service without tables of its own.
#[derive(Debug)]
pub struct Library;

impl MigratorTrait for Library {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        library()
    }
}

/// The migrator of a service that only has projections.
#[derive(Debug)]
pub struct LibraryAndProjections;

impl MigratorTrait for LibraryAndProjections {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = library();
        migrations.extend(projections());
        migrations
    }
}

/// Makes a migration of one SQL statement, which must be valid on the service's database. The name is unique among the
/// service's migrations, and never changes.
#[must_use]
pub fn sql(name: &'static str, statement: &'static str) -> Box<dyn MigrationTrait> {
    Box::new(Sql { name, statement })
}

struct Sql {
    name: &'static str,
    statement: &'static str,
}

impl MigrationName for Sql {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Sql {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.statement).await.map(drop)
    }
}

/// A former column: when the stream acknowledged the row.
const PUBLISHED_AT: &str = "published_at";
/// The former index of the rows that no stream has acknowledged.
const NOT_PUBLISHED: &str = "outbox_not_published";

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
            .col(ColumnDef::new(PUBLISHED_AT).big_integer())
            .to_owned();
        manager.create_table(outbox).await?;
        // Contains only the rows of the recovery scan, so it stays small however long rows are kept.
        let outbox_pending = Index::create()
            .name(NOT_PUBLISHED)
            .table(outbox::entity::Entity)
            .col(Outbox::RowId)
            .and_where(Expr::col(PUBLISHED_AT).is_null())
            .to_owned();
        manager.create_index(outbox_pending).await
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

struct Snapshots;

impl MigrationName for Snapshots {
    fn name(&self) -> &'static str {
        "messaging_0008_snapshots"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Snapshots {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use snapshot::entity::{Column, Entity};
        let snapshots = Table::create()
            .table(Entity)
            .if_not_exists()
            .col(ColumnDef::new(Column::AggregateId).text().not_null().primary_key())
            .col(ColumnDef::new(Column::Version).big_integer().not_null())
            .col(ColumnDef::new(Column::Schema).big_integer().not_null())
            .col(ColumnDef::new(Column::State).text().not_null())
            .col(ColumnDef::new(Column::CreatedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(snapshots).await
    }
}

struct Projections;

impl MigrationName for Projections {
    fn name(&self) -> &'static str {
        "messaging_0009_projections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Projections {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use projection_table::entity::Column as Projection;
        let number = |column| ColumnDef::new(column).big_integer().not_null().to_owned();
        let projections = Table::create()
            .table(projection_table::entity::Entity)
            .col(ColumnDef::new(Projection::Name).text().not_null())
            .col(number(Projection::Version))
            .col(ColumnDef::new(Projection::State).text().not_null())
            .col(ColumnDef::new(Projection::IsActive).boolean().not_null())
            .col(number(Projection::Epoch))
            .col(ColumnDef::new(Projection::Owner).uuid())
            .col(number(Projection::LeaseUntil))
            .col(number(Projection::Generation))
            .col(number(Projection::Position))
            .col(ColumnDef::new(Projection::Backfill).text())
            .col(number(Projection::HistoryTotal))
            .col(number(Projection::HistoryRead))
            .col(number(Projection::Builds))
            .col(number(Projection::Applied))
            .col(number(Projection::Duplicates))
            .col(number(Projection::Repaired))
            .col(number(Projection::Lag))
            .col(ColumnDef::new(Projection::Rate).double().not_null())
            .col(ColumnDef::new(Projection::AsOf).big_integer())
            .col(ColumnDef::new(Projection::LiveAt).big_integer())
            .col(ColumnDef::new(Projection::Detail).text())
            .col(ColumnDef::new(Projection::Tables).text().not_null())
            .primary_key(Index::create().col(Projection::Name).col(Projection::Version))
            .to_owned();
        manager.create_table(projections).await
    }
}

struct DeliveryIssues;

impl MigrationName for DeliveryIssues {
    fn name(&self) -> &'static str {
        "messaging_0003_delivery_issues"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for DeliveryIssues {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use delivery_issue::entity::Column as DeliveryIssue;
        let delivery_issues = Table::create()
            .table(delivery_issue::entity::Entity)
            .col(ColumnDef::new(DeliveryIssue::MessageId).uuid().not_null().primary_key())
            .col(ColumnDef::new(DeliveryIssue::Key).text().not_null())
            .col(ColumnDef::new(DeliveryIssue::Subject).text().not_null())
            .col(ColumnDef::new(DeliveryIssue::Stream).text().not_null())
            .col(ColumnDef::new(DeliveryIssue::Sequence).big_integer().not_null())
            .col(ColumnDef::new(DeliveryIssue::Failures).big_integer().not_null())
            .col(ColumnDef::new(DeliveryIssue::FailedAt).big_integer())
            .col(ColumnDef::new(DeliveryIssue::Detail).text())
            .col(ColumnDef::new(DeliveryIssue::Duplicates).big_integer().not_null())
            .col(ColumnDef::new(DeliveryIssue::DuplicateAt).big_integer())
            .col(ColumnDef::new(DeliveryIssue::DeadLetteredAt).big_integer())
            .col(ColumnDef::new(DeliveryIssue::Reason).text())
            .col(ColumnDef::new(DeliveryIssue::RedrivenAt).big_integer())
            .col(ColumnDef::new(DeliveryIssue::UpdatedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(delivery_issues).await?;
        for (name, column) in
            [("delivery_issues_key", DeliveryIssue::Key), ("delivery_issues_updated_at", DeliveryIssue::UpdatedAt)]
        {
            let index = Index::create().name(name).table(delivery_issue::entity::Entity).col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

struct OutboxPending;

impl MigrationName for OutboxPending {
    fn name(&self) -> &'static str {
        "messaging_0004_outbox_pending"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for OutboxPending {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use outbox::entity::Column as Outbox;
        use outbox_pending::entity::Column as Batch;
        let batches = Table::create()
            .table(outbox_pending::entity::Entity)
            .col(ColumnDef::new(Batch::FirstRowId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Batch::LastRowId).uuid().not_null())
            .to_owned();
        manager.create_table(batches).await?;
        let not_published = Query::select()
            .columns([Outbox::RowId, Outbox::RowId])
            .from(outbox::entity::Entity)
            .and_where(Expr::col(PUBLISHED_AT).is_null())
            .to_owned();
        let mut insert = Query::insert();
        insert.into_table(outbox_pending::entity::Entity).columns([Batch::FirstRowId, Batch::LastRowId]);
        insert.select_from(not_published).map_err(|error| DbErr::Custom(error.to_string()))?;
        manager.execute(insert.to_owned()).await?;
        manager.drop_index(Index::drop().name(NOT_PUBLISHED).table(outbox::entity::Entity).to_owned()).await?;
        let drop = Table::alter().table(outbox::entity::Entity).drop_column(PUBLISHED_AT).to_owned();
        manager.alter_table(drop).await
    }
}

struct OutboxOwners;

impl MigrationName for OutboxOwners {
    fn name(&self) -> &'static str {
        "messaging_0007_outbox_owners"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for OutboxOwners {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use outbox_pending::entity::Column as Batch;
        use owner::entity::Column as Owner;
        let batches = outbox_pending::entity::Entity;
        let owners = Table::create()
            .table(owner::entity::Entity)
            .if_not_exists()
            .col(ColumnDef::new(Owner::OwnerId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Owner::Beat).big_integer().not_null())
            .to_owned();
        manager.create_table(owners).await?;
        // An earlier version may still insert batches: both columns are nullable.
        if !manager.has_column("outbox_pending", "owner").await? {
            let owner = ColumnDef::new(Batch::Owner).uuid().null().to_owned();
            manager.alter_table(Table::alter().table(batches).add_column(owner).to_owned()).await?;
        }
        if !manager.has_column("outbox_pending", "refusal").await? {
            let refusal = ColumnDef::new(Batch::Refusal).text().null().to_owned();
            manager.alter_table(Table::alter().table(batches).add_column(refusal).to_owned()).await?;
        }
        // Contains the few rows that their stream can never store.
        let refused = Index::create()
            .name("outbox_pending_refusal")
            .table(batches)
            .if_not_exists()
            .col(Batch::FirstRowId)
            .and_where(Expr::col(Batch::Refusal).is_not_null())
            .to_owned();
        manager.create_index(refused).await
    }
}

struct Effects;

impl MigrationName for Effects {
    fn name(&self) -> &'static str {
        "messaging_0006_effects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Effects {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use effects::entity::{Column, Entity};
        let effects = Table::create()
            .table(Entity)
            .if_not_exists()
            .col(ColumnDef::new(Column::MessageId).uuid().not_null().primary_key())
            .col(ColumnDef::new(Column::RecordedAt).big_integer().not_null())
            .to_owned();
        manager.create_table(effects).await?;
        let by_age = Index::create()
            .name("effects_recorded_at")
            .if_not_exists()
            .table(Entity)
            .col(Column::RecordedAt)
            .to_owned();
        manager.create_index(by_age).await
    }
}
