//! The invariants: pure functions over [`Recorded`], which share no code with the services.
//!
//! In reading order: `orders` (every order ends, with a valid reason), `stock` and `money` (nothing appears or is
//! lost), `messages` (causes, versions, duplicates, leftovers), `customers` (responses and notifications),
//! `projections` (read models), `processes` (logs, CPU, exits).

mod customers;
mod messages;
mod money;
mod orders;
mod processes;
mod projections;
mod stock;

use crate::recorded::Recorded;

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The order, product, customer, or message.
    pub about: String,
    /// What is wrong.
    pub what: String,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The number of items examined; a check that examines none proves nothing.
    pub examined: usize,
    /// The violations found.
    pub violations: Vec<Violation>,
}

impl Found {
    /// Examines an item; records a violation if something is wrong.
    fn examine(&mut self, about: &str, wrong: Option<String>) {
        self.examined += 1;
        if let Some(what) = wrong {
            self.violations.push(Violation { about: about.to_owned(), what });
        }
    }

    /// Examines an item that must satisfy a condition.
    fn expect(&mut self, about: &str, holds: bool, otherwise: impl FnOnce() -> String) {
        self.examine(about, (!holds).then(otherwise));
    }
}

/// An invariant that must hold at the end of every run.
#[derive(Debug, Clone, Copy)]
pub struct Invariant {
    /// The name.
    pub name: &'static str,
    /// The condition, as a sentence.
    pub description: &'static str,
    /// The check.
    pub check: fn(&Recorded) -> Found,
}

/// All invariants.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "orders-end",
        description: "every acknowledged order exists, and is terminal or waits for stock that is short",
        check: orders::end,
    },
    Invariant {
        name: "orders-as-requested",
        description: "every order matches a request",
        check: orders::as_requested,
    },
    Invariant {
        name: "ends-explained",
        description: "the messages of every terminal order explain its state",
        check: orders::ends_are_explained,
    },
    Invariant {
        name: "cancellations-effective",
        description: "every acknowledged cancellation cancelled its order, or was refused because that was confirmed",
        check: orders::cancellations_are_effective,
    },
    Invariant {
        name: "stock-conserved",
        description: "per product, received units are available or reserved for orders that are not cancelled",
        check: stock::is_conserved,
    },
    Invariant {
        name: "reservations-match",
        description: "every confirmed order has its units reserved, and no cancelled one has any",
        check: stock::reservations_match,
    },
    Invariant {
        name: "restocks-once",
        description: "every acknowledged restock counts once",
        check: stock::restocks_count_once,
    },
    Invariant {
        name: "reservations-once",
        description: "no order is reserved or released twice, and released units were reserved",
        check: stock::reservations_happen_once,
    },
    Invariant {
        name: "money-conserved",
        description: "per order, the provider captured the amount once if the order is confirmed, and otherwise refunded all \
               of it",
        check: money::is_conserved,
    },
    Invariant {
        name: "payments-true",
        description: "payment events match the provider's ledger",
        check: money::events_are_true,
    },
    Invariant {
        name: "alarms-explained",
        description: "a key of another client's charge pays for no order and raises an alarm; no other key does",
        check: money::alarms_are_explained,
    },
    Invariant {
        name: "limits-hold",
        description: "a customer's captured and unrefunded amount never exceeds the account's highest credit limit",
        check: money::limits_hold,
    },
    Invariant {
        name: "exposures-reconcile",
        description: "per customer and currency, the exposure is the total of confirmed orders",
        check: money::exposures_reconcile,
    },
    Invariant {
        name: "notified-once",
        description: "customers are notified once of each event that concerns them, and of nothing else",
        check: customers::are_notified_once,
    },
    Invariant {
        name: "projections-match",
        description: "the rows of every projection equal a recount from the events",
        check: projections::equal_a_recount,
    },
    Invariant {
        name: "responses-repeat",
        description: "the same request has the same response",
        check: customers::responses_repeat,
    },
    Invariant {
        name: "responses-documented",
        description: "every response is documented in the API, and no server error other than 503 occurs",
        check: customers::responses_are_documented,
    },
    Invariant {
        name: "refusals-retryable",
        description: "every response 503 has a Retry-After",
        check: customers::refusals_are_retryable,
    },
    Invariant {
        name: "accounts-kept",
        description: "every acknowledged change of an account is an event, and the account matches its last event",
        check: customers::accounts_are_kept,
    },
    Invariant {
        name: "commands-stored",
        description: "every acknowledged request is a stored command",
        check: messages::acknowledged_is_stored,
    },
    Invariant {
        name: "commands-effective",
        description: "every stored command had its effect, or was refused by an event",
        check: messages::commands_are_effective,
    },
    Invariant {
        name: "causes-exist",
        description: "every event has a stored cause, and belongs to the flow of a stored command",
        check: messages::causes_exist,
    },
    Invariant {
        name: "versions-contiguous",
        description: "versions are contiguous per order, product, and account, and no two messages of one aggregate share one",
        check: messages::versions_are_contiguous,
    },
    Invariant {
        name: "duplicates-equal",
        description: "messages with one id are equal",
        check: messages::duplicates_are_equal,
    },
    Invariant {
        name: "histories-published",
        description: "the histories of order-service match the stream",
        check: messages::histories_are_published,
    },
    Invariant {
        name: "nothing-left",
        description: "outboxes are empty, consumers are settled, and there is no dead letter",
        check: messages::nothing_is_left,
    },
    Invariant {
        name: "all-copied",
        description: "the campaign has a copy of every message, including those that the streams deleted",
        check: messages::all_are_copied,
    },
    Invariant {
        name: "all-recover",
        description: "all components become ready by themselves once all faults are cleared",
        check: messages::all_recover,
    },
    Invariant {
        name: "no-crashes",
        description: "no process panicked or ended by a signal of its own",
        check: messages::no_crashes,
    },
    Invariant {
        name: "invariants-agree",
        description: "at rest, every consistency check of the shop passes",
        check: processes::invariants_agree,
    },
    Invariant { name: "idle-at-rest", description: "no process uses much CPU at rest", check: processes::are_idle },
    Invariant {
        name: "logs-bounded",
        description: "no component floods its log during any fault",
        check: processes::logs_are_bounded,
    },
    Invariant {
        name: "secrets-kept",
        description: "no password appears in any output",
        check: processes::secrets_are_kept,
    },
    Invariant {
        name: "shutdown-clean",
        description: "every process ends with status 0 and in time on SIGTERM",
        check: processes::end_cleanly,
    },
];

/// An invariant and the result of its check.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The invariant.
    pub invariant: Invariant,
    /// The result.
    pub found: Found,
}

/// Checks all invariants.
#[must_use]
pub fn check(recorded: &Recorded) -> Vec<Outcome> {
    INVARIANTS
        .iter()
        .map(|invariant| Outcome { invariant: *invariant, found: (invariant.check)(recorded) })
        .collect()
}
