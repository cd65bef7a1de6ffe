//! How the provider misbehaves, and when.
//!
//! `PUT /behaviour` takes `{"mode": …}`, and with `"on"` the operations it concerns (`capture`, `lookup`, `void`,
//! `refund`, `ledger`; all of the first four unless given):
//!
//! | mode | |
//! |---|---|
//! | `ok` | does what it is asked |
//! | `slow`, `ms` | does it and answers after so many milliseconds |
//! | `decline` | declines captures |
//! | `fail` | does nothing and answers 500 |
//! | `refuse`, `status`, `retryAfter` | does nothing and answers with that status; with `Retry-After` in seconds if given |
//! | `answer-then-drop` | does it, and closes the connection without an answer |
//! | `drop-before` | does nothing, and closes the connection |
//! | `key-taken` | knows the key of a new capture already, for other money of another client: of another order or amount |
//! | `random`, `seed`, and rates from 0 to 1 for `slow` (with `ms`), `decline`, `fail`, `answerThenDrop`, `dropBefore`, `keyTaken` | one of these for each request; the same ones for the same seed |

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a token that begins with `tok_slow` takes.
const SLOW_TOKEN: Duration = Duration::from_secs(2);

/// How the provider behaves from now on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    /// What it does.
    #[serde(flatten)]
    pub mode: Mode,
    /// To which operations; to all but the ledger where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Operation>,
}

/// What clients ask for.
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

/// A way of behaving; see the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Mode {
    /// As it should.
    #[default]
    Ok,
    /// Late.
    Slow {
        /// How late, in milliseconds.
        ms: u64,
    },
    /// No captures.
    Decline,
    /// Only errors.
    Fail,
    /// Only this status.
    Refuse {
        /// The status.
        status: u16,
        /// After how many seconds a client may come again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Everything but the answer.
    AnswerThenDrop,
    /// Nothing, not even an answer.
    DropBefore,
    /// No captures under new keys: another client's money has them.
    KeyTaken,
    /// Now this, now that.
    Random(Rates),
}

/// How often what happens, each from 0 to 1 and all together at most 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rates {
    /// What the choices derive from.
    pub seed: u64,
    /// How long a slow answer takes, in milliseconds.
    pub ms: u64,
    /// Of slow answers.
    pub slow: f64,
    /// Of declined captures.
    pub decline: f64,
    /// Of errors.
    pub fail: f64,
    /// Of answers that are lost.
    pub answer_then_drop: f64,
    /// Of requests that are lost.
    pub drop_before: f64,
    /// Of keys that another client's money has.
    pub key_taken: f64,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// To wait before anything is done.
    pub delay: Duration,
    /// What is done then.
    pub act: Act,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// What it asks for.
    Perform,
    /// A capture is declined; anything else is performed.
    Decline,
    /// Nothing; 500.
    Fail,
    /// Nothing; another status.
    Refuse {
        /// The status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<u64>,
    },
    /// What it asks for, without an answer.
    PerformAndDrop,
    /// Nothing, without an answer.
    Drop,
    /// What it asks for, after another client's capture under the same key.
    KeyTaken,
}

impl Behaviour {
    /// Plans the `n`th request.
    #[must_use]
    pub fn plan(&self, operation: Operation, token: Option<&str>, n: u64) -> Plan {
        let now = |act| Plan { delay: Duration::ZERO, act };
        let everything = self.on.is_empty() && operation != Operation::Ledger;
        let mode = if everything || self.on.contains(&operation) { &self.mode } else { &Mode::Ok };
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
