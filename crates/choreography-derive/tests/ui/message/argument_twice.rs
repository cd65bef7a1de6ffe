#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

#[derive(Event)]
#[message(context = "order", context = "orders", name = "placed", version = 1, key = order_id)]
pub struct OrderPlaced {
    pub order_id: String,
}

fn main() {}
