//! The watcher: repeats the checks.

use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::board::{Board, Check, Findings};
use super::judge::Judge;
use super::observe::{Observed, Queries, observe};
use crate::Operator;

/// Decides a system's own checks, from the replies that it holds and the observed flow of messages.
pub type Decide = Box<dyn FnOnce(&Observed) -> Vec<(Check, Findings)> + Send>;

/// Repeats the checks and keeps the mismatches of the previous time.
pub struct Watcher {
    query: Box<dyn Fn(Queries) -> BoxFuture<'static, Decide> + Send + Sync>,
    judge: Judge,
}

impl Default for Watcher {
    /// Checks only what the library does: outboxes, consumers, and dead letters.
    fn default() -> Self {
        Self::new(|_| async { Box::new(|_: &Observed| Vec::new()) as Decide })
    }
}

impl Watcher {
    /// Makes a watcher with a system's own checks, before those of the library, and without earlier mismatches.
    ///
    /// `query` asks the services. What it returns decides, once all are asked.
    pub fn new<F: Future<Output = Decide> + Send + 'static>(
        query: impl Fn(Queries) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { query: Box::new(move |queries| query(queries).boxed()), judge: Judge::default() }
    }

    /// Checks once. Unavailable sources are part of the results and not an error.
    pub async fn look(&mut self, operator: &Operator) -> Board {
        let own = (self.query)(Queries::new(operator));
        let (observed, decide) = Box::pin(observe(operator, own)).await;
        let own = decide(&observed);
        self.judge.decide(&observed, own, Instant::now())
    }

    /// Returns whether a mismatch has not persisted yet, so that a further check could decide it.
    #[must_use]
    pub fn suspects(&self) -> bool {
        self.judge.suspects()
    }
}
