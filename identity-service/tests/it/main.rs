//! The guarantees of the identity service.
