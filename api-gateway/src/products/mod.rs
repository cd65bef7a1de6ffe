//! The REST operations on products: restock, get, list.

mod restock;

use std::sync::Arc;

use choreography::time_travel::Point;
use choreography_http::auth::Caller;
use choreography_http::body::Body;
use choreography_http::code::Code;
use choreography_http::commands::{Commands, Request, WithoutKey};
use choreography_http::idempotency::{IdempotencyKey, Operation};
use choreography_http::json::{JsonOf, Nullable};
use choreography_http::parameter::{Header, Id, Path, Query, Time, TraceParent};
use choreography_http::problem::Failure;
use choreography_http::queries::Queries;
use choreography_http::{failures, replies};
use contracts::ProductId;
use contracts::query::ListProducts;
use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::Tag;
use crate::fields::PageLimit;
use crate::problems;
use restock::RestockAccepted;
pub(crate) use restock::RestockForm;

/// The operations on products.
pub(crate) struct ProductsApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
}

/// The stock of a product, in units. It describes the inventory service's replies, which the gateway relays.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Product {
    /// The id of the product.
    product_id: String,
    /// In stock and not reserved for an order.
    available: u64,
    /// Reserved for orders.
    reserved: u64,
    /// Missing for waiting orders.
    backordered: u64,
    /// When these units last changed, RFC 3339.
    updated_at: String,
}

/// A page of products.
#[derive(Object)]
pub(crate) struct ProductPage {
    /// The products, by id.
    items: Vec<Product>,
    /// The `cursor` of the next page; null on the last page.
    next: Nullable<String>,
}

/// The responses of `POST /products/{id}/restock`.
#[derive(ApiResponse)]
pub(crate) enum Restocked {
    /// The command is stored and will be processed.
    #[oai(status = 202)]
    Accepted(
        JsonOf<RestockAccepted>,
        /// The path of the product, which may not exist yet.
        #[oai(header = "Location")]
        String,
    ),
}

replies! {
    /// The product's stock.
    GetProduct: Product;

    /// A page of products, by id.
    ListedProducts: ProductPage;
}

failures! {
    /// The errors of `POST /products/{id}/restock`.
    RestockFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY;

    /// The errors of getting a product.
    GetFailures = Code::OF_QUERY, &[problems::PRODUCT_NOT_FOUND];

    /// The errors of listing products.
    ListFailures = Code::OF_QUERY;
}

#[OpenApi(tag = "Tag::Products")]
impl ProductsApi {
    /// Restock a product
    ///
    /// Creates a product that does not exist. Two restocks count twice, even if they are equal: a client that repeats
    /// the request needs an `Idempotency-Key`.
    #[oai(path = "/products/:id/restock", method = "post", operation_id = "restockProduct")]
    async fn restock(
        &self,
        caller: Caller,
        /// The product's id.
        id: Path<Id<ProductId>>,
        /// Makes the request safe to repeat: a string in double quotes that the client generates, such as a UUID. The
        /// same key with the same content returns the same response, and the command is processed once; with other
        /// content the request is refused. Keys expire after 24 hours. A request that fails validation does not use its
        /// key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<RestockForm>,
    ) -> Result<Restocked, Failure<RestockFailures>> {
        let Id(product_id) = id.0;
        let restock = body.0.into_restock(product_id.clone());
        let accepted = RestockAccepted::new(&restock, self.commands.durability());
        let request = Request {
            operation: Operation { template: "POST /products/{id}/restock", id: product_id.as_str() },
            key: idempotency_key.0.as_ref(),
            without_key: WithoutKey::NewId,
            trace_parent: trace_parent.0,
            auth: caller.auth(),
        };
        self.commands.send(&restock, request).await?;
        Ok(Restocked::Accepted(JsonOf::written(&accepted), format!("/products/{product_id}")))
    }

    /// Get the stock of a product
    ///
    /// With `at`: the stock as it was then.
    #[oai(path = "/products/:id", method = "get", operation_id = "getProduct")]
    async fn get(
        &self,
        /// The product's id.
        id: Path<Id<ProductId>>,
        /// The stock at this time.
        at: Query<Time>,
    ) -> Result<GetProduct, Failure<GetFailures>> {
        let (subject, missing) = (format!("inventory.query.product.{}", id.0.0), problems::PRODUCT_NOT_FOUND);
        let json = match at.0 {
            None => self.queries.get(subject, missing).await?,
            Some(Time(time)) => self.queries.get_past(subject, Point::At(time), missing).await?,
        };
        Ok(GetProduct::Found(JsonOf::relayed(json)))
    }

    /// List products
    ///
    /// By id.
    #[oai(path = "/products", method = "get", operation_id = "listProducts")]
    async fn list(
        &self,
        /// The `next` of the previous page.
        cursor: Query<Id<ProductId>>,
        /// How many products a page has at most.
        limit: Query<PageLimit>,
    ) -> Result<ListedProducts, Failure<ListFailures>> {
        let query = ListProducts { after: cursor.0.map(|Id(id)| id), limit: Some(limit.0.unwrap_or_default().0) };
        Ok(ListedProducts::Found(JsonOf::relayed(self.queries.list("inventory.query.products", &query).await?)))
    }
}
