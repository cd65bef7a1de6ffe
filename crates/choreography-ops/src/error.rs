//! The error of operations.

/// Why an operation failed. Each can be repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// An argument is not valid, and will never be: the text names it.
    #[error("{0}")]
    Invalid(String),
    /// nats-server does not reply, refuses the request, or lacks a stream.
    #[error(transparent)]
    Unavailable(#[from] anyhow::Error),
    /// A consumer makes no progress, and the operation must not go on without it.
    #[error("{0}")]
    Stalled(String),
}
