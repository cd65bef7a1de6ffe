//! The baseline of the database: only the SQL statements of the order service.
//!
//! For each message it inserts one inbox row, one event, and one outbox row, reads the history of the order, and
//! upserts the order's row in `order_views`; one transaction per batch of messages.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use choreography::envelope::Cause;
use choreography::{Outgoing, database, event_store, inbox, outbox, outbox_pending, statement};
use choreography_test::{PostgresServer, free_port, postgres};
use order_service::entity::order_view::{self, Column};
use order_service::migration::Migrator;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseConnection, DatabaseTransaction, Insert, QueryTrait,
    TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use serde_json::json;
use uuid::Uuid;

use crate::chain::Engine;
use crate::options::Span;
use crate::orders::Orders;
use crate::report::{Line, Report, Table};
use crate::stage::folder;
use crate::statistics::{median, rate};

/// The size of a message's headers in the outbox, in bytes, as in a real message.
const HEADER_BYTES: usize = 420;

/// Measures group commit.
///
/// # Errors
///
/// If the database refuses a statement.
pub async fn run(
    engine: Engine,
    batch: u64,
    span: Span,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let data = folder(None)?;
    let (postgres, db) = open::<Migrator>(engine, &data).await?;
    let orders = Orders { run: 1, customers: 1000, products: 1000, lines: 1 };
    let (mut rates, mut next) = (Vec::new(), 0);
    for turn in 1..=span.rounds {
        commit_until(&db, &orders, &mut next, batch, Instant::now() + span.warm_up()).await?;
        let (start, first) = (Instant::now(), next);
        commit_until(&db, &orders, &mut next, batch, start + span.length()).await?;
        // There are two messages per order.
        let rate = rate(2 * (next - first), start.elapsed());
        progress(&format!("round {turn}: {rate:.0} messages/s"));
        rates.push(rate);
    }
    let mut report = Report::begin("round", "messages/s");
    let mut table = Table::new("Group commit (medians)", &["database", "batch", "messages/s"]);
    let name = format!("{engine:?}").to_lowercase();
    table.add(vec![json!(name), json!(batch), json!(median(&rates))]);
    report.tables.push(table);
    report.plot.lines.push(Line::of_rounds(&name, &rates));
    db.close().await.context("closing the database")?;
    drop(postgres);
    std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    Ok(report)
}

/// Opens a new database in a folder, with the server that it needs.
pub(crate) async fn open<M: MigratorTrait>(
    engine: Engine,
    data: &Path,
) -> anyhow::Result<(Option<PostgresServer>, DatabaseConnection)> {
    let (postgres, url) = match engine {
        Engine::Sqlite => (None, format!("sqlite://{}/orders.sqlite?mode=rwc", data.display())),
        Engine::Postgres => {
            let bin = postgres::find_or_install(|_| {}).await?;
            let builder = PostgresServer::builder(bin).port(free_port()).data_dir(data.join("postgres"));
            let server = builder.start().await?;
            let url = server.create_database("orders").await?;
            (Some(server), url)
        }
    };
    Ok((postgres, database::open::<M>(&url).await?))
}

/// Commits batches until a deadline, alternately the first and the second message of the same orders.
async fn commit_until(
    db: &DatabaseConnection,
    orders: &Orders,
    next: &mut u64,
    batch: u64,
    deadline: Instant,
) -> anyhow::Result<()> {
    while Instant::now() < deadline {
        for version in [1, 2] {
            let tx = db.begin().await?;
            commit(tx, orders, *next..*next + batch, version).await?;
        }
        *next += batch;
    }
    Ok(())
}

async fn commit(
    tx: DatabaseTransaction,
    orders: &Orders,
    numbers: std::ops::Range<u64>,
    version: i64,
) -> anyhow::Result<()> {
    let mut causes = Vec::new();
    let (mut ids, mut events, mut views) = (Vec::new(), Vec::new(), Vec::new());
    for number in numbers {
        let details = orders.details(number)?;
        let cause = Cause { id: Uuid::now_v7(), correlation_id: Uuid::now_v7(), trace_parent: None, auth: None };
        let id = details.order_id.to_string();
        let body = serde_json::to_vec(&details)?;
        let subject = format!("order.event.placed.{id}");
        causes.push(inbox::entity::ActiveModel { message_id: Set(cause.id), received_at: Set(version) });
        events.push(Outgoing::new(cause, subject, "order.placed.v1", &id, Some(version), body));
        views.push(order_view::ActiveModel {
            order_id: Set(id.clone()),
            customer_id: Set(details.customer_id.to_string()),
            status: Set(if version == 1 { "placed" } else { "reserved" }.to_owned()),
            currency: Set(details.currency.code().to_owned()),
            total_price: Set(details.total_price.minor_units()),
            items: Set(serde_json::to_string(&details.items)?),
            reason: Set(None),
            version: Set(version),
            placed_at: Set(i64::try_from(number)?),
            updated_at: Set(version),
        });
        ids.push(id);
    }
    for chunk in statement::chunks(causes) {
        let conflict = OnConflict::column(inbox::entity::Column::MessageId).do_nothing().to_owned();
        let mut insert = Insert::many(chunk).on_conflict(conflict).into_query();
        insert.returning_col(inbox::entity::Column::MessageId);
        tx.query_all(&insert).await?;
    }
    event_store::load(&tx, &ids).await?;
    event_store::append(&tx, &events, version).await?;
    let changes = [Column::Status, Column::Reason, Column::Version, Column::UpdatedAt];
    statement::insert(&tx, views, Some(statement::overwrite(&[Column::OrderId], &changes))).await?;
    let (range, last) = (Uuid::now_v7().as_u128() & !0xffff, events.len() as u128 - 1);
    let rows = events.into_iter().zip(0..).map(|(event, index)| outbox::entity::ActiveModel {
        row_id: Set(Uuid::from_u128(range + index)),
        message_id: Set(event.id),
        subject: Set(event.subject),
        headers: Set("h".repeat(HEADER_BYTES)),
        body: Set(event.body),
    });
    statement::insert(&tx, rows.collect::<Vec<_>>(), None).await?;
    let range = outbox_pending::entity::ActiveModel {
        first_row_id: Set(Uuid::from_u128(range)),
        last_row_id: Set(Uuid::from_u128(range + last)),
        ..Default::default()
    };
    statement::insert(&tx, vec![range], None).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::{EntityTrait, PaginatorTrait};

    #[tokio::test]
    async fn a_batch_writes_the_rows_of_the_order_service() {
        let folder = std::env::temp_dir().join(format!("bench-baseline-sql-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}/orders.sqlite?mode=rwc", folder.display());
        let db = database::open::<Migrator>(&url).await.unwrap();
        let orders = Orders { run: 1, customers: 2, products: 2, lines: 1 };
        for version in [1, 2] {
            commit(db.begin().await.unwrap(), &orders, 0..5, version).await.unwrap();
        }
        assert_eq!(inbox::entity::Entity::find().count(&db).await.unwrap(), 10);
        assert_eq!(event_store::entity::Entity::find().count(&db).await.unwrap(), 10);
        assert_eq!(outbox::entity::Entity::find().count(&db).await.unwrap(), 10);
        assert_eq!(order_view::Entity::find().count(&db).await.unwrap(), 5);
        db.close().await.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
