//! The state of the stock: products, reservations, and queues.

use std::collections::BTreeMap;

use choreography::Tracked;
use contracts::inventory::StockLine;
use contracts::{OrderId, ProductId};
use uuid::Uuid;

/// The units of one product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// The available units, including those promised to waiting orders.
    pub available: u64,
    /// The units reserved for orders.
    pub reserved: u64,
    /// The units of waiting orders.
    pub backordered: u64,
    /// The position of the latest backordered order; 0 if there never was one.
    pub last_position: i64,
    /// The number of restocks.
    pub version: i64,
    /// When its row last changed, in milliseconds since 1970; no rule depends on it.
    pub changed_at: i64,
}

impl Product {
    /// Returns whether that many units are available and not promised to waiting orders.
    #[must_use]
    pub fn has_free(&self, quantity: u64) -> bool {
        self.available.checked_sub(self.backordered).is_some_and(|free| free >= quantity)
    }
}

/// The stock decision for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The state of the reservation.
    pub state: ReservationState,
    /// The lines of the order, one per product, by product id. They never change; empty if the order was cancelled
    /// before its event arrived.
    pub lines: Vec<StockLine>,
    /// The correlation id of the order's flow, for events that another message causes.
    pub correlation_id: Uuid,
    /// The number of decisions for the order.
    pub version: i64,
}

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationState {
    /// Every line is reserved.
    Reserved,
    /// The order waits in the queue.
    Waiting {
        /// Greater than the position of every earlier order that waits for one of its products.
        position: i64,
    },
    /// The order has products that did not exist. Terminal.
    Refused,
    /// The order was cancelled, and its units are available again. Terminal.
    Released,
    /// The order was cancelled before its lines were reserved, or before its event arrived. Terminal.
    Cancelled,
}

/// The place of a waiting order in the queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The order's position.
    pub position: i64,
    /// A tie-breaker: two orders with the same position share no product.
    pub order_id: OrderId,
}

/// Products, reservations, and queues of waiting orders.
///
/// All of the stock, or the part that a batch of messages needs. A partial queue may end early, after the first line
/// that the batch cannot bring into reach; an existing product or order of the batch is always loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    /// The products by id.
    pub products: Tracked<ProductId, Product>,
    /// The reservations by order.
    pub reservations: Tracked<OrderId, Reservation>,
    /// Per product the units of waiting orders, in the order of service.
    pub queues: BTreeMap<ProductId, BTreeMap<Place, u64>>,
}

impl Stock {
    /// Returns the last place in the queue whose line is in reach; `None` if no line is, or no order waits.
    pub(super) fn reach(&self, product_id: &ProductId) -> Option<&Place> {
        let available = self.products.get(product_id)?.available;
        let mut promised = 0;
        self.queues
            .get(product_id)?
            .iter()
            .take_while(|(_, quantity)| {
                promised += **quantity;
                promised <= available
            })
            .last()
            .map(|(place, _)| place)
    }

    /// Appends an order to the queue of each of its products, and returns its position.
    pub(super) fn enqueue(&mut self, order_id: &OrderId, lines: &[StockLine]) -> i64 {
        let last =
            lines.iter().filter_map(|line| self.products.get(&line.product_id)).map(|p| p.last_position).max();
        let position = last.unwrap_or(0) + 1;
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.backordered += line.quantity;
                product.last_position = position;
            }
            let place = Place { position, order_id: order_id.clone() };
            self.queues.entry(line.product_id.clone()).or_default().insert(place, line.quantity);
        }
        position
    }

    /// Removes an order from the queue of each of its products.
    pub(super) fn dequeue(&mut self, place: &Place, lines: &[StockLine]) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.backordered -= line.quantity;
            }
            if let Some(queue) = self.queues.get_mut(&line.product_id) {
                queue.remove(place);
                if queue.is_empty() {
                    self.queues.remove(&line.product_id);
                }
            }
        }
    }

    /// Moves units from available to reserved.
    pub(super) fn reserve(&mut self, lines: &[StockLine]) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.available -= line.quantity;
                product.reserved += line.quantity;
            }
        }
    }

    /// Moves units from reserved to available.
    pub(super) fn return_units(&mut self, lines: &[StockLine]) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.reserved -= line.quantity;
                product.available += line.quantity;
            }
        }
    }
}
