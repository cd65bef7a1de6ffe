//! Given/when/then for one service: inbox, handler, and outbox in the service's own transactions, without a broker.

use std::panic::Location;
use std::time::Duration;

use choreography::dead_letter::Reason;
use choreography::testing::{LocalProcessor, MAX_BATCH, Outcome, StoredMessage, sqlite_in_memory};
use choreography::topology::subject_matches;
use choreography::{Handler, Messages as _, Publish, clock};
use sea_orm::DatabaseConnection;
use sea_orm_migration::MigratorTrait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::published::{Published, differences};

/// The time at which each test begins.
pub const START: OffsetDateTime = time::macros::datetime!(2030-01-01 00:00 UTC);

/// A service under test, with its database.
///
/// `given` and `when` collect messages; `then` and its variants deliver them, and compare. After a `then`, the test may
/// continue on the same database. The clock ([`clock::now`]) stands still, except for [`advance`](Self::advance).
pub struct Spec<H: Handler> {
    service: &'static str,
    db: DatabaseConnection,
    processor: LocalProcessor<H>,
    now: OffsetDateTime,
    twice: bool,
    steps: Vec<Step>,
    /// The messages under test that failed last.
    failed: Vec<StoredMessage>,
}

/// A batch that is to be delivered.
struct Step {
    batch: Vec<StoredMessage>,
    at: OffsetDateTime,
    /// Whether it is under test, and not only given.
    is_when: bool,
}

/// The results of the messages under test.
#[derive(Default)]
struct Results {
    delivered: Vec<(StoredMessage, Outcome)>,
    published: Vec<Published>,
}

/// Why there is no service to specify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A migration failed.
    #[error(transparent)]
    Migration(#[from] anyhow::Error),
}

impl<H: Handler> Spec<H> {
    /// Creates a service on a new SQLite database in memory. `M` has its migrations, the library's included.
    ///
    /// # Errors
    ///
    /// [`SpecError::Migration`].
    pub async fn new<M: MigratorTrait>(service: &'static str, handler: H) -> Result<Self, SpecError> {
        Ok(Self::on(sqlite_in_memory::<M>().await?, service, handler))
    }

    /// Creates a service on a database that has its tables, such as one of [`TestPostgres`](crate::TestPostgres).
    pub fn on(db: DatabaseConnection, service: &'static str, handler: H) -> Self {
        let processor = LocalProcessor::new(service, db.clone(), handler);
        Self { service, db, processor, now: START, twice: false, steps: Vec::new(), failed: Vec::new() }
    }

    /// Returns the database. In memory it has one connection: end a transaction before the next `then`.
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Returns the time of the paused clock.
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Advances the paused clock, for the messages that follow.
    pub fn advance(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Delivers every message twice from now on. The inbox must drop the second delivery.
    pub fn delivered_twice(&mut self) -> &mut Self {
        self.twice = true;
        self
    }

    /// Adds messages that the service handled before, one by one. What they publish is not compared.
    ///
    /// # Panics
    ///
    /// If the service does not consume a message, or it cannot be encoded.
    #[track_caller]
    #[must_use = "messages are delivered by `then`"]
    pub fn given<P: Publish>(&mut self, messages: impl IntoIterator<Item = P>) -> &mut Self {
        for message in messages {
            self.add([message], false);
        }
        self
    }

    /// Adds a message under test.
    ///
    /// # Panics
    ///
    /// As for [`given`](Self::given).
    #[track_caller]
    #[must_use = "messages are delivered by `then`"]
    pub fn when(&mut self, message: impl Publish) -> &mut Self {
        self.add([message], true)
    }

    /// Adds messages under test that arrive as one batch: the service handles them in one transaction.
    ///
    /// # Panics
    ///
    /// As for [`given`](Self::given), or if there are more than 256.
    #[track_caller]
    #[must_use = "messages are delivered by `then`"]
    pub fn when_batch<P: Publish>(&mut self, messages: impl IntoIterator<Item = P>) -> &mut Self {
        self.add(messages, true)
    }

    /// Adds a redelivery of the messages under test that failed before the last `then_failed`.
    #[must_use = "messages are delivered by `then`"]
    pub fn when_redelivered(&mut self) -> &mut Self {
        let batch = std::mem::take(&mut self.failed);
        self.steps.push(Step { batch, at: self.now, is_when: true });
        self
    }

    /// Asserts that the messages under test were handled, and that the service published exactly these messages.
    ///
    /// # Panics
    ///
    /// If a message was not handled, or others were published; the text shows the differences.
    #[track_caller]
    pub fn then(&mut self, expected: impl IntoIterator<Item = Published>) -> impl Future<Output = ()> {
        let (caller, expected) = (Location::caller(), expected.into_iter().collect::<Vec<_>>());
        async move {
            let published = self.handled(caller).await;
            if let Some(differences) = differences(&expected, &published) {
                panic!("{caller}: {} published other messages than expected:\n{differences}", self.service);
            }
        }
    }

    /// Asserts that the messages under test were handled, and returns what the service published.
    ///
    /// # Panics
    ///
    /// If a message was not handled.
    #[track_caller]
    pub fn then_published(&mut self) -> impl Future<Output = Vec<Published>> {
        let caller = Location::caller();
        async move { self.handled(caller).await }
    }

    /// Asserts that the service rejected the messages under test: they became dead letters. `detail` is a part of the
    /// error's text.
    ///
    /// # Panics
    ///
    /// If a message was not rejected, or with another text.
    #[track_caller]
    pub fn then_rejected(&mut self, detail: &str) -> impl Future<Output = ()> {
        self.then_dead_lettered(Reason::Rejected, detail)
    }

    /// Asserts that the messages under test became dead letters. `detail` is a part of the error's text.
    ///
    /// # Panics
    ///
    /// If a message became no dead letter, or for another reason, or with another text.
    #[track_caller]
    pub fn then_dead_lettered(&mut self, reason: Reason, detail: &str) -> impl Future<Output = ()> {
        let (caller, reason) = (Location::caller(), reason.as_str());
        async move {
            let results = self.run(caller).await;
            let expected = format!("dead-lettered as {reason} with {detail:?}");
            check_outcomes(caller, &results.delivered, &expected, |outcome| match outcome {
                Outcome::DeadLettered { reason: actual, detail: text } => actual == reason && text.contains(detail),
                _ => false,
            });
        }
    }

    /// Asserts that the messages under test failed, so that a broker would redeliver them. `detail` is a part of the
    /// error's text.
    ///
    /// # Panics
    ///
    /// If a message did not fail, or with another text.
    #[track_caller]
    pub fn then_failed(&mut self, detail: &str) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let results = self.run(caller).await;
            let failed =
                |outcome: &Outcome| matches!(outcome, Outcome::Failed { detail: text } if text.contains(detail));
            check_outcomes(caller, &results.delivered, &format!("failed with {detail:?}"), failed);
        }
    }

    async fn handled(&mut self, caller: &Location<'_>) -> Vec<Published> {
        let results = self.run(caller).await;
        check_outcomes(caller, &results.delivered, "handled", |outcome| *outcome == Outcome::Handled);
        results.published
    }

    #[track_caller]
    fn add<P: Publish>(&mut self, messages: impl IntoIterator<Item = P>, is_when: bool) -> &mut Self {
        let mut batch = Vec::new();
        // Not in a closure: a panic names the caller's line.
        for message in messages {
            batch.push(self.stored(&message));
        }
        assert!(batch.len() <= MAX_BATCH, "a batch has at most {MAX_BATCH} messages");
        self.steps.push(Step { batch, at: self.now, is_when });
        self
    }

    #[track_caller]
    fn stored(&self, message: &impl Publish) -> StoredMessage {
        match StoredMessage::of(message, Uuid::now_v7(), self.now) {
            Ok(stored) if self.consumes(&stored.subject) => stored,
            Ok(stored) => panic!("{} does not consume {}", self.service, stored.subject),
            Err(error) => panic!("{error}"),
        }
    }

    /// Delivers the collected messages; returns the results of those under test.
    async fn run(&mut self, caller: &Location<'_>) -> Results {
        let mut results = Results::default();
        for Step { batch, at, is_when } in std::mem::take(&mut self.steps) {
            let (outcomes, published) = match self.deliver(&batch, at).await {
                Ok(delivered) => delivered,
                Err(error) => panic!("{caller}: {}: {error:#}", self.service),
            };
            let delivered: Vec<_> = batch.into_iter().zip(outcomes).collect();
            if is_when {
                let failed = delivered.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }));
                self.failed = failed.map(|(message, _)| message.clone()).collect();
                results.delivered.extend(delivered);
                results.published.extend(published.iter().map(Published::read));
            } else {
                check_outcomes(caller, &delivered, "handled", |outcome| *outcome == Outcome::Handled);
            }
        }
        results
    }

    /// Returns whether the service consumes messages on a subject.
    pub(crate) fn consumes(&self, subject: &str) -> bool {
        H::Message::MESSAGES.iter().any(|info| subject_matches(info.filter, subject))
    }

    pub(crate) fn service(&self) -> &'static str {
        self.service
    }

    /// Delivers a batch, and once more if every message is delivered twice.
    pub(crate) async fn deliver(
        &mut self,
        batch: &[StoredMessage],
        at: OffsetDateTime,
    ) -> anyhow::Result<(Vec<Outcome>, Vec<StoredMessage>)> {
        let processed = clock::at(at, self.processor.process(batch)).await?;
        if self.twice {
            let settled = processed.outcomes.iter().zip(batch);
            let settled = settled.filter(|(outcome, _)| !matches!(outcome, Outcome::Failed { .. }));
            let settled: Vec<_> = settled.map(|(_, message)| message.clone()).collect();
            let again = clock::at(at, self.processor.process(&settled)).await?;
            for (message, outcome) in settled.iter().zip(&again.outcomes) {
                let subject = &message.subject;
                anyhow::ensure!(
                    *outcome == Outcome::Duplicate,
                    "the second delivery of {subject} was not dropped: {outcome:?}"
                );
            }
            let published: Vec<_> = again.published.iter().map(|message| message.subject.as_str()).collect();
            anyhow::ensure!(published.is_empty(), "a second delivery published {}", published.join(", "));
        }
        Ok((processed.outcomes, processed.published))
    }
}

/// Panics if there is no outcome, or one is not as expected.
fn check_outcomes(
    caller: &Location<'_>,
    delivered: &[(StoredMessage, Outcome)],
    expected: &str,
    is_expected: impl Fn(&Outcome) -> bool,
) {
    assert!(!delivered.is_empty(), "{caller}: there is no message under test; call `when` before `then`");
    for (StoredMessage { subject, .. }, outcome) in delivered {
        assert!(is_expected(outcome), "{caller}: {subject} was not {expected}: {outcome:?}");
    }
}
