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
#[message(context = "order", name = "placed", version = 2, key = order_id, producer = "order-service", upcast = old::OrderPlaced)]
pub struct OrderPlaced {
    pub order_id: String,
}

fn main() {}
