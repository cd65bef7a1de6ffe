//! The queries: one product, a list. [`contracts::query`] has the types of requests and replies.

use anyhow::Context;
use choreography::clock;
use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::query::{Endpoint, Query, QueryError, cut_page};
use choreography::time_travel::Point;
use contracts::ProductId;
use contracts::query::{DEFAULT_PAGE, ListProducts, MAX_PAGE, Page, ProductView};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;

use crate::entity::product::{Column, Entity, Model};
use crate::entity::stock_history;
use crate::history;
use crate::reconciliation::reconciliation;

/// Returns the query endpoints on a database.
#[must_use]
pub fn endpoints(db: &DatabaseConnection) -> Vec<Endpoint> {
    let (for_product, for_products, for_reconciliation) = (db.clone(), db.clone(), db.clone());
    vec![
        Endpoint::new("product", "inventory.query.product.*", move |query| product(for_product.clone(), query)),
        Endpoint::new("products", "inventory.query.products", move |query| products(for_products.clone(), query)),
        Endpoint::new("reconciliation", "inventory.query.reconciliation", move |query| {
            reconciliation(for_reconciliation.clone(), query)
        }),
    ]
}

/// Returns one product as it is, or as it was at the time in the body.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the key is not a valid id, or the body is neither empty nor a time;
/// [`QueryError::NotFound`] if the product does not exist, or did not then.
pub async fn product(db: DatabaseConnection, query: Query) -> Result<ProductView, QueryError> {
    let id = ProductId::parse(query.key.as_str())
        .map_err(|error| QueryError::Invalid(format!("the product id {error}")))?;
    match Point::of(&query)? {
        None => {}
        Some(Point::At(time)) => return past(&db, id, time).await,
        Some(Point::Version(_)) => {
            return Err(QueryError::Invalid("stock has no versions: give a time".to_owned()));
        }
    }
    let row = Entity::find_by_id(id.as_str()).one(&db).await?;
    view(row.ok_or_else(|| QueryError::NotFound(format!("there is no product {id}")))?)
}

/// Returns a page of the products, by id.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a valid [`ListProducts`], or its limit is out of range.
pub async fn products(db: DatabaseConnection, query: Query) -> Result<Page<ProductView>, QueryError> {
    let request: ListProducts = if query.body.is_empty() {
        ListProducts::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    let limit = request.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(QueryError::Invalid(format!("limit must be 1 to {MAX_PAGE}")));
    }
    let mut select = Entity::find();
    if let Some(after) = &request.after {
        select = select.filter(Column::ProductId.gt(after.as_str()));
    }
    // One row more than requested shows whether another page follows.
    let mut rows = select.order_by_asc(Column::ProductId).limit(limit + 1).all(&db).await?;
    let more = cut_page(&mut rows, limit, |row| row.product_id.len());
    let next = rows.last().filter(|_| more).map(|row| row.product_id.clone());
    Ok(Page { items: rows.into_iter().map(view).collect::<Result<_, _>>()?, next })
}

async fn past(db: &DatabaseConnection, id: ProductId, time: OffsetDateTime) -> Result<ProductView, QueryError> {
    let Some(row) = history::at(db, &id, unix_millis(time)).await? else {
        let kept = unix_millis(time) >= history::beginning(unix_millis(clock::now()));
        let why = if kept { "did not exist" } else { "did not exist, or its history does not reach back so far:" };
        return Err(QueryError::NotFound(format!("product {id} {why} {}", Point::At(time))));
    };
    let stock_history::Model { product_id, changed_at, available, reserved, backordered } = row;
    view(Model { product_id, available, reserved, backordered, last_position: 0, version: 0, changed_at })
}

fn view(row: Model) -> Result<ProductView, QueryError> {
    let read = || -> anyhow::Result<ProductView> {
        Ok(ProductView {
            product_id: ProductId::parse(row.product_id)?,
            available: row.available.try_into()?,
            reserved: row.reserved.try_into()?,
            backordered: row.backordered.try_into()?,
            updated_at: rfc3339(from_unix_millis(row.changed_at)),
        })
    };
    read().context("reading a product").map_err(QueryError::Unavailable)
}
