//! The last applied version of each aggregate, in one table per version of a projection.

use std::collections::BTreeSet;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ConnectionTrait, DbErr};

use crate::projection::batch::LastVersions;
use crate::projection::definition::Definition;
use crate::state::statement::{chunks, padded_chunks};

const CONTEXT: &str = "context";
const AGGREGATE: &str = "aggregate_id";
const VERSION: &str = "version";

/// Returns the name of the table, such as `order_search_v1_versions`.
pub(crate) fn table(definition: &Definition) -> String {
    format!("{}_versions", definition.id().replace('-', "_"))
}

pub(crate) async fn create(connection: &impl ConnectionTrait, definition: &Definition) -> Result<(), DbErr> {
    let create = format!(
        "CREATE TABLE {} ({CONTEXT} text NOT NULL, {AGGREGATE} text NOT NULL, {VERSION} bigint NOT NULL, \
         PRIMARY KEY ({AGGREGATE}, {CONTEXT}))",
        table(definition)
    );
    connection.execute_unprepared(&create).await.map(drop)
}

/// Loads the last applied versions of aggregates, given by context and id.
pub(crate) async fn load(
    connection: &impl ConnectionTrait,
    definition: &Definition,
    aggregates: &BTreeSet<(String, String)>,
) -> Result<LastVersions, DbErr> {
    let ids: Vec<String> = aggregates.iter().map(|(_, id)| id.clone()).collect();
    let mut last = LastVersions::default();
    for chunk in padded_chunks(&ids) {
        let select = Query::select()
            .columns([CONTEXT, AGGREGATE, VERSION].map(Alias::new))
            .from(Alias::new(table(definition)))
            .and_where(Expr::col(Alias::new(AGGREGATE)).is_in(chunk))
            .to_owned();
        for row in connection.query_all(&select).await? {
            last.insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?);
        }
    }
    Ok(last)
}

/// Records the last applied versions of aggregates.
pub(crate) async fn save(
    connection: &impl ConnectionTrait,
    definition: &Definition,
    last: LastVersions,
) -> Result<(), DbErr> {
    let mut rows: Vec<_> = last.into_iter().collect();
    rows.sort_unstable();
    for chunk in chunks(rows) {
        let known =
            OnConflict::columns([AGGREGATE, CONTEXT].map(Alias::new)).update_column(Alias::new(VERSION)).to_owned();
        let mut insert = Query::insert()
            .into_table(Alias::new(table(definition)))
            .columns([CONTEXT, AGGREGATE, VERSION].map(Alias::new))
            .on_conflict(known)
            .to_owned();
        for ((context, id), version) in chunk {
            insert.values_panic([context.into(), id.into(), version.into()]);
        }
        connection.execute(&insert).await?;
    }
    Ok(())
}
