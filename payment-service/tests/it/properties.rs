//! Every interleaving of messages, attempts, actions of the provider, responses, lost responses, and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::OrderId;
use contracts::payment::PaymentEvent;
use payment_service::payment::{Aggregates, Call, Outcome, PaymentMessage, State};
use proptest::prelude::*;
use time::OffsetDateTime;

use crate::given::{
    NOW, POLICY, account, account_with, begin_attempt, cancelled, card, cause, customer_id, deleted, order_id,
    placed, reserved,
};

const LIMIT: i64 = 100;
const ORDERS: [&str; 4] = ["A", "B", "C", "D"];

/// The provider's ledger entries of one order.
#[derive(Debug, Clone, Default)]
struct Booked {
    amount: i64,
    captures: u32,
    refunds: u32,
    closed: bool,
}

/// A provider that keeps its guarantee: one effect per key.
#[derive(Debug, Clone, Default)]
struct Provider {
    booked: BTreeMap<OrderId, Booked>,
    declines: BTreeSet<OrderId>,
}

impl Provider {
    fn is_captured(&self, order: &OrderId) -> bool {
        self.booked.get(order).is_some_and(|booked| booked.captures > booked.refunds)
    }

    fn capture(&mut self, order: &OrderId, amount: i64) -> Outcome {
        let declines = self.declines.contains(order);
        let booked = self.booked.entry(order.clone()).or_default();
        if booked.captures == 0 && !booked.closed && declines {
            booked.closed = true;
        }
        if booked.closed {
            return Outcome::Declined;
        }
        if booked.captures == 0 {
            (booked.captures, booked.amount) = (1, amount);
        }
        Outcome::Captured { reference: format!("cap_{order}") }
    }

    fn lookup(&self, order: &OrderId) -> Option<Outcome> {
        let booked = self.booked.get(order)?;
        let reference = format!("cap_{order}");
        Some(match (booked.captures > booked.refunds, booked.captures > 0) {
            (true, _) => Outcome::Captured { reference },
            (false, true) => Outcome::Refunded { reference },
            (false, false) => Outcome::Voided,
        })
    }

    fn void(&mut self, order: &OrderId) -> Outcome {
        let booked = self.booked.entry(order.clone()).or_default();
        booked.closed = true;
        if booked.captures == 0 {
            return Outcome::Voided;
        }
        booked.refunds = booked.captures;
        Outcome::Refunded { reference: format!("cap_{order}") }
    }

    fn refund(&mut self, order: &OrderId) -> Outcome {
        let booked = self.booked.get_mut(order).expect("refunded without a capture");
        booked.refunds = booked.captures;
        Outcome::Refunded { reference: format!("cap_{order}") }
    }
}

/// A call in flight.
#[derive(Debug, Clone)]
struct Flight {
    order: OrderId,
    attempt: i64,
    call: Call,
    /// The outcome at the provider; `None` until the request has arrived there.
    outcome: Option<Outcome>,
    /// Whether the service still waits for the response.
    awaited: bool,
}

#[derive(Debug, Clone, Default)]
struct World {
    aggregates: Aggregates,
    provider: Provider,
    flights: Vec<Flight>,
    waited: Duration,
    events: BTreeMap<OrderId, Vec<(PaymentEvent, i64)>>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Deliver(prop::sample::Index),
    Claim(usize),
    /// A request arrives at the provider.
    Arrive(prop::sample::Index),
    /// Its response, or its time-out, arrives at the service.
    Respond(prop::sample::Index),
    /// A request or its response is lost.
    Lose(prop::sample::Index),
    /// All responses in flight are lost with the process that waits for them.
    Crash,
    Recheck(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        4 => (0..ORDERS.len()).prop_map(Step::Claim),
        4 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        4 => any::<prop::sample::Index>().prop_map(Step::Respond),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
        1 => Just(Step::Crash),
        2 => (0..ORDERS.len()).prop_map(Step::Recheck),
        3 => prop_oneof![Just(300_u64), Just(11_000), Just(31_000), Just(61_000)].prop_map(Step::Wait),
    ]
}

impl World {
    fn now(&self) -> OffsetDateTime {
        NOW + self.waited
    }

    fn record(&mut self, order: &OrderId, decided: Option<payment_service::payment::Decided>) {
        if let Some(decided) = decided {
            self.events.entry(order.clone()).or_default().push((decided.event, decided.version));
        }
    }

    fn deliver(&mut self, message: &PaymentMessage) {
        let now = self.now();
        let decided = self.aggregates.apply(message, &cause(message), now, &POLICY);
        if let Some(order) = message.order_id() {
            self.record(order, decided);
        }
    }

    fn claim(&mut self, order: &OrderId) {
        let now = self.now();
        let Some(payment) = self.aggregates.payments.get_mut(order) else { return };
        let calling = matches!(payment.state, State::Capturing { .. } | State::Voiding | State::Refunding { .. });
        if !calling || payment.next_attempt_at.is_none_or(|next| next > now) {
            return;
        }
        let attempt = begin_attempt(payment, now);
        let call = payment.call(order, now, &POLICY).unwrap();
        self.flights.push(Flight { order: order.clone(), attempt, call, outcome: None, awaited: true });
    }

    fn arrive(&mut self, index: usize) {
        let Some(flight) = self.flights.get_mut(index).filter(|flight| flight.outcome.is_none()) else { return };
        flight.outcome = Some(match &flight.call {
            Call::Capture { charge, .. } => self.provider.capture(&flight.order, charge.amount.minor_units()),
            Call::Lookup => self.provider.lookup(&flight.order).unwrap_or(Outcome::NotFound),
            Call::Void => self.provider.void(&flight.order),
            Call::Refund { .. } => self.provider.refund(&flight.order),
        });
    }

    fn respond(&mut self, index: usize) {
        let Some(flight) = self.flights.get_mut(index).filter(|flight| flight.awaited) else { return };
        flight.awaited = false;
        let outcome = flight.outcome.clone().unwrap_or_else(|| Outcome::unavailable("no response"));
        let (order, attempt) = (flight.order.clone(), flight.attempt);
        let now = self.now();
        let decided = self.aggregates.record(&order, attempt, &outcome, now, &POLICY);
        self.record(&order, decided);
    }

    fn recheck(&mut self, order: &OrderId) {
        let now = self.now();
        let decided = self.aggregates.recheck(order, now, &POLICY);
        self.record(order, decided);
    }

    fn take(&mut self, step: Step, messages: &[PaymentMessage], delivered: &mut BTreeSet<usize>) {
        let flights = self.flights.len();
        match step {
            Step::Deliver(index) => {
                let index = index.index(messages.len());
                delivered.insert(index);
                self.deliver(&messages[index]);
            }
            Step::Claim(order) => self.claim(&order_id(ORDERS[order])),
            Step::Arrive(index) if flights > 0 => self.arrive(index.index(flights)),
            Step::Respond(index) if flights > 0 => self.respond(index.index(flights)),
            Step::Lose(index) if flights > 0 => drop(self.flights.remove(index.index(flights))),
            Step::Arrive(_) | Step::Respond(_) | Step::Lose(_) => {}
            Step::Crash => self.flights.iter_mut().for_each(|flight| flight.awaited = false),
            Step::Recheck(order) => self.recheck(&order_id(ORDERS[order])),
            Step::Wait(millis) => self.waited += Duration::from_millis(millis),
        }
    }

    /// The invariants at every moment.
    fn check_invariants(&self) -> Result<(), TestCaseError> {
        for customer in ["ANN", "BOB"] {
            let key = (customer_id(customer), "EUR");
            let live = self.aggregates.payments.values().filter(|payment| payment.state.is_exposed());
            let charges = live.filter_map(|payment| payment.charge.as_ref());
            let sum: i64 = charges
                .filter(|charge| charge.customer_id == key.0)
                .map(|charge| charge.amount.minor_units())
                .sum();
            prop_assert_eq!(self.aggregates.exposures.get(&key).copied().unwrap_or_default(), sum);
            prop_assert!(sum <= LIMIT);
            let of =
                |order: &OrderId| self.aggregates.payments[order].charge.as_ref().unwrap().customer_id == key.0;
            let captured =
                self.provider.booked.iter().filter(|(order, _)| self.provider.is_captured(order) && of(order));
            prop_assert!(captured.map(|(_, booked)| booked.amount).sum::<i64>() <= sum, "captured and not exposed");
        }
        Ok(())
    }

    /// All messages and requests arrive, all calls get a response, all deadlines pass.
    fn settle(&mut self, messages: &[PaymentMessage], delivered: &BTreeSet<usize>) -> Result<(), TestCaseError> {
        for (index, message) in messages.iter().enumerate() {
            if !delivered.contains(&index) {
                self.deliver(message);
            }
        }
        for _ in 0..8 {
            self.waited += Duration::from_secs(61);
            for order in ORDERS {
                self.recheck(&order_id(order));
                self.claim(&order_id(order));
            }
            for index in 0..self.flights.len() {
                self.arrive(index);
                self.respond(index);
                self.check_invariants()?;
            }
        }
        Ok(())
    }

    /// The invariants at the end.
    fn check_end(&self, cancelled: &BTreeSet<OrderId>) -> Result<(), TestCaseError> {
        for (order, payment) in &self.aggregates.payments {
            prop_assert_eq!(payment.next_attempt_at, None, "{} is never finished: {:?}", order, payment);
            let captured = self.provider.is_captured(order);
            if let Some(booked) = self.provider.booked.get(order) {
                prop_assert!(booked.captures <= 1 && booked.refunds <= booked.captures);
            }
            prop_assert_eq!(captured, matches!(payment.state, State::Captured { .. }), "{:?}", payment);
            prop_assert!(!(captured && cancelled.contains(order)), "cancelled and still charged");
            let none = Vec::new();
            let events = self.events.get(order).unwrap_or(&none);
            prop_assert!(events.is_sorted_by(|one, next| one.1 < next.1), "versions grow");
            let count = |kind: fn(&PaymentEvent) -> bool| events.iter().filter(|(event, _)| kind(event)).count();
            let captures = count(|event| matches!(event, PaymentEvent::Captured(_)));
            let declines = count(|event| matches!(event, PaymentEvent::Declined(_)));
            let refunds = count(|event| matches!(event, PaymentEvent::Refunded(_)));
            prop_assert!(captures + declines <= 1 && refunds <= 1 && (refunds == 0 || declines == 0));
            prop_assert_eq!(captures == 1 && refunds == 0, captured);
            let placed = payment.charge.is_some() && payment.reserved.is_some();
            prop_assert!(captures + declines == 1 || cancelled.contains(order) || !placed);
        }
        Ok(())
    }
}

fn events_of(amounts: [i64; 4], cancels: [bool; 4], bob_deleted: bool) -> Vec<PaymentMessage> {
    let mut messages = vec![
        account("ANN", 1, LIMIT),
        account_with("ANN", 2, Some(card("tok_2", "2999-12")), LIMIT),
        account("BOB", 1, LIMIT),
    ];
    if bob_deleted {
        messages.push(deleted("BOB", 2));
    }
    for (index, order) in ORDERS.into_iter().enumerate() {
        let customer = if index < 3 { "ANN" } else { "BOB" };
        messages.extend([placed(order, customer, amounts[index]), reserved(order)]);
        if cancels[index] {
            messages.push(cancelled(order));
        }
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn in_every_interleaving_each_order_is_charged_at_most_once_and_a_cancelled_one_is_not_charged_at_the_end(
        amounts in proptest::array::uniform4(0..80_i64),
        cancels in proptest::array::uniform4(any::<bool>()),
        declines in proptest::array::uniform4(proptest::bool::weighted(0.2)),
        bob_deleted in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let messages = events_of(amounts, cancels, bob_deleted);
        let of = |flags: [bool; 4]| -> BTreeSet<OrderId> {
            ORDERS.into_iter().zip(flags).filter(|(_, flag)| *flag).map(|(order, _)| order_id(order)).collect()
        };
        let provider = Provider { declines: of(declines), ..Provider::default() };
        let mut world = World { provider, ..World::default() };
        let mut delivered = BTreeSet::new();
        for step in steps {
            world.take(step, &messages, &mut delivered);
            world.check_invariants()?;
        }
        world.settle(&messages, &delivered)?;
        world.check_end(&of(cancels))?;
    }
}

/// The remaining number of each kind of step, which bounds the exploration.
#[derive(Debug, Clone, Copy)]
struct Left {
    claims: u32,
    waits: u32,
    cancels: u32,
}

/// Explores all steps from a state, and visits every state once.
fn explore(world: &World, left: Left, seen: &mut BTreeSet<String>) {
    if !seen.insert(format!("{world:?}{left:?}")) {
        return;
    }
    let order = order_id("A");
    // From here on there are no faults, or the process crashes and requests are late, or it crashes and they are lost.
    for (lives, arrives) in [(true, true), (false, true), (false, false)] {
        let mut end = world.clone();
        end.flights.iter_mut().for_each(|flight| flight.awaited &= lives);
        end.flights.retain(|flight| arrives || flight.outcome.is_some());
        let cancelled = if left.cancels == 0 { BTreeSet::from([order.clone()]) } else { BTreeSet::new() };
        let outcome = end.settle(&[], &BTreeSet::new()).and_then(|()| end.check_end(&cancelled));
        outcome.unwrap_or_else(|error| panic!("{error}\nafter {world:#?}"));
    }
    let mut go = |left: Left, step: &dyn Fn(&mut World)| {
        let mut next = world.clone();
        step(&mut next);
        next.check_invariants().unwrap();
        explore(&next, left, seen);
    };
    if left.claims > 0 {
        go(Left { claims: left.claims - 1, ..left }, &|world| world.claim(&order));
    }
    if left.waits > 0 {
        go(Left { waits: left.waits - 1, ..left }, &|world| world.waited += Duration::from_secs(61));
    }
    if left.cancels > 0 {
        go(Left { cancels: 0, ..left }, &|world| world.deliver(&cancelled("A")));
    }
    for index in 0..world.flights.len() {
        go(left, &|world| world.arrive(index));
        go(left, &|world| world.respond(index));
    }
}

#[test]
fn no_interleaving_of_four_attempts_and_a_cancel_charges_wrongly() {
    let mut world = World::default();
    for message in [account("ANN", 1, LIMIT), placed("A", "ANN", 60), reserved("A")] {
        world.deliver(&message);
    }
    let mut seen = BTreeSet::new();
    explore(&world, Left { claims: 4, waits: 3, cancels: 1 }, &mut seen);
    assert!(seen.len() > 20_000, "only {} states", seen.len());
}
