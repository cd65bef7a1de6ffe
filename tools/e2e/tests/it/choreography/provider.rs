//! A model of the payment provider: it keeps its guarantees on any network.

use std::collections::{BTreeMap, BTreeSet};

use contracts::OrderId;
use payment_service::payment::{Call, Outcome};

/// The charge and refund under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Recorded {
    pub(super) amount: i64,
    pub(super) captures: u32,
    pub(super) refunds: u32,
    /// Whether it accepts no more captures under that key.
    closed: bool,
}

impl Recorded {
    /// Whether the amount is captured and not refunded.
    pub(super) fn is_charged(&self) -> bool {
        self.captures > self.refunds
    }
}

/// Idempotent per key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Provider {
    pub(super) charges: BTreeMap<OrderId, Recorded>,
    /// The orders whose cards the bank declines.
    pub(super) declines: BTreeSet<OrderId>,
}

impl Provider {
    /// Performs a request and returns the outcome.
    pub(super) fn perform(&mut self, order: &OrderId, call: &Call) -> Outcome {
        match call {
            Call::Capture { charge, .. } => self.capture(order, charge.amount.minor_units()),
            Call::Lookup => self.lookup(order),
            Call::Void => self.void(order),
            Call::Refund { .. } => self.give_back(order),
        }
    }

    fn capture(&mut self, order: &OrderId, amount: i64) -> Outcome {
        let refused = self.declines.contains(order);
        let charges = self.charges.entry(order.clone()).or_default();
        if charges.closed || refused {
            charges.closed = true;
            return Outcome::Declined;
        }
        if charges.captures == 0 {
            (charges.captures, charges.amount) = (1, amount);
        }
        Outcome::Captured { reference: format!("cap_{order}") }
    }

    fn lookup(&self, order: &OrderId) -> Outcome {
        let Some(charges) = self.charges.get(order) else { return Outcome::NotFound };
        let reference = format!("cap_{order}");
        match (charges.captures, charges.is_charged()) {
            (0, _) => Outcome::Voided,
            (_, true) => Outcome::Captured { reference },
            (_, false) => Outcome::Refunded { reference },
        }
    }

    fn void(&mut self, order: &OrderId) -> Outcome {
        let charges = self.charges.entry(order.clone()).or_default();
        charges.closed = true;
        if charges.captures == 0 { Outcome::Voided } else { self.give_back(order) }
    }

    fn give_back(&mut self, order: &OrderId) -> Outcome {
        let charges = self.charges.get_mut(order).expect("only a captured amount is refunded");
        charges.refunds = charges.captures;
        Outcome::Refunded { reference: format!("cap_{order}") }
    }
}
