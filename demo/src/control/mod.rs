//! Breaking and repairing a running demo: from a second terminal, and from the page in a browser.
//!
//! The demo itself listens, so that it answers while the gateway and the broker are dead. In reading order: what can be
//! asked for; `listener`: how it is asked for over HTTP; `guard`: by whom; [`remote`]: the second terminal. What is
//! asked for is done by `supervisor`.

mod guard;
mod listener;
pub mod remote;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub(crate) use listener::Listener;
pub use remote::Remote;

use crate::component::Component;
use crate::shop::{ComponentStatus, State};

/// What can be done to a component.
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
    /// Returns what can be done to a component in a state.
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
pub struct DelayAcks {
    /// A service that is connected to nats-server.
    pub component: Component,
    /// From 1 to 60.
    pub seconds: u64,
}

/// Whose connection to the broker is cut.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// A service that is connected to nats-server.
    pub component: Component,
}

/// The most messages of each stream that come again at once.
pub const MAX_MESSAGES: u64 = 1000;
/// The longest that acknowledgements are held back, in seconds.
pub const MAX_DELAY: u64 = 60;

/// What can be broken or repaired.
#[derive(Debug, Clone, Copy)]
pub enum ControlRequest {
    /// Something is done to a component.
    Act(Action, Component),
    /// Messages come again.
    Redeliver(Redeliver),
    /// What a service sends to the broker is held back.
    DelayAcks(DelayAcks),
    /// A connection is cut.
    Disconnect(Disconnect),
}

impl ControlRequest {
    /// Returns why a number is out of bounds; none where none is.
    fn out_of_bounds(&self) -> Option<String> {
        match self {
            Self::Redeliver(control_request) if !(1..=MAX_MESSAGES).contains(&control_request.messages) => {
                Some(format!("messages must be from 1 to {MAX_MESSAGES}"))
            }
            Self::DelayAcks(control_request) if !(1..=MAX_DELAY).contains(&control_request.seconds) => {
                Some(format!("seconds must be from 1 to {MAX_DELAY}"))
            }
            _ => None,
        }
    }
}

/// A control request or a question, with where the answer goes.
pub(crate) enum Request {
    Do(ControlRequest, oneshot::Sender<Result<String, String>>),
    Status(oneshot::Sender<Vec<ComponentStatus>>),
}

/// A component as the listener shows it.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    status: ComponentStatus,
    /// Of `/components/{component}/{action}`, what makes sense now.
    actions: &'static [Action],
    /// Of `/faults/{fault}`, what can be done to this component now.
    faults: &'static [&'static str],
}

impl Listed {
    fn of((component, status): (Component, ComponentStatus)) -> Self {
        let reachable = component.uses_broker() && status.state != State::Stopped;
        let faults: &[&str] = if reachable { &["delay-acks", "disconnect"] } else { &[] };
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
