//! The REST side of products: restock, look.

mod restock;

use std::sync::Arc;

use contracts::ProductId;
use contracts::inventory::InventoryCommand;
use contracts::query::{DEFAULT_PAGE, ListProducts};
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::Tag;
use crate::body::Body;
use crate::commands::{Commands, Draft, Request};
use crate::idempotency::{IdempotencyKey, Operation};
use crate::json::{JsonOf, Nullable};
use crate::parameter::{Header, Limit, Path, Query, TraceParent};
use crate::problem::{Code, Codes, Failure};
use crate::queries::Queries;
use restock::RestockAccepted;
pub(crate) use restock::RestockForm;

/// Products.
pub(crate) struct ProductsApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
}

/// The stock of a product, in units. Describes what the inventory service says and the gateway relays.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Product {
    /// Which product.
    product_id: String,
    /// On the shelf and not held for any order.
    available: u64,
    /// Held for orders.
    reserved: u64,
    /// Asked for by orders that wait.
    backordered: u64,
}

/// A page of products.
#[derive(Object)]
pub(crate) struct ProductPage {
    /// The products, by id.
    items: Vec<Product>,
    /// The `cursor` of the page that follows; null where this is the last.
    next: Nullable<String>,
}

/// Answers to `POST /products/{id}/restock`.
#[derive(ApiResponse)]
pub(crate) enum Restocked {
    /// The command is stored and will be carried out.
    #[oai(status = 202)]
    Accepted(
        JsonOf<RestockAccepted>,
        /// Where the product is to be seen.
        #[oai(header = "Location")]
        String,
    ),
}

/// Answers to `GET /products/{id}`.
#[derive(ApiResponse)]
pub(crate) enum GetProduct {
    /// The product's stock as it stands.
    #[oai(status = 200)]
    Found(JsonOf<Product>),
}

/// Answers to `GET /products`.
#[derive(ApiResponse)]
pub(crate) enum ListedProducts {
    /// A page of products, by id.
    #[oai(status = 200)]
    Page(JsonOf<ProductPage>),
}

/// How `POST /products/{id}/restock` may fail.
pub(crate) struct RestockFailures;

impl Codes for RestockFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::IdempotencyKeyReused,
        Code::Unavailable,
    ];
}

/// How looking at one product may fail.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::ProductNotFound, Code::Unavailable];
}

/// How listing may fail.
pub(crate) struct ListFailures;

impl Codes for ListFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable];
}

#[OpenApi(tag = "Tag::Products")]
impl ProductsApi {
    /// Put units of a product on the shelf
    ///
    /// A product that does not exist begins to. Two restocks are two restocks, even if they look alike: a client that
    /// may have to repeat the request needs an `Idempotency-Key`.
    #[oai(path = "/products/:id/restock", method = "post", operation_id = "restockProduct")]
    async fn restock(
        &self,
        /// The product's id.
        id: Path<ProductId>,
        /// Makes the request safe to repeat: a string in double quotes that the client thinks up for it, such as a
        /// UUID. The same key with the same content has the same answer and is carried out once; with other content
        /// it is refused. Keys are forgotten after 24 hours. A request that fails validation does not use its key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<RestockForm>,
    ) -> Result<Restocked, Failure<RestockFailures>> {
        let product_id = id.0;
        let restock = body.0.into_restock(product_id.clone());
        let accepted = RestockAccepted::new(&restock, self.commands.durability());
        let request = Request {
            operation: Operation { template: "POST /products/{id}/restock", id: product_id.as_str() },
            draft: Draft::inventory(&InventoryCommand::from(restock))?,
            key: idempotency_key.0.as_ref(),
            id_without_key: Uuid::now_v7(),
            trace_parent: trace_parent.0.and_then(|context| context.0),
        };
        self.commands.publish(request).await?;
        Ok(Restocked::Accepted(JsonOf::written(&accepted), format!("/products/{product_id}")))
    }

    /// See the stock of a product
    #[oai(path = "/products/:id", method = "get", operation_id = "getProduct")]
    async fn get(
        &self,
        /// The product's id.
        id: Path<ProductId>,
    ) -> Result<GetProduct, Failure<GetFailures>> {
        let json = self.queries.get(format!("inventory.query.product.{}", id.0), Code::ProductNotFound).await?;
        Ok(GetProduct::Found(JsonOf::relayed(json)))
    }

    /// List products
    ///
    /// By id.
    #[oai(path = "/products", method = "get", operation_id = "listProducts")]
    async fn list(
        &self,
        /// The `next` of the page before.
        cursor: Query<ProductId>,
        /// How many products a page has at most.
        limit: Query<Limit>,
    ) -> Result<ListedProducts, Failure<ListFailures>> {
        let query = ListProducts { after: cursor.0, limit: Some(limit.0.map_or(DEFAULT_PAGE, |limit| limit.0)) };
        Ok(ListedProducts::Page(JsonOf::relayed(self.queries.list("inventory.query.products", &query).await?)))
    }
}
