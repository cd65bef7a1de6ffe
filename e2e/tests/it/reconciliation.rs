//! The books at the end of a test: what the payment provider's own ledger, the inventory, and the orders say.

use std::collections::BTreeMap;

use demo::Component;
use payment_service::entity::payment::{Entity, due};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Database, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};

use crate::support::{World, answer};

/// What the provider did for one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) captures: u32,
    pub(crate) refunds: u32,
    /// How much was captured, in minor units.
    pub(crate) amount: u64,
}

impl Recorded {
    pub(crate) fn is_charged(&self) -> bool {
        self.captures > self.refunds
    }
}

impl World {
    /// Tells the provider how to behave from now on; to be told again once it was killed.
    pub(crate) async fn behave(&self, behaviour: Value) {
        let url = format!("{}/behaviour", self.config().http_url(Component::PaymentProvider));
        let reported = answer(self.http.put(url).json(&behaviour)).await;
        assert_eq!(reported.status, 200, "{reported:?}");
    }

    /// Returns the entries of the provider's ledger, oldest first.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let url = format!("{}/ledger", self.config().http_url(Component::PaymentProvider));
        let shown = answer(self.http.get(url)).await;
        shown.body["entries"].as_array().unwrap_or_else(|| panic!("{shown:?}")).clone()
    }

    /// Returns what the provider did, by order.
    pub(crate) async fn booked(&self) -> BTreeMap<String, Recorded> {
        let mut booked: BTreeMap<String, Recorded> = BTreeMap::new();
        let mut orders = BTreeMap::new();
        for entry in self.ledger().await {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            match entry["kind"].as_str().unwrap() {
                "captured" => {
                    let order = booked.entry(text("orderId")).or_default();
                    order.captures += 1;
                    order.amount += entry["amount"].as_u64().unwrap();
                    orders.insert(text("reference"), text("orderId"));
                }
                "refunded" => booked.get_mut(&orders[&text("reference")]).unwrap().refunds += 1,
                _ => {}
            }
        }
        booked
    }

    /// Returns `(captures, refunds)` of one order.
    pub(crate) async fn booked_for(&self, order: &str) -> (u32, u32) {
        let booked = self.booked().await.get(order).copied().unwrap_or_default();
        (booked.captures, booked.refunds)
    }

    /// Returns where the payment of an order stands; the status code of the answer where that is no success.
    pub(crate) async fn payment(&self, order: &str) -> String {
        let answer = self.get(&format!("/orders/{order}/payment")).await;
        answer.body["status"].as_str().map_or_else(|| answer.status.to_string(), str::to_owned)
    }

    /// Returns all orders.
    pub(crate) async fn orders(&self) -> Vec<Value> {
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

    /// Says whether the payment service has nothing left to do by itself.
    pub(crate) async fn payments_rest(&self) -> bool {
        let url = self.config().database_url(Component::PaymentService).unwrap();
        let db = Database::connect(url).await.unwrap();
        let due = Entity::find().filter(due().is_not_null()).count(&db).await.unwrap();
        db.close().await.unwrap();
        due == 0
    }

    /// What must hold once everything is settled: every order is final or waits for stock, is confirmed exactly if its
    /// customer is charged, once, its own price; units are held for confirmed orders only, and none is lost of these
    /// products, `(id, units)`.
    pub(crate) async fn totals_reconcile(&self, products: &[(&str, u64)]) {
        let booked = self.booked().await;
        for (order, booked) in &booked {
            assert!(booked.captures <= 1 && booked.refunds <= booked.captures, "{order}: {booked:?}");
        }
        let (mut held, mut awaited): (BTreeMap<String, u64>, BTreeMap<String, u64>) = Default::default();
        for order in self.orders().await {
            let id = order["orderId"].as_str().unwrap();
            let booked = booked.get(id).copied().unwrap_or_default();
            let confirmed = order["status"] == "confirmed";
            assert_eq!(booked.is_charged(), confirmed, "{booked:?} of {order}");
            assert!(booked.captures == 0 || order["totalPrice"] == json!(booked.amount), "{booked:?} of {order}");
            let lines = match order["status"].as_str().unwrap() {
                "confirmed" => &mut held,
                "awaiting-stock" => &mut awaited,
                "cancelled" => continue,
                _ => panic!("neither final nor waiting: {order}"),
            };
            for item in order["items"].as_array().unwrap() {
                let product = item["productId"].as_str().unwrap().to_owned();
                *lines.entry(product).or_default() += item["quantity"].as_u64().unwrap();
            }
        }
        for (product, units) in products {
            let of = |lines: &BTreeMap<String, u64>| lines.get(*product).copied().unwrap_or_default();
            let stock = self.stock(product).await;
            assert_eq!(stock, (units - of(&held), of(&held), of(&awaited)), "{product}");
        }
    }
}
