#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

#[derive(Event)]
#[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service")]
pub struct OrderPlaced {
    pub order_id: String,
}

#[derive(Messages)]
pub enum OrderMessage<T> {
    Placed(T),
}

fn main() {}
