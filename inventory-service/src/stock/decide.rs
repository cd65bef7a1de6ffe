//! The decision: how a message changes the stock, and the events it causes.

use std::collections::{BTreeMap, BTreeSet};

use contracts::declaration::StockMessage;
use contracts::inventory::{
    InventoryEvent, Restock, Restocked, StockBackordered, StockLine, StockRefused, StockReleased, StockReserved,
};
use contracts::order::OrderDetails;
use contracts::{OrderId, ProductId};
use uuid::Uuid;

use super::{Place, Product, Reservation, ReservationState, Stock};

/// An event with its version and its flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The event to publish.
    pub event: InventoryEvent,
    /// The version of the order's reservation, or for [`Restocked`] of the product.
    pub version: i64,
    /// The correlation id of the flow. An order that is served by another message keeps its own.
    pub correlation_id: Uuid,
}

/// Returns the lines of an order, one per product, by product id.
#[must_use]
pub fn lines_of(order: &OrderDetails) -> Vec<StockLine> {
    let mut quantities = BTreeMap::<&ProductId, u64>::new();
    for item in &order.items {
        *quantities.entry(&item.product_id).or_default() += u64::from(item.quantity.get());
    }
    quantities
        .into_iter()
        .map(|(product_id, quantity)| StockLine { product_id: product_id.clone(), quantity })
        .collect()
}

impl Stock {
    /// Changes the stock by a message, and returns the events.
    ///
    /// `correlation_id` is that of the message. A repeated message about an order changes nothing. A repeated
    /// [`Restock`] adds its units again: the caller must deduplicate it.
    pub fn decide(&mut self, message: &StockMessage, correlation_id: Uuid) -> Vec<Decided> {
        match message {
            StockMessage::Placed(order) => self.place(order, correlation_id).into_iter().collect(),
            StockMessage::Cancelled(order) => self.cancel(&order.order_id, correlation_id),
            StockMessage::Restock(restock) => self.restock(restock, correlation_id),
        }
    }

    fn place(&mut self, order: &OrderDetails, correlation_id: Uuid) -> Option<Decided> {
        if self.reservations.contains_key(&order.order_id) {
            return None;
        }
        let order_id = order.order_id.clone();
        let lines = lines_of(order);
        let unknown_products = self.products_of(&lines, |product| product.is_none());
        let short = self
            .products_of(&lines, |product| product.is_some_and(|(product, quantity)| !product.has_free(quantity)));
        let (state, event) = if !unknown_products.is_empty() {
            (ReservationState::Refused, StockRefused { order_id, unknown_products }.into())
        } else if short.is_empty() {
            self.reserve(&lines);
            (ReservationState::Reserved, StockReserved { order_id, lines: lines.clone() }.into())
        } else {
            let position = self.enqueue(&order_id, &lines);
            (ReservationState::Waiting { position }, StockBackordered { order_id, short }.into())
        };
        let version = 1;
        self.reservations.insert(order.order_id.clone(), Reservation { state, lines, correlation_id, version });
        Some(Decided { event, version, correlation_id })
    }

    fn cancel(&mut self, order_id: &OrderId, correlation_id: Uuid) -> Vec<Decided> {
        let Some(reservation) = self.reservations.get_mut(order_id) else {
            // A tombstone: the order is cancelled when its event arrives.
            let state = ReservationState::Cancelled;
            let tombstone = Reservation { state, lines: Vec::new(), correlation_id, version: 1 };
            self.reservations.insert(order_id.clone(), tombstone);
            return Vec::new();
        };
        let mut events = Vec::new();
        let lines = match reservation.state {
            ReservationState::Reserved => {
                reservation.state = ReservationState::Released;
                reservation.version += 1;
                let (lines, version) = (reservation.lines.clone(), reservation.version);
                self.return_units(&lines);
                let event = StockReleased { order_id: order_id.clone(), lines: lines.clone() }.into();
                events.push(Decided { event, version, correlation_id });
                lines
            }
            ReservationState::Waiting { position } => {
                reservation.state = ReservationState::Cancelled;
                reservation.version += 1;
                let lines = reservation.lines.clone();
                self.dequeue(&Place { position, order_id: order_id.clone() }, &lines);
                lines
            }
            ReservationState::Refused | ReservationState::Released | ReservationState::Cancelled => return events,
        };
        events.extend(self.serve(lines.iter().map(|line| &line.product_id)));
        events
    }

    fn restock(&mut self, restock: &Restock, correlation_id: Uuid) -> Vec<Decided> {
        let product = self.products.get_or_insert_with(restock.product_id.clone(), Product::default);
        product.available += u64::from(restock.quantity.get());
        product.version += 1;
        let restocked = Restocked {
            product_id: restock.product_id.clone(),
            quantity: restock.quantity,
            available: product.available,
        };
        let mut events = vec![Decided { event: restocked.into(), version: product.version, correlation_id }];
        events.extend(self.serve([&restock.product_id]));
        events
    }

    /// Serves the waiting orders that came into reach, because more units of some products are available.
    ///
    /// No other order can be served: between messages no waiting order has all of its lines in reach.
    fn serve<'a>(&mut self, more: impl IntoIterator<Item = &'a ProductId>) -> Vec<Decided> {
        let mut candidates = BTreeSet::new();
        for product_id in more {
            if let (Some(queue), Some(last)) = (self.queues.get(product_id), self.reach(product_id)) {
                candidates.extend(queue.range(..=last).map(|(place, _)| place.clone()));
            }
        }
        let mut reaches = BTreeMap::new();
        candidates.retain(|place| self.is_in_reach(place, &mut reaches));
        candidates.into_iter().filter_map(|place| self.serve_one(&place)).collect()
    }

    /// Returns whether all lines of a waiting order are in reach; `reaches` caches the reach per product.
    fn is_in_reach(&self, place: &Place, reaches: &mut BTreeMap<ProductId, Option<Place>>) -> bool {
        let Some(reservation) = self.reservations.get(&place.order_id) else {
            return false;
        };
        reservation.lines.iter().all(|line| {
            let reach = match reaches.get(&line.product_id) {
                Some(reach) => reach,
                None => {
                    reaches.entry(line.product_id.clone()).or_insert_with(|| self.reach(&line.product_id).cloned())
                }
            };
            reach.as_ref().is_some_and(|last| place <= last)
        })
    }

    fn serve_one(&mut self, place: &Place) -> Option<Decided> {
        let reservation = self.reservations.get_mut(&place.order_id)?;
        reservation.state = ReservationState::Reserved;
        reservation.version += 1;
        let (version, correlation_id) = (reservation.version, reservation.correlation_id);
        let lines = reservation.lines.clone();
        self.dequeue(place, &lines);
        self.reserve(&lines);
        let event = StockReserved { order_id: place.order_id.clone(), lines }.into();
        Some(Decided { event, version, correlation_id })
    }

    /// Returns the products of the lines for which the condition is true; the condition gets the product, if it exists,
    /// and the quantity of the line.
    fn products_of(
        &self,
        lines: &[StockLine],
        condition: impl Fn(Option<(&Product, u64)>) -> bool,
    ) -> Vec<ProductId> {
        lines
            .iter()
            .filter(|line| condition(self.products.get(&line.product_id).map(|product| (product, line.quantity))))
            .map(|line| line.product_id.clone())
            .collect()
    }
}
