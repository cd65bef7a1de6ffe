//! Where the payment of one order stands.

use std::time::Duration;

use contracts::account::CardToken;
use contracts::payment::DeclineReason;
use contracts::{Amount, Currency, CustomerId, OrderId};
use messaging::Cause;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Call, Policy};

/// The wait after the first attempt that failed; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The longest wait that a provider may ask for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Who pays how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Whose money.
    pub customer_id: CustomerId,
    /// How much, in minor units.
    pub amount: Amount,
    /// Of which currency.
    pub currency: Currency,
}

/// The payment of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Where it stands.
    pub state: State,
    /// Who pays how much; none until the order has been heard of.
    pub charge: Option<Charge>,
    /// The id of the message that said that the stock is reserved.
    pub reserved: Option<Uuid>,
    /// The id of the message that said that the order is void.
    pub cancelled: Option<Uuid>,
    /// The id of the message that began the order's flow.
    pub correlation_id: Uuid,
    /// W3C trace context of what moved it on last.
    pub trace_parent: Option<String>,
    /// When it came to be due.
    pub due_since: Option<OffsetDateTime>,
    /// How often the provider was asked, or was about to be; the number of the latest attempt.
    pub attempts: i64,
    /// When there is something to do; none where nothing is.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The idempotency key of the provider's requests; none until the first one, and none for payments that an
    /// earlier release asked for by the order's id.
    pub provider_key: Option<String>,
    /// What the provider answered last, where that was no success.
    pub provider_answer: Option<String>,
    /// Since when a person is needed: the provider refused for good, or it names other money than this payment's.
    pub alarm_since: Option<OffsetDateTime>,
    /// How many changes there have been.
    pub version: i64,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// Where a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The order is not known here yet, or its stock is not reserved.
    Pending,
    /// It is due, and there is no copy of the account.
    AwaitingAccount,
    /// The provider may have been asked, and its answer is not known.
    Capturing {
        /// The card that is charged, whatever becomes of the account meanwhile: a key stands for one request.
        token: CardToken,
    },
    /// Whether the provider has taken the money was in doubt for too long, and it may have been told to take none. No
    /// capture counts from here on: what was taken is given back.
    Voiding,
    /// The money is taken.
    Captured {
        /// What the provider knows it by.
        reference: String,
    },
    /// The money is not taken, and will not be. Final.
    Declined {
        /// Why.
        reason: DeclineReason,
    },
    /// The order is void, and the money is about to be given back.
    Refunding {
        /// What the provider knows it by.
        reference: String,
    },
    /// The money is given back. Final.
    Refunded {
        /// What the provider knows it by.
        reference: String,
    },
    /// The order was void before money was taken. Final.
    Cancelled,
}

impl State {
    /// Says whether the amount counts against the account's limit.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        matches!(self, Self::Capturing { .. } | Self::Voiding | Self::Captured { .. } | Self::Refunding { .. })
    }
}

impl Payment {
    /// A payment of which nothing is known but the flow it belongs to.
    #[must_use]
    pub fn unknown(correlation_id: Uuid, now: OffsetDateTime) -> Self {
        Self {
            state: State::Pending,
            charge: None,
            reserved: None,
            cancelled: None,
            correlation_id,
            trace_parent: None,
            due_since: None,
            attempts: 0,
            next_attempt_at: None,
            provider_key: None,
            provider_answer: None,
            alarm_since: None,
            version: 0,
            updated_at: now,
        }
    }

    /// Returns what to ask the provider, in the attempt that has just begun; none where nothing is left to ask.
    #[must_use]
    pub fn call(&self, order_id: &OrderId, now: OffsetDateTime, policy: &Policy) -> Option<Call> {
        match &self.state {
            State::Voiding => Some(Call::Void),
            State::Capturing { .. } if self.cancelled.is_some() => Some(Call::Void),
            // The first attempt is always one to capture: nothing is in doubt before.
            State::Capturing { .. } if self.attempts > 1 && self.is_overdue(now, policy) => Some(Call::Lookup),
            State::Capturing { token } => Some(Call::Capture {
                order_id: order_id.clone(),
                token: token.clone(),
                charge: self.charge.clone()?,
            }),
            State::Refunding { reference } => Some(Call::Refund { reference: reference.clone() }),
            _ => None,
        }
    }

    fn is_overdue(&self, now: OffsetDateTime, policy: &Policy) -> bool {
        self.due_since.is_some_and(|since| now >= since + policy.provider_deadline)
    }

    /// Says whether a void or a refund has failed for so long that repeating it is left to a person.
    pub(super) fn is_abandoned(&self, now: OffsetDateTime, policy: &Policy) -> bool {
        let repeated = matches!(self.state, State::Voiding | State::Refunding { .. });
        repeated && now >= self.updated_at + policy.retry_limit
    }

    /// Stops asking the provider until a person decides. What counts against the limit goes on counting.
    pub(super) fn park(&mut self, why: &str, now: OffsetDateTime) {
        self.next_attempt_at = None;
        self.alarm(why, now);
    }

    /// Marks that a person is needed.
    pub(super) fn alarm(&mut self, why: &str, now: OffsetDateTime) {
        self.provider_answer = Some(why.to_owned());
        self.alarm_since = Some(now);
    }

    /// Returns since when it is due. A moment that is still to come was written by a clock that was ahead, and is now
    /// from here on: a deadline is not put off until that clock's time has come.
    pub(super) fn due_since(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        let since = self.due_since.unwrap_or(now).min(now);
        self.due_since = Some(since);
        since
    }

    /// Sets when the provider is asked again, not before `retry_after`. A capture is not left waiting beyond its
    /// deadline.
    pub(super) fn wait(&mut self, now: OffsetDateTime, retry_after: Option<Duration>, policy: &Policy) {
        let doublings = u32::try_from(self.attempts.clamp(1, 8) - 1).unwrap_or_default();
        let backoff = (FIRST_WAIT * 2_u32.pow(doublings)).min(MAX_BACKOFF);
        let next = now + backoff.max(retry_after.unwrap_or_default().min(LONGEST_WAIT));
        let deadline = self.due_since(now) + policy.provider_deadline;
        self.next_attempt_at = Some(if deadline > now { deadline.min(next) } else { next });
    }

    /// Counts a change.
    pub(super) fn changed(&mut self, now: OffsetDateTime) {
        self.version += 1;
        self.updated_at = now;
    }

    /// The cause of what is said about a payment: the message that made it due.
    pub(super) fn due_cause(&self) -> Cause {
        self.cause(self.reserved)
    }

    /// The cause of what is said about a refund: the message that made the order void.
    pub(super) fn cancel_cause(&self) -> Cause {
        self.cause(self.cancelled)
    }

    fn cause(&self, id: Option<Uuid>) -> Cause {
        Cause {
            id: id.unwrap_or(self.correlation_id),
            correlation_id: self.correlation_id,
            trace_parent: self.trace_parent.clone(),
        }
    }
}
