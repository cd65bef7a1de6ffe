#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

#[derive(Event)]
pub struct OrderPlaced {
    pub order_id: String,
}

fn main() {}
