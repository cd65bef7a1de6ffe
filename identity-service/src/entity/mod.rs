//! The tables of the service, without those of the library.

pub mod api_key;
pub mod credential;
pub mod known_address;
pub mod membership;
pub mod organisation;
pub mod refresh_token;
pub mod rights;
pub mod session;
pub mod signing_key;
