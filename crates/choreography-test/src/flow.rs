//! Several services connected by their subjects, without a broker.

use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::pin::Pin;
use std::time::Duration;

use choreography::testing::{Outcome, StoredMessage};
use choreography::{Handler, Publish, Timing};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::published::{Published, differences};
use crate::spec::{START, Spec};

/// The maximum number of messages in one run: a flow that publishes more is taken for an endless one.
const MAX_MESSAGES: usize = 10_000;

/// Services that react to each other's messages, as far as their declarations say that they consume them.
///
/// Each message is delivered to its consumers before the next one, in the order of publishing. Timers are due when
/// [`advance`](Self::advance) has moved the clock. Third parties do not exist: the test publishes what they cause.
#[derive(Default)]
pub struct Flow {
    services: Vec<Box<dyn Consumer>>,
    queue: VecDeque<StoredMessage>,
    /// The scheduled timers, by the subject that holds them.
    timers: BTreeMap<String, (OffsetDateTime, StoredMessage)>,
    elapsed: Duration,
}

type Delivered<'a> = Pin<Box<dyn Future<Output = anyhow::Result<(Vec<Outcome>, Vec<StoredMessage>)>> + 'a>>;

/// A service of any handler.
trait Consumer {
    fn service(&self) -> &'static str;
    fn consumes(&self, subject: &str) -> bool;
    fn deliver<'a>(&'a mut self, message: &'a StoredMessage, at: OffsetDateTime) -> Delivered<'a>;
}

impl<H: Handler> Consumer for Spec<H> {
    fn service(&self) -> &'static str {
        self.service()
    }

    fn consumes(&self, subject: &str) -> bool {
        self.consumes(subject)
    }

    fn deliver<'a>(&'a mut self, message: &'a StoredMessage, at: OffsetDateTime) -> Delivered<'a> {
        Box::pin(self.deliver(std::slice::from_ref(message), at))
    }
}

impl Flow {
    /// Creates a flow without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service. Whether its messages are delivered twice is its own setting.
    #[must_use]
    pub fn with<H: Handler>(mut self, service: Spec<H>) -> Self {
        self.services.push(Box::new(service));
        self
    }

    /// Returns the time of the paused clock.
    pub fn now(&self) -> OffsetDateTime {
        START + self.elapsed
    }

    /// Publishes a message from outside, such as a command of a gateway.
    ///
    /// # Panics
    ///
    /// If no service consumes the message, or it cannot be encoded.
    #[track_caller]
    #[must_use = "messages are delivered by `then`"]
    pub fn when(&mut self, message: impl Publish) -> &mut Self {
        let stored = match StoredMessage::of(&message, Uuid::now_v7(), self.now()) {
            Ok(stored) => stored,
            Err(error) => panic!("{error}"),
        };
        let consumed = self.services.iter().any(|service| service.consumes(&stored.subject));
        assert!(consumed, "no service consumes {}", stored.subject);
        self.queue.push_back(stored);
        self
    }

    /// Advances the paused clock, and publishes the timers that are due, the earliest first.
    pub fn advance(&mut self, duration: Duration) -> &mut Self {
        self.elapsed += duration;
        let now = self.now();
        let mut due: Vec<_> = self.timers.extract_if(.., |_, (time, _)| *time <= now).map(|(_, due)| due).collect();
        due.sort_by_key(|(time, _)| *time);
        self.queue.extend(due.into_iter().map(|(_, timer)| timer));
        self
    }

    /// Delivers messages until no service publishes any more; asserts that the services published exactly these
    /// messages, in this order.
    ///
    /// # Panics
    ///
    /// If a message was not handled, or others were published; the text shows the differences.
    #[track_caller]
    pub fn then(&mut self, expected: impl IntoIterator<Item = Published>) -> impl Future<Output = ()> {
        let (caller, expected) = (Location::caller(), expected.into_iter().collect::<Vec<_>>());
        async move {
            let published = self.run(caller).await;
            if let Some(differences) = differences(&expected, &published) {
                panic!("{caller}: the services published other messages than expected:\n{differences}");
            }
        }
    }

    /// Delivers messages until no service publishes any more, and returns what the services published.
    ///
    /// # Panics
    ///
    /// If a message was not handled.
    #[track_caller]
    pub fn then_published(&mut self) -> impl Future<Output = Vec<Published>> {
        let caller = Location::caller();
        async move { self.run(caller).await }
    }

    async fn run(&mut self, caller: &Location<'_>) -> Vec<Published> {
        let (now, mut all) = (self.now(), Vec::new());
        while let Some(message) = self.queue.pop_front() {
            let mut published = Vec::new();
            for service in self.services.iter_mut().filter(|service| service.consumes(&message.subject)) {
                let (outcomes, more) = match service.deliver(&message, now).await {
                    Ok(delivered) => delivered,
                    Err(error) => panic!("{caller}: {}: {error:#}", service.service()),
                };
                let handled = outcomes.iter().all(|outcome| *outcome == Outcome::Handled);
                assert!(
                    handled,
                    "{caller}: {} did not handle {}: {outcomes:?}",
                    service.service(),
                    message.subject
                );
                published.extend(more);
            }
            all.extend(published.iter().map(Published::read));
            assert!(all.len() <= MAX_MESSAGES, "{caller}: the flow has not ended after {MAX_MESSAGES} messages");
            published.into_iter().for_each(|message| self.publish(message));
        }
        all
    }

    /// Does with a message what its stream would do.
    fn publish(&mut self, message: StoredMessage) {
        match message.timing() {
            Timing::Now => self.queue.push_back(message),
            Timing::At { time, target } if time <= self.now() => self.queue.push_back(due(message, target)),
            Timing::At { time, target } => {
                self.timers.insert(message.subject.clone(), (time, due(message, target)));
            }
            Timing::Cancel => {
                self.timers.remove(&message.subject);
            }
        }
    }
}

/// A timer as the server delivers it.
fn due(timer: StoredMessage, target: String) -> StoredMessage {
    StoredMessage { subject: target, ..timer }
}
