//! The invariants: pure functions over [`Recorded`], which share no code with the services.
//!
//! In reading order: `orders` (every order ends, and why), `stock` and `money` (nothing appears, nothing is
//! lost), `messages` (causes, versions, duplicates, what is left over), `customers` (what they were told and
//! promised), `processes` (what they log, need, and how they end).

mod customers;
mod messages;
mod money;
mod orders;
mod processes;
mod stock;

use crate::recorded::Recorded;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The order, product, customer, or message it is about.
    pub about: String,
    /// What is wrong.
    pub what: String,
}

/// What a check has looked at, and what it has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// How many things it has looked at; a check that looks at nothing proves nothing.
    pub examined: usize,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

impl Found {
    /// Looks at a thing: notes what is wrong with it, where something is.
    fn look(&mut self, about: &str, wrong: Option<String>) {
        self.examined += 1;
        if let Some(what) = wrong {
            self.violations.push(Violation { about: about.to_owned(), what });
        }
    }

    /// Looks at a thing that must be so.
    fn expect(&mut self, about: &str, holds: bool, otherwise: impl FnOnce() -> String) {
        self.look(about, (!holds).then(otherwise));
    }
}

/// Something that must hold at the end of every run.
#[derive(Debug, Clone, Copy)]
pub struct Invariant {
    /// What it is called.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Looks whether it holds.
    pub check: fn(&Recorded) -> Found,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "orders-end",
        description: "every acknowledged order exists, and is final or waits for stock that is short",
        check: orders::end,
    },
    Invariant {
        name: "orders-as-asked",
        description: "every order is what some request asked for",
        check: orders::as_asked,
    },
    Invariant {
        name: "ends-explained",
        description: "every final order is explained by its messages",
        check: orders::ends_are_explained,
    },
    Invariant {
        name: "cancels-heeded",
        description: "every acknowledged cancel has cancelled its order, or was refused because that was confirmed",
        check: orders::cancels_are_heeded,
    },
    Invariant {
        name: "stock-conserved",
        description: "per product, what came in is available or held for orders that are not void",
        check: stock::is_conserved,
    },
    Invariant {
        name: "reservations-match",
        description: "every confirmed order has its units reserved, and no cancelled one has any",
        check: stock::reservations_match,
    },
    Invariant {
        name: "restocks-once",
        description: "every acknowledged restock counts, and counts once",
        check: stock::restocks_count_once,
    },
    Invariant {
        name: "reservations-once",
        description: "no order is reserved or released twice, and what is released was reserved",
        check: stock::reservations_happen_once,
    },
    Invariant {
        name: "money-conserved",
        description: "per order, the provider has taken the money once where it is confirmed, and has given back all of it \
               otherwise",
        check: money::is_conserved,
    },
    Invariant {
        name: "payments-true",
        description: "what payment events say is what the provider's ledger says",
        check: money::events_are_true,
    },
    Invariant {
        name: "alarms-explained",
        description: "a key that stands for other money pays for nothing, and a person is asked to settle that and nothing else",
        check: money::alarms_are_explained,
    },
    Invariant {
        name: "limits-hold",
        description: "what the provider holds of a customer never exceeds the highest limit the account ever had",
        check: money::limits_hold,
    },
    Invariant {
        name: "exposures-add-up",
        description: "per customer and currency, what counts against the limit is what confirmed orders come to",
        check: money::exposures_reconcile,
    },
    Invariant {
        name: "notified-once",
        description: "customers are told once of each event that concerns them, and of nothing else",
        check: customers::are_notified_once,
    },
    Invariant {
        name: "answers-repeat",
        description: "the same request has the same answer",
        check: customers::answers_repeat,
    },
    Invariant {
        name: "answers-documented",
        description: "no request has an answer that the API does not know, or a server's error other than 503",
        check: customers::answers_are_documented,
    },
    Invariant {
        name: "refusals-say-when",
        description: "every answer 503 has a Retry-After",
        check: customers::refusals_say_when,
    },
    Invariant {
        name: "accounts-kept",
        description: "every acknowledged change of an account is an event, and the account is what its last event says",
        check: customers::accounts_are_kept,
    },
    Invariant {
        name: "commands-stored",
        description: "every acknowledged request is a stored command",
        check: messages::acknowledged_is_stored,
    },
    Invariant {
        name: "commands-answered",
        description: "every stored command has had its effect, or was refused by an event",
        check: messages::commands_are_answered,
    },
    Invariant {
        name: "causes-exist",
        description: "every event has a cause that is stored, and belongs to the flow of a stored command",
        check: messages::causes_exist,
    },
    Invariant {
        name: "versions-contiguous",
        description: "versions are contiguous per order, product, and account, and no two messages of one aggregate share one",
        check: messages::versions_are_contiguous,
    },
    Invariant {
        name: "duplicates-equal",
        description: "messages with one id say the same",
        check: messages::duplicates_are_equal,
    },
    Invariant {
        name: "histories-published",
        description: "what order-service keeps is what the stream has",
        check: messages::histories_are_published,
    },
    Invariant {
        name: "nothing-left",
        description: "outboxes are empty, consumers are settled, and there is no dead letter",
        check: messages::nothing_is_left,
    },
    Invariant {
        name: "all-copied",
        description: "the campaign knows every message that a stream had, including the discarded ones",
        check: messages::all_are_copied,
    },
    Invariant {
        name: "all-recover",
        description: "once nothing hinders them any more, all components become ready by themselves",
        check: messages::all_recover,
    },
    Invariant {
        name: "nobody-fell",
        description: "no process panicked, was ended by a signal of its own, or could not go on",
        check: messages::nobody_fell,
    },
    Invariant {
        name: "invariants-agree",
        description: "at rest, every check of the shop's own passes",
        check: processes::invariants_agree,
    },
    Invariant {
        name: "idle-at-rest",
        description: "no process needs much of a core once nothing is left to do",
        check: processes::are_idle,
    },
    Invariant {
        name: "logs-bounded",
        description: "no component floods its log, whatever is broken",
        check: processes::logs_are_bounded,
    },
    Invariant {
        name: "secrets-kept",
        description: "no password appears in any output",
        check: processes::secrets_are_kept,
    },
    Invariant {
        name: "shutdown-clean",
        description: "every process ends with status 0 and in time when it is asked to",
        check: processes::end_cleanly,
    },
];

/// An invariant and what was found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub found: Found,
}

/// Checks everything.
#[must_use]
pub fn check(recorded: &Recorded) -> Vec<Outcome> {
    INVARIANTS
        .iter()
        .map(|invariant| Outcome { invariant: *invariant, found: (invariant.check)(recorded) })
        .collect()
}
