#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

#[derive(Event)]
#[message(context = "order", name = "placed", version = 1, key = orderid, producer = "order-service")]
pub struct OrderPlaced {
    pub order_id: String,
    pub quantity: u32,
}

fn main() {}
