//! What is known of products and orders.

use std::collections::BTreeMap;

use contracts::inventory::StockLine;
use contracts::{OrderId, ProductId};
use uuid::Uuid;

/// The units of one product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// How many are on the shelf, those promised to waiting orders included.
    pub available: u64,
    /// How many are held for orders.
    pub reserved: u64,
    /// How many waiting orders ask for.
    pub backordered: u64,
    /// The position of the order that came to wait for it last; 0 where none ever did.
    pub last_position: i64,
    /// How often units came in.
    pub version: i64,
}

impl Product {
    /// Says whether that many units fit beside all that is promised to waiting orders.
    #[must_use]
    pub fn has_free(&self, quantity: u64) -> bool {
        self.available.checked_sub(self.backordered).is_some_and(|free| free >= quantity)
    }
}

/// What was decided for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Where it stands.
    pub state: ReservationState,
    /// What the order asks for, a line a product, by product id. Never changes; empty where the order was cancelled
    /// before it came.
    pub lines: Vec<StockLine>,
    /// The correlation id the order came with, for events that something else causes.
    pub correlation_id: Uuid,
    /// How many decisions were made for the order.
    pub version: i64,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationState {
    /// Every line is held for it.
    Reserved,
    /// It waits its turn.
    Waiting {
        /// Greater than that of every order that came to wait for one of its products before it.
        position: i64,
    },
    /// It names products that did not exist. Final.
    Refused,
    /// It was cancelled, and what was held for it came back. Final.
    Released,
    /// It was cancelled before anything was held for it, or before it came. Final.
    Cancelled,
}

/// The place of a waiting order in line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The order's position.
    pub position: i64,
    /// Settles what two orders with one position never need settled: they share no product.
    pub order_id: OrderId,
}

/// Products, what was decided for orders, and who waits for what.
///
/// All of the stock, or the slice of it that a batch of messages needs. In a slice a queue may end early, behind the
/// first line that nothing in the batch can bring in reach; a product or an order that exists and is named by the
/// batch is never left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    /// The products by id.
    pub products: BTreeMap<ProductId, Product>,
    /// What was decided, by order.
    pub reservations: BTreeMap<OrderId, Reservation>,
    /// Per product the units that waiting orders ask for, in the order they are served.
    pub queues: BTreeMap<ProductId, BTreeMap<Place, u64>>,
}

impl Stock {
    /// Returns the last place in line whose units, with all that is promised ahead of it, fit into what is
    /// available; `None` where the first one does not fit, or nobody waits.
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

    /// Puts an order at the end of the line of each of its products, and returns its position.
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

    /// Takes an order out of the line of each of its products.
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

    /// Moves units from the shelf to where they are held for an order.
    pub(super) fn hold(&mut self, lines: &[StockLine]) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.available -= line.quantity;
                product.reserved += line.quantity;
            }
        }
    }

    /// Moves units back to the shelf.
    pub(super) fn return_units(&mut self, lines: &[StockLine]) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.reserved -= line.quantity;
                product.available += line.quantity;
            }
        }
    }
}
