//! Breaking and mending a running demo: from a second terminal, and from the page in a browser.
//!
//! The demo itself listens, so that it answers while the gateway and the broker are dead. In reading order: what can be
//! asked for; `listener`: how it is asked for over HTTP; `guard`: by whom; [`remote`]: the second terminal. What is
//! asked for is done by `keeper`.

mod guard;
mod listener;
pub mod remote;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub(crate) use listener::Listener;
pub use remote::Remote;

use crate::member::Member;
use crate::store::{MemberStatus, State};

/// What can be done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL: it gets no chance to finish anything.
    Kill,
    /// SIGTERM: it finishes what it has begun.
    Stop,
    /// Starts it again.
    Start,
    /// SIGSTOP: it keeps its connections and does nothing.
    Pause,
    /// SIGCONT: it goes on where it stood.
    Resume,
}

impl Action {
    /// Returns what can be done to a member in a state.
    fn of(state: State) -> &'static [Self] {
        match state {
            State::Running | State::Starting => &[Self::Kill, Self::Pause, Self::Stop],
            State::Paused => &[Self::Kill, Self::Resume, Self::Stop],
            State::Stopped => &[Self::Start],
        }
    }
}

/// How many messages of each stream come again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// From 1 to 1000.
    pub messages: u64,
}

/// Whose messages to the broker are held back, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldAcks {
    /// A service that is connected to nats-server.
    pub member: Member,
    /// From 1 to 60.
    pub seconds: u64,
}

/// Whose connection to the broker is cut.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// A service that is connected to nats-server.
    pub member: Member,
}

/// The most messages of each stream that come again at once.
pub const MOST_MESSAGES: u64 = 1000;
/// The longest that acknowledgements are held back, in seconds.
pub const LONGEST_HOLD: u64 = 60;

/// What can be broken or mended.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    /// Something is done to a member.
    Act(Action, Member),
    /// Messages come again.
    Redeliver(Redeliver),
    /// What a service sends to the broker is held back.
    HoldAcks(HoldAcks),
    /// A connection is cut.
    Cut(Cut),
}

impl Wish {
    /// Returns why a number is out of bounds; none where none is.
    fn out_of_bounds(&self) -> Option<String> {
        match self {
            Self::Redeliver(wish) if !(1..=MOST_MESSAGES).contains(&wish.messages) => {
                Some(format!("messages must be from 1 to {MOST_MESSAGES}"))
            }
            Self::HoldAcks(wish) if !(1..=LONGEST_HOLD).contains(&wish.seconds) => {
                Some(format!("seconds must be from 1 to {LONGEST_HOLD}"))
            }
            _ => None,
        }
    }
}

/// A wish or a question, with where the answer goes.
pub(crate) enum Request {
    Do(Wish, oneshot::Sender<Result<String, String>>),
    Status(oneshot::Sender<Vec<MemberStatus>>),
}

/// A member as the listener shows it.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    status: MemberStatus,
    /// Of `/members/{member}/{action}`, what makes sense now.
    actions: &'static [Action],
    /// Of `/faults/{fault}`, what can be done to this member now.
    faults: &'static [&'static str],
}

impl Listed {
    fn of((member, status): (Member, MemberStatus)) -> Self {
        let reachable = member.uses_broker() && status.state != State::Stopped;
        let faults: &[&str] = if reachable { &["hold-acks", "cut"] } else { &[] };
        Self { actions: Action::of(status.state), faults, status }
    }
}

/// Where a running demo listens, as it stands in its data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    process: u32,
    port: u16,
    token: String,
}

fn address_file(data: &Path) -> PathBuf {
    data.join("demo.json")
}
