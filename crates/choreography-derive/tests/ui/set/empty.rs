#[path = "../stub.rs"]
mod stub;
extern crate self as choreography;
pub use stub::*;

#[derive(Messages)]
pub enum OrderMessage {}

fn main() {}
