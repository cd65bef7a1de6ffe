//! The REST operations on the read models: sales, and the summary of a customer.

use choreography_http::auth::Caller;
use choreography_http::code::Code;
use choreography_http::json::{JsonOf, Nullable};
use choreography_http::parameter::{Path, Query};
use choreography_http::problem::{Failure, Problem};
use choreography_http::queries::Queries;
use choreography_http::{failures, replies};
use contracts::query::ReportSales;
use poem_openapi::{Object, OpenApi};

use crate::accounts::AccountId;
use crate::fields::Day;
use crate::{Tag, problems};

/// The operations on read models.
pub(crate) struct ReportsApi {
    pub(crate) queries: Queries,
}

/// The sales of a product on a day, in one currency. It describes the JSON of projection-service, which the gateway
/// relays.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ProductSales {
    /// The day, in UTC.
    day: String,
    /// The id of the product.
    product_id: String,
    /// The currency of the amounts, ISO 4217.
    currency: String,
    /// Units of orders that were confirmed on the day.
    confirmed_units: i64,
    /// Their money, in minor units.
    confirmed_amount: i64,
    /// Units of orders that were cancelled on the day.
    cancelled_units: i64,
    /// Their money, in minor units.
    cancelled_amount: i64,
}

/// The sales of some days.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SalesReport {
    /// The sales, by day, product, and currency.
    items: Vec<ProductSales>,
    /// Whether rows are left out; choose fewer days.
    is_truncated: bool,
    /// Up to when the report contains all orders, RFC 3339; null while the read model is built.
    as_of: Nullable<String>,
}

/// A sum of money.
#[derive(Object)]
pub(crate) struct Spent {
    /// The currency, ISO 4217.
    currency: String,
    /// The sum, in minor units.
    amount: i64,
}

/// The orders of a customer.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct CustomerSummary {
    /// The id of the customer.
    customer_id: String,
    /// The number of placed orders.
    orders: i64,
    /// The number of orders that are not final.
    open: i64,
    /// The number of confirmed orders.
    confirmed: i64,
    /// The number of cancelled orders.
    cancelled: i64,
    /// The money of confirmed orders, by currency.
    spent: Vec<Spent>,
    /// When an order of the customer last changed, RFC 3339.
    last_contact: String,
    /// Up to when the summary contains all orders, RFC 3339; null while the read model is built.
    as_of: Nullable<String>,
}

replies! {
    /// The sales of the days.
    GetSales: SalesReport;

    /// The orders of the customer.
    GetSummary: CustomerSummary;
}

failures! {
    /// The errors of the sales report.
    SalesFailures = Code::OF_QUERY;

    /// The errors of the summary.
    SummaryFailures = Code::OF_QUERY, &[problems::CUSTOMER_HAS_NO_ORDERS];
}

#[OpenApi(tag = "Tag::Reports")]
impl ReportsApi {
    /// Report sales per product and day
    #[oai(path = "/reports/sales", method = "get", operation_id = "reportSales")]
    async fn sales(
        &self,
        /// The first day, in UTC.
        from: Query<Day>,
        /// The last day, in UTC.
        to: Query<Day>,
    ) -> Result<GetSales, Failure<SalesFailures>> {
        let query = ReportSales { from: from.0.map(|Day(day)| day), to: to.0.map(|Day(day)| day) };
        Ok(GetSales::Found(JsonOf::relayed(self.queries.list("projection.query.sales", &query).await?)))
    }

    /// Summarise the orders of a customer
    #[oai(path = "/customers/:id/summary", method = "get", operation_id = "summariseCustomer")]
    async fn summary(
        &self,
        caller: Caller,
        /// The customer's id.
        id: Path<AccountId>,
    ) -> Result<GetSummary, Failure<SummaryFailures>> {
        if !caller.may_reach(id.0.0.as_str()) {
            return Err(Problem::new(problems::CUSTOMER_HAS_NO_ORDERS).into());
        }
        let subject = format!("projection.query.customer.{}", id.0.0);
        let json = self.queries.get(subject, problems::CUSTOMER_HAS_NO_ORDERS).await?;
        Ok(GetSummary::Found(JsonOf::relayed(json)))
    }
}
