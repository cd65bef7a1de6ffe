//! The queries. [`contracts::query`] has the types of requests and replies.

use anyhow::Context;
use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::projection::as_of;
use choreography::query::{Endpoint, Query, QueryError, cut_page};
use contracts::declaration::{CUSTOMERS, ORDER_SEARCH, SALES};
use contracts::query::{
    CustomerSummary, DEFAULT_PAGE, FoundOrder, FoundOrders, MAX_PAGE, OrderSort, OrderView, ProductSales,
    ReportSales, SalesReport, SearchOrders, Spent,
};
use contracts::{CustomerId, OrderId};
use sea_orm::sea_query::{Expr, ExprTrait, Query as SqlQuery};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::de::DeserializeOwned;

use crate::customers::{customer_orders, spent};
use crate::sales::{parse_day, product_sales};
use crate::search::orders::{Column, Entity, Model};
use crate::search::products;

/// The maximum number of rows of a sales report.
const MAX_SALES: u64 = 2000;

/// Returns the query endpoints on a database.
#[must_use]
pub fn endpoints(db: &DatabaseConnection) -> Vec<Endpoint> {
    let (for_orders, for_sales, for_customer) = (db.clone(), db.clone(), db.clone());
    vec![
        Endpoint::new("orders", "projection.query.orders", move |query| search(for_orders.clone(), query)),
        Endpoint::new("sales", "projection.query.sales", move |query| report(for_sales.clone(), query)),
        Endpoint::new("customer", "projection.query.customer.*", move |query| {
            customer(for_customer.clone(), query)
        }),
    ]
}

fn request<T: DeserializeOwned + Default>(query: &Query) -> Result<T, QueryError> {
    if query.body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))
}

/// Returns a page of orders.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a valid [`SearchOrders`], or its limit is out of range.
pub async fn search(db: DatabaseConnection, query: Query) -> Result<FoundOrders, QueryError> {
    let request: SearchOrders = request(&query)?;
    let limit = request.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(QueryError::Invalid(format!("limit must be 1 to {MAX_PAGE}")));
    }
    let as_of = as_of(&db, ORDER_SEARCH.0).await?;
    let (column, order) = sorted(request.sort);
    let mut select = filtered(&request);
    if let Some(cursor) = &request.cursor {
        let (value, order_id) = parse_cursor(cursor)?;
        let (row, last) =
            (Expr::tuple([Expr::col(column), Expr::col(Column::OrderId)]), [Expr::val(value), Expr::val(order_id)]);
        select = select.filter(match order {
            Order::Asc => row.gt(Expr::tuple(last)),
            _ => row.lt(Expr::tuple(last)),
        });
    }
    // One row more than requested shows whether another page follows.
    let select = select.order_by(column, order.clone()).order_by(Column::OrderId, order).limit(limit + 1);
    let mut rows = select.all(&db).await?;
    let more = cut_page(&mut rows, limit, |row| row.items.len());
    let value = |row: &Model| match column {
        Column::UpdatedAt => row.updated_at,
        Column::TotalPrice => row.total_price,
        _ => row.placed_at,
    };
    let next = rows.last().filter(|_| more).map(|row| format!("{}.{}", value(row), row.order_id));
    let items = rows.into_iter().map(found).collect::<anyhow::Result<_>>().map_err(QueryError::Unavailable)?;
    Ok(FoundOrders { items, next, as_of })
}

fn sorted(sort: OrderSort) -> (Column, Order) {
    match sort {
        OrderSort::Newest => (Column::PlacedAt, Order::Desc),
        OrderSort::Oldest => (Column::PlacedAt, Order::Asc),
        OrderSort::LastChanged => (Column::UpdatedAt, Order::Desc),
        OrderSort::LongestUnchanged => (Column::UpdatedAt, Order::Asc),
        OrderSort::Largest => (Column::TotalPrice, Order::Desc),
        OrderSort::Smallest => (Column::TotalPrice, Order::Asc),
    }
}

fn filtered(request: &SearchOrders) -> Select<Entity> {
    let mut select = Entity::find();
    if let Some(customer) = &request.customer_id {
        select = select.filter(Column::CustomerId.eq(customer.as_str()));
    }
    if let Some(product) = &request.product_id {
        let with_product = SqlQuery::select()
            .column(products::Column::OrderId)
            .from(products::Entity)
            .and_where(products::Column::ProductId.eq(product.as_str()))
            .to_owned();
        select = select.filter(Column::OrderId.in_subquery(with_product));
    }
    if let Some(status) = request.status {
        select = select.filter(Column::Status.eq(status.as_str()));
    }
    if let Some(waits_for) = request.waits_for {
        select = select.filter(Column::WaitsFor.eq(waits_for.as_str()));
    }
    if let Some(from) = request.from {
        select = select.filter(Column::PlacedAt.gte(from));
    }
    if let Some(to) = request.to {
        select = select.filter(Column::PlacedAt.lt(to));
    }
    select
}

/// A cursor is `<value>.<order_id>` of the last row of a page; callers treat it as opaque.
fn parse_cursor(cursor: &str) -> Result<(i64, String), QueryError> {
    let parsed = cursor
        .split_once('.')
        .and_then(|(value, order_id)| Some((value.parse().ok()?, String::from(OrderId::parse(order_id).ok()?))));
    parsed.ok_or_else(|| QueryError::Invalid("cursor must be the next of an earlier page".to_owned()))
}

fn found(row: Model) -> anyhow::Result<FoundOrder> {
    let reading = format!("reading order {}", row.order_id);
    let parse = || {
        anyhow::Ok(FoundOrder {
            waits_for: row.waits_for.map(|waits_for| serde_json::from_value(waits_for.into())).transpose()?,
            order: OrderView {
                order_id: row.order_id.try_into()?,
                customer_id: row.customer_id.try_into()?,
                status: serde_json::from_value(row.status.into())?,
                currency: serde_json::from_value(row.currency.into())?,
                items: serde_json::from_str(&row.items)?,
                total_price: row.total_price.try_into()?,
                reason: row.reason.as_deref().map(serde_json::from_str).transpose()?,
                version: row.version,
                placed_at: rfc3339(from_unix_millis(row.placed_at)),
                updated_at: rfc3339(from_unix_millis(row.updated_at)),
            },
        })
    };
    parse().context(reading)
}

/// Returns the sales of some days.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a valid [`ReportSales`].
pub async fn report(db: DatabaseConnection, query: Query) -> Result<SalesReport, QueryError> {
    let ReportSales { from, to } = request(&query)?;
    let as_of = as_of(&db, SALES.0).await?;
    let mut select = product_sales::Entity::find();
    let day = |text: &str| {
        parse_day(text).map_err(|_| QueryError::Invalid(format!("{text:?} is not a day such as 2026-11-27")))
    };
    if let Some(from) = from {
        select = select.filter(product_sales::Column::Day.gte(day(&from)?));
    }
    if let Some(to) = to {
        select = select.filter(product_sales::Column::Day.lte(day(&to)?));
    }
    let sorted = select
        .order_by_asc(product_sales::Column::Day)
        .order_by_asc(product_sales::Column::ProductId)
        .order_by_asc(product_sales::Column::Currency);
    let mut rows = sorted.limit(MAX_SALES + 1).all(&db).await?;
    let is_truncated = cut_page(&mut rows, MAX_SALES, |_| 250);
    let items = rows.into_iter().map(sold).collect::<anyhow::Result<_>>().map_err(QueryError::Unavailable)?;
    Ok(SalesReport { items, is_truncated, as_of })
}

fn sold(row: product_sales::Model) -> anyhow::Result<ProductSales> {
    Ok(ProductSales {
        day: row.day,
        product_id: row.product_id.try_into()?,
        currency: serde_json::from_value(row.currency.into())?,
        confirmed_units: row.confirmed_units,
        confirmed_amount: row.confirmed_amount,
        cancelled_units: row.cancelled_units,
        cancelled_amount: row.cancelled_amount,
    })
}

/// Returns the orders of a customer.
///
/// # Errors
///
/// [`QueryError::NotFound`] if the customer has never placed an order.
pub async fn customer(db: DatabaseConnection, query: Query) -> Result<CustomerSummary, QueryError> {
    let customer_id =
        CustomerId::parse(query.key).map_err(|error| QueryError::Invalid(format!("the customer id {error}")))?;
    let as_of = as_of(&db, CUSTOMERS.0).await?;
    let row = customer_orders::Entity::find_by_id(customer_id.to_string()).one(&db).await?;
    let row = row.ok_or_else(|| QueryError::NotFound(format!("customer {customer_id} has no orders")))?;
    let rows = spent::Entity::find()
        .filter(spent::Column::CustomerId.eq(customer_id.as_str()))
        .order_by_asc(spent::Column::Currency)
        .all(&db)
        .await?;
    let sum = |row: spent::Model| {
        anyhow::Ok(Spent { currency: serde_json::from_value(row.currency.into())?, amount: row.amount })
    };
    Ok(CustomerSummary {
        customer_id,
        orders: row.orders,
        open: row.open,
        confirmed: row.confirmed,
        cancelled: row.cancelled,
        spent: rows.into_iter().map(sum).collect::<anyhow::Result<_>>().map_err(QueryError::Unavailable)?,
        last_contact: rfc3339(from_unix_millis(row.last_contact)),
        as_of,
    })
}
