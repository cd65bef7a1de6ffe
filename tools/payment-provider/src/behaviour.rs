//! The provider's behaviour, set by tests and demonstrations.
//!
//! `PUT /behaviour` takes `{"mode": …}`, and in `"on"` the affected operations (`capture`, `lookup`, `void`, `refund`,
//! `ledger`; by default the first four):
//!
//! | mode | |
//! |---|---|
//! | `ok` | executes the request |
//! | `slow`, `ms` | executes it and responds, after a delay in milliseconds |
//! | `decline` | declines captures |
//! | `fail` | does nothing and responds 500 |
//! | `refuse`, `status`, `retryAfter` | does nothing and responds with that status, and with `Retry-After` in seconds if given |
//! | `answer-then-drop` | executes it, and closes the connection without a response |
//! | `drop-before` | does nothing, and closes the connection |
//! | `key-taken` | the key of a new capture already has a capture of another client, with another order or amount |
//! | `random`, `seed`, and rates from 0 to 1 for `slow` (with `ms`), `decline`, `fail`, `answerThenDrop`, `dropBefore`, `keyTaken` | one of these per request; the same sequence for the same seed |

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The delay of a token that begins with `tok_slow`.
const SLOW_TOKEN: Duration = Duration::from_secs(2);

/// The behaviour of the provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    /// The mode, with its parameters.
    #[serde(flatten)]
    pub mode: Mode,
    /// The affected operations; all but the ledger if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Operation>,
}

/// An operation of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// `POST /captures`
    Capture,
    /// `GET /captures/{key}`
    Lookup,
    /// `POST /captures/{key}/void`
    Void,
    /// `POST /refunds`
    Refund,
    /// `GET /ledger/charges`
    Ledger,
}

/// A mode of behaviour; see the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Mode {
    /// Executes requests.
    #[default]
    Ok,
    /// Executes requests after a delay.
    Slow {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// Declines captures.
    Decline,
    /// Responds 500 without executing.
    Fail,
    /// Responds with a status without executing.
    Refuse {
        /// The status.
        status: u16,
        /// The value of `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Executes requests and closes the connection without a response.
    AnswerThenDrop,
    /// Closes the connection without executing.
    DropBefore,
    /// Refuses captures with new keys, because another client has these keys.
    KeyTaken,
    /// Chooses one of the others per request.
    Random(Rates),
}

/// The rates of random behaviour, each from 0 to 1, with a sum of at most 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rates {
    /// The seed of the choices.
    pub seed: u64,
    /// The delay of a slow response, in milliseconds.
    pub ms: u64,
    /// The rate of slow responses.
    pub slow: f64,
    /// The rate of declined captures.
    pub decline: f64,
    /// The rate of errors.
    pub fail: f64,
    /// The rate of lost responses.
    pub answer_then_drop: f64,
    /// The rate of lost requests.
    pub drop_before: f64,
    /// The rate of keys that another client has.
    pub key_taken: f64,
}

/// The plan for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The delay before the action.
    pub delay: Duration,
    /// The action after the delay.
    pub act: Act,
}

/// The action for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Execute it.
    Perform,
    /// Decline a capture; execute any other request.
    Decline,
    /// Respond 500 without executing.
    Fail,
    /// Respond with a status without executing.
    Refuse {
        /// The status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Execute it, without a response.
    PerformAndDrop,
    /// Neither execute nor respond.
    Drop,
    /// Execute it after a capture of another client with the same key.
    KeyTaken,
}

impl Behaviour {
    /// Returns the plan for the `n`th request.
    #[must_use]
    pub fn plan(&self, operation: Operation, token: Option<&str>, n: u64) -> Plan {
        let now = |act| Plan { delay: Duration::ZERO, act };
        let is_default = self.on.is_empty() && operation != Operation::Ledger;
        let mode = if is_default || self.on.contains(&operation) { &self.mode } else { &Mode::Ok };
        let plan = match mode {
            Mode::Ok => now(Act::Perform),
            Mode::Slow { ms } => Plan { delay: Duration::from_millis(*ms), act: Act::Perform },
            Mode::Decline => now(Act::Decline),
            Mode::Fail => now(Act::Fail),
            Mode::Refuse { status, retry_after } => now(Act::Refuse { status: *status, retry_after: *retry_after }),
            Mode::AnswerThenDrop => now(Act::PerformAndDrop),
            Mode::DropBefore => now(Act::Drop),
            Mode::KeyTaken => now(Act::KeyTaken),
            Mode::Random(rates) => rates.choose(n),
        };
        match token {
            Some(token) if plan.act == Act::Perform => by_token(token, plan),
            _ => plan,
        }
    }
}

fn by_token(token: &str, plan: Plan) -> Plan {
    match token {
        _ if token.starts_with("tok_decline") => Plan { act: Act::Decline, ..plan },
        _ if token.starts_with("tok_slow") => Plan { delay: plan.delay.max(SLOW_TOKEN), ..plan },
        _ if token.starts_with("tok_fail") => Plan { act: Act::Fail, ..plan },
        _ if token.starts_with("tok_drop") => Plan { act: Act::PerformAndDrop, ..plan },
        _ => plan,
    }
}

impl Rates {
    fn choose(&self, n: u64) -> Plan {
        let mut left = fraction(self.seed.wrapping_add(n));
        let mut falls_into = |rate: f64| {
            left -= rate;
            left < 0.0
        };
        let act = if falls_into(self.decline) {
            Act::Decline
        } else if falls_into(self.fail) {
            Act::Fail
        } else if falls_into(self.answer_then_drop) {
            Act::PerformAndDrop
        } else if falls_into(self.drop_before) {
            Act::Drop
        } else if falls_into(self.key_taken) {
            Act::KeyTaken
        } else {
            let delay = if falls_into(self.slow) { self.ms } else { 0 };
            return Plan { delay: Duration::from_millis(delay), act: Act::Perform };
        };
        Plan { delay: Duration::ZERO, act }
    }
}

/// Maps a number to one from 0 to 1 that looks random: the mixing function of `SplitMix64` (Steele, Lea, Flood 2014).
fn fraction(n: u64) -> f64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 53 bits are what a float holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "both numbers have at most 53 bits")]
    let fraction = (z >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}
