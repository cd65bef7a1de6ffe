#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

mod old {
    use super::*;

    #[derive(Event)]
    #[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service")]
    pub struct OrderPlaced {
        pub order_id: String,
    }
}

#[derive(Event)]
#[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service", upcast = old::OrderPlaced)]
pub struct OrderPlaced {
    pub order_id: String,
}

impl From<old::OrderPlaced> for OrderPlaced {
    fn from(old: old::OrderPlaced) -> Self {
        Self { order_id: old.order_id }
    }
}

fn main() {}
