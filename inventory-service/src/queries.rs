//! What can be asked about stock.

use contracts::ProductId;
use messaging::query::{Endpoint, Query, QueryError};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};

use crate::entity::product;

/// The products on a page unless asked otherwise.
const DEFAULT_LIMIT: u64 = 100;
/// The most products on a page.
const MAX_LIMIT: u64 = 1000;

/// The pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductStock {
    /// Which product.
    pub product_id: String,
    /// How many are on the shelf, those promised to waiting orders included.
    pub available: i64,
    /// How many are held for orders.
    pub reserved: i64,
    /// How many waiting orders ask for.
    pub awaiting: i64,
}

impl From<product::Model> for ProductStock {
    fn from(row: product::Model) -> Self {
        let product::Model { product_id, available, reserved, awaiting, .. } = row;
        Self { product_id, available, reserved, awaiting }
    }
}

/// Which products to list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListProducts {
    /// Only those whose id is greater; the `next` of the page before.
    pub after: Option<ProductId>,
    /// How many at most, 1 to 1000; 100 unless given.
    pub limit: Option<u64>,
}

/// A page of the list of products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductPage {
    /// The products by id.
    pub items: Vec<ProductStock>,
    /// What to continue after; null on the last page.
    pub next: Option<String>,
}

/// Returns the endpoints of the service:
///
/// | subject | body | answer |
/// |---|---|---|
/// | `inventory.query.product.<product id>` | | [`ProductStock`] |
/// | `inventory.query.products` | empty, or [`ListProducts`] | [`ProductPage`] |
#[must_use]
pub fn endpoints(db: &DatabaseConnection) -> Vec<Endpoint> {
    let (one, list) = (db.clone(), db.clone());
    vec![
        Endpoint::new("product", "inventory.query.product.*", move |query: Query| {
            let db = one.clone();
            async move { product_stock(&db, &query.key).await }
        }),
        Endpoint::new("products", "inventory.query.products", move |query: Query| {
            let db = list.clone();
            async move { product_page(&db, list_products(&query.body)?).await }
        }),
    ]
}

/// Looks one product up.
///
/// # Errors
///
/// [`QueryError::Invalid`] where the key is no id, [`QueryError::NotFound`] where the product does not exist.
pub async fn product_stock(db: &DatabaseConnection, key: &str) -> Result<ProductStock, QueryError> {
    let id = ProductId::parse(key).map_err(|error| QueryError::Invalid(format!("the product id {error}")))?;
    match product::Entity::find_by_id(id.as_str()).one(db).await? {
        Some(row) => Ok(row.into()),
        None => Err(QueryError::NotFound(format!("there is no product {id}"))),
    }
}

/// Lists products by id.
///
/// # Errors
///
/// [`QueryError::Invalid`] where the limit is not 1 to 1000.
pub async fn product_page(db: &DatabaseConnection, list: ListProducts) -> Result<ProductPage, QueryError> {
    let limit = list.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(QueryError::Invalid(format!("limit must be 1 to {MAX_LIMIT}, and is {limit}")));
    }
    let mut select = product::Entity::find().order_by_asc(product::Column::ProductId).limit(limit + 1);
    if let Some(after) = &list.after {
        select = select.filter(product::Column::ProductId.gt(after.as_str()));
    }
    let mut items: Vec<ProductStock> = select.all(db).await?.into_iter().map(ProductStock::from).collect();
    // One more than asked for tells whether there are more.
    let more = items.len() as u64 > limit;
    if more {
        items.pop();
    }
    let next = items.last().filter(|_| more).map(|last| last.product_id.clone());
    Ok(ProductPage { items, next })
}

fn list_products(body: &[u8]) -> Result<ListProducts, QueryError> {
    if body.is_empty() {
        return Ok(ListProducts::default());
    }
    serde_json::from_slice(body).map_err(|error| QueryError::Invalid(format!("the body cannot be read: {error}")))
}
