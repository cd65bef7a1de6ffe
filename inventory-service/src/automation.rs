//! HTTP endpoints that fill and empty the stock, for tests and demonstrations.
//!
//! | | |
//! |---|---|
//! | `POST /automation-testing/seed` | creates products: the demo catalogue, or those of the body |
//! | `DELETE /automation-testing/all` | deletes all products, reservations, and backorder lines |
//! | `GET /automation-testing/ready` | succeeds if these endpoints are enabled and the database responds |
//!
//! They change the tables and publish no events. All respond 404 unless they are enabled. Errors are
//! `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;

use choreography::database::answered;
use choreography::envelope::unix_millis;
use choreography::{clock, statement};
use contracts::ProductId;
use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{Body, EndpointExt, Response, Route, delete, get, handler, post};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, Insert, PaginatorTrait, QueryTrait, TransactionTrait,
};
use serde::{Deserialize, Serialize};

use crate::entity::{backorder_line, product, reservation, stock_history, stock_receipt};
use crate::history;
use crate::reconciliation::receive;

/// The demo catalogue, a body of `POST /automation-testing/seed`.
pub const CATALOGUE: &str = include_str!("../../seed/catalogue.json");

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// The largest initial number of units of a product: many restocks fit before numbers get too large for JSON.
const MAX_AVAILABLE: u64 = 1_000_000_000_000;

/// A product to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogueItem {
    /// The product's id.
    pub product_id: ProductId,
    /// The initial number of available units.
    pub available: u64,
}

/// The result of seeding a catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seeded {
    /// The products that did not exist before.
    pub created: Vec<ProductId>,
    /// The products that existed and stay unchanged.
    pub existing: Vec<ProductId>,
}

/// The failure of a request.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Invalid(String),
    #[error("the database is unavailable")]
    Database(#[from] DbErr),
}

impl ResponseError for Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Returns the routes below `/automation-testing`.
#[must_use]
pub fn routes(db: &DatabaseConnection, enabled: bool) -> Route {
    let mut routes = Route::new();
    if enabled {
        routes = routes.at("/seed", post(seed)).at("/all", delete(delete_all)).at("/ready", get(ready));
    }
    Route::new().nest("/automation-testing", routes.data(db.clone()).catch_all_error(problem))
}

#[handler]
async fn seed(Data(db): Data<&DatabaseConnection>, body: Body) -> poem::Result<Json<Seeded>> {
    let body = body.into_bytes_limit(MAX_BODY).await?;
    let catalogue = if body.is_empty() { CATALOGUE.as_bytes() } else { &body };
    Ok(Json(answered(create(db, parse(catalogue)?)).await.map_err(Failure::from)?))
}

#[handler]
async fn delete_all(Data(db): Data<&DatabaseConnection>) -> poem::Result<StatusCode> {
    answered(empty(db)).await.map_err(Failure::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[handler]
async fn ready(Data(db): Data<&DatabaseConnection>) -> poem::Result<Json<serde_json::Value>> {
    let products = answered(product::Entity::find().count(db)).await.map_err(Failure::from)?;
    Ok(Json(serde_json::json!({ "ready": true, "products": products })))
}

fn parse(catalogue: &[u8]) -> Result<BTreeMap<ProductId, u64>, Failure> {
    let items: Vec<CatalogueItem> =
        serde_json::from_slice(catalogue).map_err(|error| Failure::Invalid(format!("the body: {error}")))?;
    let mut products = BTreeMap::new();
    for CatalogueItem { product_id, available } in items {
        if available > MAX_AVAILABLE {
            return Err(Failure::Invalid(format!("{product_id}: available must be at most {MAX_AVAILABLE}")));
        }
        if products.insert(product_id.clone(), available).is_some() {
            return Err(Failure::Invalid(format!("{product_id} is listed twice")));
        }
    }
    Ok(products)
}

async fn create(db: &DatabaseConnection, products: BTreeMap<ProductId, u64>) -> Result<Seeded, DbErr> {
    let mut existing: Vec<ProductId> = products.keys().cloned().collect();
    let seeded: BTreeMap<String, i64> = products
        .into_iter()
        .map(|(product_id, available)| (product_id.into(), i64::try_from(available).unwrap_or(i64::MAX)))
        .collect();
    let now = unix_millis(clock::now());
    let row = |(product_id, available): (&String, &i64)| product::ActiveModel {
        product_id: Set(product_id.clone()),
        available: Set(*available),
        reserved: Set(0),
        backordered: Set(0),
        last_position: Set(0),
        version: Set(0),
        changed_at: Set(now),
    };
    let mut created = Vec::new();
    let tx = db.begin().await?;
    for chunk in statement::chunks(seeded.iter().map(row).collect()) {
        let mut insert = Insert::many(chunk)
            .on_conflict(OnConflict::column(product::Column::ProductId).do_nothing().to_owned())
            .into_query();
        insert.returning_col(product::Column::ProductId);
        for row in tx.query_all(&insert).await? {
            created.push(row.try_get::<String>("", "product_id")?);
        }
    }
    history::record(&tx, created.iter().filter_map(|id| seeded.get_key_value(id)).map(row).collect(), now).await?;
    let units = created.iter().filter_map(|id| Some((id.clone(), *seeded.get(id)?))).collect();
    receive(&tx, units).await?;
    tx.commit().await?;
    created.sort();
    let created: Vec<ProductId> =
        existing.extract_if(.., |id| created.binary_search(&id.to_string()).is_ok()).collect();
    Ok(Seeded { created, existing })
}

async fn empty(db: &DatabaseConnection) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    // Products first, because concurrent transactions lock them first.
    product::Entity::delete_many().exec(&tx).await?;
    stock_history::Entity::delete_many().exec(&tx).await?;
    reservation::Entity::delete_many().exec(&tx).await?;
    backorder_line::Entity::delete_many().exec(&tx).await?;
    stock_receipt::Entity::delete_many().exec(&tx).await?;
    tx.commit().await
}

/// Maps all errors to problems. Internal details are logged and not returned.
async fn problem(error: poem::Error) -> Response {
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(?error, "a request failed");
    }
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": error.to_string(),
    });
    Response::builder().status(status).content_type("application/problem+json").body(body.to_string())
}
