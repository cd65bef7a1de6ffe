//! The totals at the end of a test: the payment provider's ledger, the stock, and the orders.

use std::collections::BTreeMap;

use demo::Component;
use payment_service::entity::payment::{Entity, due};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Database, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{World, eventually, send};

/// The charge and refund of one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) captures: u32,
    pub(crate) refunds: u32,
    /// The captured amount, in minor units.
    pub(crate) amount: u64,
}

impl Recorded {
    pub(crate) fn is_charged(&self) -> bool {
        self.captures > self.refunds
    }
}

impl World {
    /// Sets the provider's behaviour; to be set again after a kill.
    pub(crate) async fn behave(&self, behaviour: Value) {
        let url = format!("{}/behaviour", self.config().http_url(Component::PaymentProvider));
        let response = send(self.http.put(url).json(&behaviour)).await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Returns the entries of the provider's ledger, oldest first.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let url = format!("{}/ledger", self.config().http_url(Component::PaymentProvider));
        let shown = send(self.http.get(url)).await;
        shown.body["entries"].as_array().unwrap_or_else(|| panic!("{shown:?}")).clone()
    }

    /// Returns the charges of the provider, by order.
    pub(crate) async fn charges(&self) -> BTreeMap<String, Recorded> {
        let mut charges: BTreeMap<String, Recorded> = BTreeMap::new();
        let mut orders = BTreeMap::new();
        for entry in self.ledger().await {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            match entry["kind"].as_str().unwrap() {
                "captured" => {
                    let order = charges.entry(text("orderId")).or_default();
                    order.captures += 1;
                    order.amount += entry["amount"].as_u64().unwrap();
                    orders.insert(text("reference"), text("orderId"));
                }
                "refunded" => charges.get_mut(&orders[&text("reference")]).unwrap().refunds += 1,
                _ => {}
            }
        }
        charges
    }

    /// Returns `(captures, refunds)` of one order.
    pub(crate) async fn charges_of(&self, order: &str) -> (u32, u32) {
        let charges = self.charges().await.get(order).copied().unwrap_or_default();
        (charges.captures, charges.refunds)
    }

    /// Returns the payment status of an order; if there is none, the status code of the response.
    pub(crate) async fn payment(&self, order: &str) -> String {
        let response = self.get(&format!("/orders/{order}/payment")).await;
        response.body["status"].as_str().map_or_else(|| response.status.to_string(), str::to_owned)
    }

    /// Returns all orders, as soon as the search contains what has happened until now.
    pub(crate) async fn orders(&self) -> Vec<Value> {
        self.search_is_current().await;
        let (mut orders, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/orders?limit=200{cursor}")).await;
            orders.extend_from_slice(page.body["items"].as_array().unwrap_or_else(|| panic!("{page:?}")));
            match page.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return orders,
            }
        }
    }

    /// Waits until the search of orders contains all events until now.
    pub(crate) async fn search_is_current(&self) {
        let now = OffsetDateTime::now_utc();
        eventually("the search of orders is current", || async {
            let page = self.get("/orders?limit=1").await;
            let as_of = page.body["asOf"].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
            as_of.is_some_and(|as_of| as_of > now)
        })
        .await;
    }

    /// Returns whether payment-service has no planned attempt.
    pub(crate) async fn payments_rest(&self) -> bool {
        let url = self.config().database_url(Component::PaymentService).unwrap();
        let db = Database::connect(url).await.unwrap();
        let due = Entity::find().filter(due().is_not_null()).count(&db).await.unwrap();
        db.close().await.unwrap();
        due == 0
    }

    /// Checks the totals of a shop at rest: every order is terminal or waits for stock, and is confirmed exactly if
    /// its customer is charged its price once. Units are reserved for confirmed orders only, and no units of these
    /// products, `(id, units)`, are lost.
    pub(crate) async fn totals_reconcile(&self, products: &[(&str, u64)]) {
        let charges = self.charges().await;
        for (order, charges) in &charges {
            assert!(charges.captures <= 1 && charges.refunds <= charges.captures, "{order}: {charges:?}");
        }
        let (mut held, mut backordered): (BTreeMap<String, u64>, BTreeMap<String, u64>) = Default::default();
        for order in self.orders().await {
            let id = order["orderId"].as_str().unwrap();
            let charges = charges.get(id).copied().unwrap_or_default();
            let confirmed = order["status"] == "confirmed";
            assert_eq!(charges.is_charged(), confirmed, "{charges:?} of {order}");
            assert!(
                charges.captures == 0 || order["totalPrice"] == json!(charges.amount),
                "{charges:?} of {order}"
            );
            let lines = match order["status"].as_str().unwrap() {
                "confirmed" => &mut held,
                "awaiting-stock" => &mut backordered,
                "cancelled" => continue,
                _ => panic!("neither terminal nor waiting: {order}"),
            };
            for item in order["items"].as_array().unwrap() {
                let product = item["productId"].as_str().unwrap().to_owned();
                *lines.entry(product).or_default() += item["quantity"].as_u64().unwrap();
            }
        }
        for (product, units) in products {
            let of = |lines: &BTreeMap<String, u64>| lines.get(*product).copied().unwrap_or_default();
            let stock = self.stock(product).await;
            assert_eq!(stock, (units - of(&held), of(&held), of(&backordered)), "{product}");
        }
    }
}
