//! Statements whose text does not vary with the size of a batch.
//!
//! A database prepares each text once. Were rows written in statements of 1 to 256 rows as they come, almost every
//! batch would bring new texts; so rows go in chunks of some fixed sizes, and lists of `IN` are padded to them. Each
//! statement is a way to the database and back, which for a small batch takes longer than its rows do: up to 16 rows go in
//! one statement, and as many as a batch has in five at most.

use std::collections::HashSet;

use sea_orm::sea_query::{IntoIden, OnConflict};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, Insert, QueryTrait};
use uuid::Uuid;

/// The sizes of chunks, largest first.
const SIZES: [usize; 20] = [256, 128, 64, 32, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
/// Prepared statements that a connection keeps: the sizes of all kinds that a service has.
pub(crate) const PREPARED: usize = 512;

/// Splits rows into chunks of the fixed sizes.
pub fn chunks<T>(mut rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let rest = rows.split_off(size);
        Some(std::mem::replace(&mut rows, rest))
    })
}

/// Splits the values of an `IN` list into chunks of the fixed sizes, the last one filled up by repeating a value.
pub fn padded_chunks<T: Clone>(values: &[T]) -> impl Iterator<Item = Vec<T>> {
    values.chunks(SIZES[0]).map(|chunk| {
        let size = SIZES.into_iter().rev().find(|size| *size >= chunk.len()).unwrap_or(SIZES[0]);
        let mut padded = chunk.to_vec();
        if let Some(last) = chunk.last() {
            padded.resize(size, last.clone());
        }
        padded
    })
}

/// Inserts rows, a multi-row statement a chunk.
///
/// # Errors
///
/// The database's error; with `on_conflict`, a conflict is none.
pub async fn insert<A>(
    connection: &impl ConnectionTrait,
    rows: Vec<A>,
    on_conflict: Option<OnConflict>,
) -> Result<(), DbErr>
where
    A: ActiveModelTrait + Send,
{
    for chunk in chunks(rows) {
        let mut insert = Insert::many(chunk);
        if let Some(on_conflict) = &on_conflict {
            insert = insert.on_conflict(on_conflict.clone());
        }
        match insert.exec_without_returning(connection).await {
            Ok(_) | Err(DbErr::RecordNotInserted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Inserts the rows whose key the table does not have yet, and returns the keys of those.
///
/// The rows come sorted by their key: transactions of two instances cannot wait for each other then.
///
/// # Errors
///
/// The database's error.
pub async fn insert_new<A>(
    connection: &impl ConnectionTrait,
    rows: Vec<A>,
    key: <A::Entity as EntityTrait>::Column,
) -> Result<HashSet<Uuid>, DbErr>
where
    A: ActiveModelTrait + Send,
{
    let known = OnConflict::column(key).do_nothing().to_owned();
    let mut new = HashSet::with_capacity(rows.len());
    for chunk in chunks(rows) {
        let mut insert = Insert::many(chunk).on_conflict(known.clone()).into_query();
        insert.returning_col(key);
        for row in connection.query_all(&insert).await? {
            new.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(new)
}

/// Returns the conflict clause that writes a changed row over the one with the same key.
#[must_use]
pub fn overwrite<C: IntoIden + Copy>(key: &[C], changed: &[C]) -> OnConflict {
    OnConflict::columns(key.iter().copied()).update_columns(changed.iter().copied()).to_owned()
}

/// Loads the rows whose column is one of `values`.
///
/// # Errors
///
/// The database's error.
pub async fn select_in<E, V>(
    connection: &impl ConnectionTrait,
    column: E::Column,
    values: &[V],
) -> Result<Vec<E::Model>, DbErr>
where
    E: EntityTrait,
    V: Clone + Into<sea_orm::Value>,
{
    use sea_orm::{ColumnTrait, QueryFilter};
    let mut rows = Vec::new();
    for chunk in padded_chunks(values) {
        rows.extend(E::find().filter(column.is_in(chunk)).all(connection).await?);
    }
    Ok(rows)
}
