//! The control API: breaks and repairs a running demo, from a second terminal and from the dashboard.
//!
//! The demo serves it itself, so that it works while the gateway and the broker are down. In reading order: the control
//! requests; `listener`: their HTTP API; `guard`: its access control; [`remote`]: the client of the second terminal.
//! `supervisor` executes the requests.

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

/// An action on a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL: work in progress is interrupted.
    Kill,
    /// SIGTERM: work in progress is finished.
    Stop,
    /// Starts a component that does not run.
    Start,
    /// SIGSTOP: the component keeps its connections and does nothing.
    Pause,
    /// SIGCONT: the paused component continues.
    Resume,
}

impl Action {
    /// Returns the actions that a state allows.
    fn of(state: State) -> &'static [Self] {
        match state {
            State::Running | State::Starting => &[Self::Kill, Self::Pause, Self::Stop],
            State::Paused => &[Self::Kill, Self::Resume, Self::Stop],
            State::Stopped => &[Self::Start],
        }
    }
}

/// Redelivery of the last messages of each stream.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// The number of messages per stream, from 1 to 1000.
    pub messages: u64,
}

/// A delay of everything that a service sends to the broker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayAcks {
    /// A service that is connected to nats-server.
    pub component: Component,
    /// The delay in seconds, from 1 to 60.
    pub seconds: u64,
}

/// One disconnection of a service from the broker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// A service that is connected to nats-server.
    pub component: Component,
}

/// The maximum number of messages per stream in one redelivery.
pub const MAX_MESSAGES: u64 = 1000;
/// The maximum delay of acknowledgements, in seconds.
pub const MAX_DELAY: u64 = 60;

/// A control request to the demo.
#[derive(Debug, Clone, Copy)]
pub enum ControlRequest {
    /// Applies an action to a component.
    Act(Action, Component),
    /// Redelivers messages to all services.
    Redeliver(Redeliver),
    /// Delays everything that a service sends to the broker.
    DelayAcks(DelayAcks),
    /// Disconnects a service from the broker once.
    Disconnect(Disconnect),
}

impl ControlRequest {
    /// Returns the message about a number out of bounds, if there is one.
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

/// A control request, or a query for the status, each with the channel for its result.
pub(crate) enum Request {
    Do(ControlRequest, oneshot::Sender<Result<String, String>>),
    Status(oneshot::Sender<Vec<ComponentStatus>>),
}

/// A component in the list of `GET /components`.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    status: ComponentStatus,
    /// The actions of `/components/{component}/{action}` that its state allows.
    actions: &'static [Action],
    /// The faults of `/faults/{fault}` that can be injected now.
    faults: &'static [&'static str],
}

impl Listed {
    fn of(status: ComponentStatus) -> Self {
        let uses_broker = status.component.parse().is_ok_and(Component::uses_broker);
        let reachable = uses_broker && status.state != State::Stopped;
        let faults: &[&str] = if reachable { &["delay-acks", "disconnect"] } else { &[] };
        Self { actions: Action::of(status.state), faults, status }
    }
}

/// The address of a running demo's control API, in `demo.json` of its data folder.
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
