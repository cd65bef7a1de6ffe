//! A payment provider as a model: it keeps its promises, whatever the network makes of them.

use std::collections::{BTreeMap, BTreeSet};

use contracts::OrderId;
use payment_service::payment::{Call, Outcome};

/// What the provider did under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Recorded {
    pub(super) amount: i64,
    pub(super) captures: u32,
    pub(super) refunds: u32,
    /// Whether it takes no money under that key any more.
    closed: bool,
}

impl Recorded {
    /// Whether the customer is without the money.
    pub(super) fn is_charged(&self) -> bool {
        self.captures > self.refunds
    }
}

/// One key, one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Provider {
    pub(super) booked: BTreeMap<OrderId, Recorded>,
    /// The orders whose cards the bank refuses.
    pub(super) declines: BTreeSet<OrderId>,
}

impl Provider {
    /// Does what it is asked, and says what came of it.
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
        let booked = self.booked.entry(order.clone()).or_default();
        if booked.closed || refused {
            booked.closed = true;
            return Outcome::Declined;
        }
        if booked.captures == 0 {
            (booked.captures, booked.amount) = (1, amount);
        }
        Outcome::Captured { reference: format!("cap_{order}") }
    }

    fn lookup(&self, order: &OrderId) -> Outcome {
        let Some(booked) = self.booked.get(order) else { return Outcome::NotFound };
        let reference = format!("cap_{order}");
        match (booked.captures, booked.is_charged()) {
            (0, _) => Outcome::Voided,
            (_, true) => Outcome::Captured { reference },
            (_, false) => Outcome::Refunded { reference },
        }
    }

    fn void(&mut self, order: &OrderId) -> Outcome {
        let booked = self.booked.entry(order.clone()).or_default();
        booked.closed = true;
        if booked.captures == 0 { Outcome::Voided } else { self.give_back(order) }
    }

    fn give_back(&mut self, order: &OrderId) -> Outcome {
        let booked = self.booked.get_mut(order).expect("nothing is given back that was not taken");
        booked.refunds = booked.captures;
        Outcome::Refunded { reference: format!("cap_{order}") }
    }
}
