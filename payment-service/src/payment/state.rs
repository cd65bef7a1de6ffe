//! The state of the payment of one order.

use std::time::Duration;

use choreography::Auth;
use choreography::Cause;
use contracts::account::CardToken;
use contracts::payment::DeclineReason;
use contracts::{Amount, Currency, CustomerId, OrderId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Call, Policy};

/// The back-off after the first failed attempt; it doubles with each further one.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);
/// The longest back-off between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is respected.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The customer, the amount, and the currency of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The customer who pays.
    pub customer_id: CustomerId,
    /// The amount in minor units.
    pub amount: Amount,
    /// The currency of the amount.
    pub currency: Currency,
}

/// The payment of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The state, with its data.
    pub state: State,
    /// The charge; `None` until the order's event has arrived.
    pub charge: Option<Charge>,
    /// The id of the event that reserved the stock.
    pub reserved: Option<Uuid>,
    /// The id of the event that cancelled the order.
    pub cancelled: Option<Uuid>,
    /// The correlation id of the order's flow.
    pub correlation_id: Uuid,
    /// The W3C trace context of the latest event.
    pub trace_parent: Option<String>,
    /// On whose behalf the flow of the latest event runs.
    pub auth: Option<Auth>,
    /// The time at which the payment became due.
    pub due_since: Option<OffsetDateTime>,
    /// The number of attempts, including one that is in progress; also the number of the latest attempt.
    pub attempts: i64,
    /// The time of the next attempt; `None` if there is none.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The idempotency key of requests to the provider; `None` before the first request, and for payments whose key is
    /// the order's id, from an earlier release.
    pub provider_key: Option<String>,
    /// The provider's latest failure or refusal; `None` after a success.
    pub provider_answer: Option<String>,
    /// The time at which an operator became necessary: the provider refused for good, or its content differs.
    pub alarm_since: Option<OffsetDateTime>,
    /// The number of changes.
    pub version: i64,
    /// The time of the last change.
    pub updated_at: OffsetDateTime,
}

/// The state of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The order is unknown, or its stock is not reserved.
    Pending,
    /// The payment is due, and there is no copy of the account.
    AwaitingAccount,
    /// A capture may have been sent; its outcome is unknown.
    Capturing {
        /// The token of the card. It stays the same if the account changes: a key belongs to one request.
        token: CardToken,
    },
    /// The outcome of the capture was unknown for too long, and a void may have been sent. No capture counts any more:
    /// one that has succeeded is refunded.
    Voiding,
    /// The payment is captured.
    Captured {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The payment is declined. Terminal.
    Declined {
        /// The decline reason.
        reason: DeclineReason,
    },
    /// The order was cancelled; a refund is due or in progress.
    Refunding {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The payment is refunded. Terminal.
    Refunded {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The order was cancelled before the capture. Terminal.
    Cancelled,
}

impl State {
    /// Returns whether the amount counts against the account's limit.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        matches!(self, Self::Capturing { .. } | Self::Voiding | Self::Captured { .. } | Self::Refunding { .. })
    }
}

impl Payment {
    /// Returns a new payment, of which only the flow is known.
    #[must_use]
    pub fn unknown(correlation_id: Uuid, now: OffsetDateTime) -> Self {
        Self {
            state: State::Pending,
            charge: None,
            reserved: None,
            cancelled: None,
            correlation_id,
            trace_parent: None,
            auth: None,
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

    /// Returns the call to the provider for the attempt that has just begun; `None` if there is nothing left to do.
    #[must_use]
    pub fn call(&self, order_id: &OrderId, now: OffsetDateTime, policy: &Policy) -> Option<Call> {
        match &self.state {
            State::Voiding => Some(Call::Void),
            State::Capturing { .. } if self.cancelled.is_some() => Some(Call::Void),
            // The first attempt is always a capture: no outcome is unknown before.
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

    /// Returns whether a void or a refund has failed for longer than the retry limit.
    pub(super) fn is_abandoned(&self, now: OffsetDateTime, policy: &Policy) -> bool {
        let repeated = matches!(self.state, State::Voiding | State::Refunding { .. });
        repeated && now >= self.updated_at + policy.retry_limit
    }

    /// Stops the attempts until an operator decides. The amount still counts against the limit.
    pub(super) fn park(&mut self, why: &str, now: OffsetDateTime) {
        self.next_attempt_at = None;
        self.alarm(why, now);
    }

    /// Raises the alarm for an operator.
    pub(super) fn alarm(&mut self, why: &str, now: OffsetDateTime) {
        self.provider_answer = Some(why.to_owned());
        self.alarm_since = Some(now);
    }

    /// Returns the time at which the payment became due. A time in the future comes from a clock that was ahead and is
    /// replaced by now, so that it does not postpone a deadline.
    pub(super) fn due_since(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        let since = self.due_since.unwrap_or(now).min(now);
        self.due_since = Some(since);
        since
    }

    /// Sets the time of the next attempt, not before `retry_after`. A capture does not wait beyond its deadline.
    pub(super) fn wait(&mut self, now: OffsetDateTime, retry_after: Option<Duration>, policy: &Policy) {
        let doublings = u32::try_from(self.attempts.clamp(1, 8) - 1).unwrap_or_default();
        let backoff = (INITIAL_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF);
        let next = now + backoff.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        let deadline = self.due_since(now) + policy.provider_deadline;
        self.next_attempt_at = Some(if deadline > now { deadline.min(next) } else { next });
    }

    /// Counts a change.
    pub(super) fn changed(&mut self, now: OffsetDateTime) {
        self.version += 1;
        self.updated_at = now;
    }

    /// The cause of an event about the payment: the message that made it due.
    pub(super) fn due_cause(&self) -> Cause {
        self.cause(self.reserved)
    }

    /// The cause of an event about a refund: the message that cancelled the order.
    pub(super) fn cancel_cause(&self) -> Cause {
        self.cause(self.cancelled)
    }

    fn cause(&self, id: Option<Uuid>) -> Cause {
        Cause {
            id: id.unwrap_or(self.correlation_id),
            correlation_id: self.correlation_id,
            trace_parent: self.trace_parent.clone(),
            auth: self.auth.clone(),
        }
    }
}
