//! The aggregates and their decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::{Cause, Tracked};
use contracts::order::OrderDetails;
use contracts::payment::{DeclineReason, PaymentCaptured, PaymentDeclined, PaymentEvent, PaymentRefunded};
use contracts::{CustomerId, OrderId};
use time::OffsetDateTime;

use super::{Account, Charge, Outcome, Payment, PaymentMessage, State};

/// The time limits of payments.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The time limit for a payment that is due to wait for a copy of its account.
    pub account_wait: Duration,
    /// The time limit for capturing a payment that is due; after it the capture is voided.
    pub provider_deadline: Duration,
    /// The time limit for repeating a void or a refund; after it an operator must decide.
    pub retry_limit: Duration,
    /// Whether to query account-service for a missing account as soon as a payment is due.
    pub fetch_accounts: bool,
}

/// An event with its version and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The event to publish.
    pub event: PaymentEvent,
    /// The version of the payment.
    pub version: i64,
    /// The message that made the payment due, or that cancelled the order.
    pub cause: Cause,
}

/// Payments, accounts, and exposures: all of them, or those that a batch needs.
///
/// A payment that a message or an outcome concerns must be loaded with the account and the exposure of its customer, if
/// these exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregates {
    /// The payments by order.
    pub payments: Tracked<OrderId, Payment>,
    /// The copies of accounts.
    pub accounts: BTreeMap<CustomerId, Account>,
    /// The amounts that count against limits, in minor units per customer and currency.
    pub exposures: Tracked<(CustomerId, &'static str), i64>,
}

impl Aggregates {
    /// Applies a message. An account that is not newer than its copy, and a repeated message about an order, change
    /// nothing.
    pub fn apply(
        &mut self,
        message: &PaymentMessage,
        cause: &Cause,
        now: OffsetDateTime,
        policy: &Policy,
    ) -> Option<Decided> {
        if let Some((customer_id, account)) = Account::of(message) {
            let known = self.accounts.get(&customer_id).map_or(0, |known| known.version);
            if account.version > known {
                self.accounts.insert(customer_id, account);
            }
            return None;
        }
        let order_id = message.order_id()?;
        let unknown = || Payment::unknown(cause.correlation_id, now);
        let payment = self.payments.get_or_insert_with(order_id.clone(), unknown);
        match message {
            PaymentMessage::Placed(order) => {
                if !payment.place(order, cause, now) {
                    return None;
                }
            }
            PaymentMessage::Reserved(_) => {
                if payment.state != State::Pending || payment.reserved.is_some() {
                    return None;
                }
                payment.reserved = Some(cause.id);
                payment.trace_parent.clone_from(&cause.trace_parent);
                payment.auth.clone_from(&cause.auth);
                payment.changed(now);
            }
            PaymentMessage::Cancelled(_) => {
                self.cancel(order_id, cause, now);
                return None;
            }
            PaymentMessage::AccountChanged(_) | PaymentMessage::AccountDeleted(_) => return None,
        }
        if payment.state != State::Pending || payment.charge.is_none() || payment.reserved.is_none() {
            return None;
        }
        payment.due_since = Some(now);
        self.check(order_id, now, policy)
    }

    /// Checks again a payment that waits for a copy of its account.
    pub fn recheck(&mut self, order_id: &OrderId, now: OffsetDateTime, policy: &Policy) -> Option<Decided> {
        let payment = self.payments.get_mut(order_id)?;
        let charge = payment.charge.clone()?;
        if payment.state != State::AwaitingAccount {
            return None;
        }
        if self.accounts.contains_key(&charge.customer_id) {
            return self.check(order_id, now, policy);
        }
        let deadline = payment.due_since(now) + policy.account_wait;
        if now < deadline {
            payment.next_attempt_at = Some(deadline);
            return None;
        }
        Some(payment.decline(order_id, &charge, DeclineReason::NoAccount, now))
    }

    /// Records the outcome of an attempt; only the latest attempt counts.
    pub fn record(
        &mut self,
        order_id: &OrderId,
        attempt: i64,
        outcome: &Outcome,
        now: OffsetDateTime,
        policy: &Policy,
    ) -> Option<Decided> {
        let payment = self.payments.get_mut(order_id)?;
        let charge = payment.charge.clone()?;
        if payment.attempts != attempt {
            return None;
        }
        let decided = match (payment.state.clone(), outcome) {
            (
                State::Capturing { .. } | State::Voiding | State::Refunding { .. },
                Outcome::Unavailable { why, retry_after },
            ) => {
                payment.wait(now, *retry_after, policy);
                payment.provider_answer = Some(why.clone());
                if payment.is_abandoned(now, policy) {
                    payment.park(why, now);
                }
                return None;
            }
            // An earlier request may still arrive, so a refusal counts only for the first attempt.
            (State::Capturing { .. }, Outcome::NotFound | Outcome::Refused { .. })
                if payment.attempts > 1 || *outcome == Outcome::NotFound =>
            {
                payment.close(State::Voiding, now);
                payment.next_attempt_at = Some(now);
                return None;
            }
            (State::Voiding | State::Refunding { .. }, Outcome::Refused { why })
            | (State::Refunding { .. }, Outcome::Mismatch { why }) => {
                payment.park(why, now);
                return None;
            }
            (State::Capturing { .. }, Outcome::Captured { reference }) => {
                return Some(payment.capture(order_id, &charge, reference, now));
            }
            (State::Capturing { .. } | State::Voiding, Outcome::Refunded { reference })
                if payment.cancelled.is_some() =>
            {
                Some(payment.refund(order_id, &charge, reference, now))
            }
            (
                State::Capturing { .. } | State::Voiding,
                Outcome::Declined | Outcome::Voided | Outcome::Refused { .. } | Outcome::Mismatch { .. },
            ) if payment.cancelled.is_some() => {
                payment.close(State::Cancelled, now);
                None
            }
            (State::Capturing { .. } | State::Voiding, Outcome::Mismatch { .. })
            | (State::Capturing { .. }, Outcome::Declined | Outcome::Refused { .. }) => {
                Some(payment.decline(order_id, &charge, DeclineReason::ProviderDeclined, now))
            }
            (State::Capturing { .. } | State::Voiding, Outcome::Voided | Outcome::Refunded { .. }) => {
                Some(payment.decline(order_id, &charge, DeclineReason::ProviderUnavailable, now))
            }
            (State::Refunding { reference }, Outcome::Refunded { .. }) => {
                Some(payment.refund(order_id, &charge, &reference, now))
            }
            _ => return None,
        };
        match outcome {
            Outcome::Refused { why } => payment.provider_answer = Some(why.clone()),
            Outcome::Mismatch { why } => payment.alarm(why, now),
            _ => {}
        }
        self.release(&charge);
        decided
    }

    /// Decides on a payment that is due with the copy of its account, if there is one.
    fn check(&mut self, order_id: &OrderId, now: OffsetDateTime, policy: &Policy) -> Option<Decided> {
        let payment = self.payments.get_mut(order_id)?;
        let charge = payment.charge.clone()?;
        let Some(account) = self.accounts.get(&charge.customer_id) else {
            payment.state = State::AwaitingAccount;
            let wait = if policy.fetch_accounts { Duration::ZERO } else { policy.account_wait };
            payment.next_attempt_at = Some(now + wait);
            payment.changed(now);
            return None;
        };
        let exposure = self.exposures.get_or_insert_with(key(&charge), i64::default);
        match account.authorise(&charge, *exposure, now) {
            Ok(token) => {
                *exposure += charge.amount.minor_units();
                payment.state = State::Capturing { token };
                payment.next_attempt_at = Some(now);
                payment.changed(now);
                None
            }
            Err(reason) => Some(payment.decline(order_id, &charge, reason, now)),
        }
    }

    fn cancel(&mut self, order_id: &OrderId, cause: &Cause, now: OffsetDateTime) {
        let Some(payment) = self.payments.get_mut(order_id) else { return };
        if payment.cancelled.is_some() {
            return;
        }
        match payment.state.clone() {
            State::Pending | State::AwaitingAccount => payment.close(State::Cancelled, now),
            State::Capturing { .. } if payment.attempts == 0 => {
                payment.close(State::Cancelled, now);
                if let Some(charge) = payment.charge.clone() {
                    self.release(&charge);
                }
            }
            // The provider's outcome is unknown until the attempt ends.
            State::Capturing { .. } | State::Voiding => payment.changed(now),
            State::Captured { reference } => {
                payment.close(State::Refunding { reference }, now);
                payment.next_attempt_at = Some(now);
            }
            State::Declined { .. } | State::Refunding { .. } | State::Refunded { .. } | State::Cancelled => return,
        }
        if let Some(payment) = self.payments.get_mut(order_id) {
            payment.cancelled = Some(cause.id);
            payment.trace_parent.clone_from(&cause.trace_parent);
            payment.auth.clone_from(&cause.auth);
        }
    }

    fn release(&mut self, charge: &Charge) {
        if let Some(exposure) = self.exposures.get_mut(&key(charge)) {
            *exposure -= charge.amount.minor_units();
        }
    }
}

impl Payment {
    /// Sets the charge; returns whether it was unknown before.
    fn place(&mut self, order: &OrderDetails, cause: &Cause, now: OffsetDateTime) -> bool {
        if self.charge.is_some() {
            return false;
        }
        self.charge = Some(Charge {
            customer_id: order.customer_id.clone(),
            amount: order.total_price,
            currency: order.currency,
        });
        // A cancellation may belong to a flow of its own; this is the order's.
        self.correlation_id = cause.correlation_id;
        self.changed(now);
        true
    }

    fn close(&mut self, state: State, now: OffsetDateTime) {
        self.state = state;
        self.next_attempt_at = None;
        self.provider_answer = None;
        self.alarm_since = None;
        self.changed(now);
    }

    fn decline(
        &mut self,
        order_id: &OrderId,
        charge: &Charge,
        reason: DeclineReason,
        now: OffsetDateTime,
    ) -> Decided {
        self.close(State::Declined { reason }, now);
        let customer_id = charge.customer_id.clone();
        let event = PaymentDeclined { order_id: order_id.clone(), customer_id, reason }.into();
        Decided { event, version: self.version, cause: self.due_cause() }
    }

    fn capture(&mut self, order_id: &OrderId, charge: &Charge, reference: &str, now: OffsetDateTime) -> Decided {
        let reference = reference.to_owned();
        if self.cancelled.is_some() {
            self.close(State::Refunding { reference: reference.clone() }, now);
            self.next_attempt_at = Some(now);
        } else {
            self.close(State::Captured { reference: reference.clone() }, now);
        }
        let event = PaymentCaptured {
            order_id: order_id.clone(),
            customer_id: charge.customer_id.clone(),
            amount: charge.amount,
            currency: charge.currency,
            reference,
        };
        Decided { event: event.into(), version: self.version, cause: self.due_cause() }
    }

    fn refund(&mut self, order_id: &OrderId, charge: &Charge, reference: &str, now: OffsetDateTime) -> Decided {
        self.close(State::Refunded { reference: reference.to_owned() }, now);
        let event = PaymentRefunded {
            order_id: order_id.clone(),
            customer_id: charge.customer_id.clone(),
            amount: charge.amount,
            currency: charge.currency,
        };
        Decided { event: event.into(), version: self.version, cause: self.cancel_cause() }
    }
}

fn key(charge: &Charge) -> (CustomerId, &'static str) {
    (charge.customer_id.clone(), charge.currency.code())
}
