//! Database access of one part of a service: a time limit, and reports to readiness.

use std::time::Duration;

use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, answered};
use crate::state::fault::{self, Fault};
use crate::telemetry::health::Health;

/// How long a database may take to respond before readiness reports it.
const REPORT_AFTER: Duration = Duration::from_secs(4);

/// The database access of one part of a service, such as a worker.
///
/// Each unit of work has a time limit. Readiness and the log report when the database begins to fail, and when it
/// responds again.
#[derive(Debug, Clone)]
pub struct Watch {
    health: Health,
    part: String,
}

impl Watch {
    /// Creates a watch that reports to readiness as `part`.
    #[must_use]
    pub fn new(health: &Health, part: impl Into<String>) -> Self {
        Self { health: health.clone(), part: part.into() }
    }

    /// Awaits one unit of work on the database, for at most 10 s, and reports the outcome. Readiness reports a unit
    /// that takes longer than 4 s.
    ///
    /// Other waits, such as a call to a third party, do not belong in the unit.
    ///
    /// # Errors
    ///
    /// The error of the work, or that the database did not respond; then the connection is closed, and uncommitted
    /// changes are rolled back.
    pub async fn answered<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
    where
        E: Into<anyhow::Error>,
    {
        let mut work = Box::pin(answered(async { work.await.map_err(Into::into) }));
        let ended = match timeout(REPORT_AFTER, &mut work).await {
            Ok(ended) => ended,
            Err(_) => {
                let limit = ANSWER_TIMEOUT.as_secs();
                self.fail(format!("the database has not answered for {} s of {limit}", REPORT_AFTER.as_secs()));
                work.await
            }
        };
        match &ended {
            Ok(_) => self.report_answer(),
            // A retry resolves a deadlock.
            Err(error) if fault::of_any(error) == Some(Fault::Contention) => {}
            Err(error) => self.fail(fault::text(error)),
        }
        ended
    }

    /// Returns whether the last unit of work failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.health.problem(&self.part).is_some()
    }

    fn fail(&self, why: String) {
        self.health.failed(&self.part, why);
    }

    fn report_answer(&self) {
        if self.is_failing() {
            tracing::info!(part = self.part, "the database answers again");
        }
        self.health.ok(&self.part);
    }
}
