//! Statements whose text does not depend on the batch size.
//!
//! A database prepares each text once. With one statement text per number of rows, almost every batch would bring new
//! texts. So rows are written in chunks of fixed sizes, and lists of `IN` are padded to them. Each statement is a round
//! trip to the database, which for a small batch takes longer than its rows: up to 16 rows need one statement, and a
//! full batch at most five.

use std::collections::{BTreeSet, HashSet};

use sea_orm::sea_query::{IntoIden, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, IdenStatic, Insert,
    Iterable, PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select, Statement, Value,
};
use uuid::Uuid;

/// The chunk sizes, largest first.
const SIZES: [usize; 20] = [256, 128, 64, 32, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
/// The number of prepared statements that a connection keeps: all sizes of all statements of a service.
pub(crate) const PREPARED: usize = 512;

/// Executes one SQL statement with parameters `$1`, `$2`, …, and returns the number of affected rows.
///
/// # Errors
///
/// The database's error.
pub async fn execute(
    connection: &impl ConnectionTrait,
    sql: &str,
    parameters: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, parameters);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

/// Returns the keys of a batch, each once, sorted: then transactions of two instances lock rows in the same order.
pub fn distinct<T: Ord>(keys: impl IntoIterator<Item = T>) -> Vec<T> {
    keys.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

/// Splits rows into chunks of the fixed sizes.
pub fn chunks<T>(mut rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let rest = rows.split_off(size);
        Some(std::mem::replace(&mut rows, rest))
    })
}

/// Splits the values of an `IN` list into chunks of the fixed sizes; the last one is padded by repeating a value.
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

/// Inserts rows, with one multi-row statement per chunk.
///
/// # Errors
///
/// The database's error; with `on_conflict`, a conflict is not an error.
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

/// Inserts rows, or overwrites those with the same primary key, with one multi-row statement per chunk.
///
/// # Errors
///
/// The database's error.
pub async fn upsert<A>(connection: &impl ConnectionTrait, rows: Vec<A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait + Send,
{
    insert(connection, rows, Some(overwrite_row::<A::Entity>())).await
}

/// Inserts the rows whose key is not in the table yet, and returns their keys.
///
/// The rows must be sorted by their key: then transactions of two instances cannot deadlock.
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

/// Returns the conflict clause that overwrites the changed columns of an existing row.
#[must_use]
pub fn overwrite<C: IntoIden + Copy>(key: &[C], changed: &[C]) -> OnConflict {
    OnConflict::columns(key.iter().copied()).update_columns(changed.iter().copied()).to_owned()
}

/// Returns the conflict clause that overwrites all of an existing row with the same primary key.
#[must_use]
pub fn overwrite_row<E: EntityTrait>() -> OnConflict {
    let key: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();
    let is_key = |column: &E::Column| key.iter().any(|key| key.as_str() == column.as_str());
    let changed: Vec<E::Column> = E::Column::iter().filter(|column| !is_key(column)).collect();
    overwrite(&key, &changed)
}

/// Returns the error of a row that cannot be read.
pub fn invalid_row(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("invalid row: {error}"))
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
    V: Clone + Into<Value>,
{
    select_each(connection, column, values, |select: Select<E>| select).await
}

/// Loads the rows whose column is one of `values`, and locks them until the transaction ends.
///
/// The rows are locked in the order of the primary key, if the values are sorted: then transactions of two instances
/// cannot deadlock. SQLite has one writer at a time and locks no rows.
///
/// # Errors
///
/// The database's error.
pub async fn select_for_update<E, V>(
    tx: &DatabaseTransaction,
    column: E::Column,
    values: &[V],
) -> Result<Vec<E::Model>, DbErr>
where
    E: EntityTrait,
    V: Clone + Into<Value>,
{
    let locked = |select: Select<E>| {
        let by_key = |select: Select<E>, key: E::PrimaryKey| select.order_by_asc(key.into_column());
        E::PrimaryKey::iter().fold(select.lock_exclusive(), by_key)
    };
    select_each(tx, column, values, locked).await
}

/// Loads the rows whose column is one of `values`, by one refined statement per chunk.
async fn select_each<E, V>(
    connection: &impl ConnectionTrait,
    column: E::Column,
    values: &[V],
    refined: impl Fn(Select<E>) -> Select<E>,
) -> Result<Vec<E::Model>, DbErr>
where
    E: EntityTrait,
    V: Clone + Into<Value>,
{
    let mut rows = Vec::new();
    for chunk in padded_chunks(values) {
        rows.extend(refined(E::find().filter(column.is_in(chunk))).all(connection).await?);
    }
    Ok(rows)
}
