//! The supervisor of a running demo, which executes control requests.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::component::Component;
use crate::control::{Action, ControlRequest, Request};
use crate::network::Network;
use crate::proxy::LinkPolicy;
use crate::redelivery::redeliver;
use crate::screen::Screen;
use crate::shop::{ComponentStatus, Shop};

/// How often the processes are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long a disconnect keeps a link closed: long enough for the proxy to close the connections.
const DISCONNECT_TIME: Duration = Duration::from_millis(100);

/// How long the processes may take to end, all together; this process has 9 s after a signal.
const STOP_TIMEOUT: Duration = Duration::from_millis(8500);

/// A running demo.
pub(crate) struct Supervisor {
    shop: Shop,
    network: Network,
    /// Services whose messages to the broker are delayed, with the end of the delay.
    delayed: BTreeMap<Component, Instant>,
    screen: Arc<Screen>,
}

impl Supervisor {
    /// Makes the supervisor of a shop whose services connect to the broker through a network.
    pub(crate) fn new(shop: Shop, network: Network, screen: Arc<Screen>) -> Self {
        Self { shop, network, delayed: BTreeMap::new(), screen }
    }

    /// Executes requests, and reports components that end by themselves, until `shutdown`; then stops the shop.
    ///
    /// # Errors
    ///
    /// If the operating system does not report the status of a process, or refuses to stop one.
    pub(crate) async fn run(
        mut self,
        requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        self.serve_requests(requests, shutdown).await?;
        self.screen.show("demo", "stopping; the data is kept for the next start");
        // The services finish their work in progress, for which they need the broker: no fault may remain.
        self.network.clear_faults();
        self.shop.pause(Component::NatsServer, false)?;
        if let Ok(stopped) = tokio::time::timeout(STOP_TIMEOUT, self.shop.shut_down()).await {
            return stopped.map(drop);
        }
        // On drop, the shop kills the processes that still run.
        let unfinished =
            "some processes did not end in time and were killed; they finish their work after the next start";
        self.screen.show("demo", unfinished);
        Ok(())
    }

    async fn serve_requests(
        &mut self,
        mut requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(request) = requests.recv() => self.serve(request).await,
                _ = poll.tick() => {
                    self.end_delays();
                    for (component, status) in self.shop.ended()? {
                        let next = format!("restart it with `cargo run -- start {component}`");
                        self.screen.show("demo", &format!("{component} ended ({status}); {next}"));
                    }
                }
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // Slow requests that do not change the supervisor run in tasks of their own, so that others need not wait.
            Request::Status(response) => {
                let status = self.shop.status();
                tokio::spawn(async move { drop::<Result<(), Vec<ComponentStatus>>>(response.send(status.await)) });
            }
            Request::Do(ControlRequest::Redeliver(control_request), response) => {
                let (config, screen) = (self.shop.config().clone(), self.screen.clone());
                tokio::spawn(async move {
                    reply(redeliver(&config, control_request.messages), response, &screen).await
                });
            }
            Request::Do(control_request, response) => {
                let screen = self.screen.clone();
                reply(self.execute(control_request), response, &screen).await;
            }
        }
    }

    async fn execute(&mut self, control_request: ControlRequest) -> anyhow::Result<String> {
        match control_request {
            ControlRequest::Act(action, component) => self.act(action, component).await,
            ControlRequest::DelayAcks(control_request) => {
                self.delay(control_request.component, control_request.seconds)
            }
            ControlRequest::Disconnect(control_request) => self.disconnect(control_request.component).await,
            ControlRequest::Redeliver(control_request) => {
                redeliver(self.shop.config(), control_request.messages).await
            }
        }
    }

    /// Refuses a component that this shop does not have.
    fn check(&self, component: Component) -> anyhow::Result<()> {
        if self.shop.config().components().contains(&component) {
            return Ok(());
        }
        bail!("{component} is not part of a shop without sign-in: start the demo with --auth")
    }

    async fn act(&mut self, action: Action, component: Component) -> anyhow::Result<String> {
        self.check(component)?;
        let shop = &mut self.shop;
        let is_paused = shop.is_paused(component);
        match (action, shop.process(component)) {
            (Action::Start, Some(process)) => bail!("{component} runs already (process {process})"),
            (Action::Start, None) => {
                shop.start_component(component).await?;
                Ok(format!("started {component} (process {})", shop.process(component).unwrap_or_default()))
            }
            (_, None) => bail!("{component} does not run"),
            (Action::Kill, Some(process)) => {
                shop.kill(component)?;
                Ok(format!("killed {component} (process {process}, SIGKILL)"))
            }
            (Action::Stop, Some(process)) => match shop.stop(component).await? {
                Some(status) => Ok(format!("stopped {component} (process {process}, {status})")),
                None => Ok(format!("stopped {component} (process {process})")),
            },
            (Action::Pause, Some(_)) if is_paused => bail!("{component} is paused already"),
            (Action::Pause, Some(process)) => {
                shop.pause(component, true)?;
                Ok(format!("paused {component} (process {process}, SIGSTOP)"))
            }
            (Action::Resume, Some(_)) if !is_paused => bail!("{component} is not paused"),
            (Action::Resume, Some(process)) => {
                shop.pause(component, false)?;
                Ok(format!("resumed {component} (process {process}, SIGCONT)"))
            }
        }
    }

    fn delay(&mut self, component: Component, seconds: u64) -> anyhow::Result<String> {
        self.check_connected(component)?;
        self.delayed.insert(component, Instant::now() + Duration::from_secs(seconds));
        self.network.pass(component, LinkPolicy::ToServerStalled);
        Ok(format!(
            "delaying everything that {component} sends to nats-server for {seconds} s; messages not acknowledged \
             within 10 s are redelivered"
        ))
    }

    /// Ends the delays that have expired.
    fn end_delays(&mut self) {
        let now = Instant::now();
        let expired: Vec<Component> =
            self.delayed.iter().filter(|(_, until)| **until <= now).map(|(component, _)| *component).collect();
        for component in expired {
            self.delayed.remove(&component);
            self.network.pass(component, LinkPolicy::Open);
            self.screen.show("demo", &format!("the delay of {component} ended; its messages reach nats-server"));
        }
    }

    async fn disconnect(&mut self, component: Component) -> anyhow::Result<String> {
        self.check_connected(component)?;
        self.network.pass(component, LinkPolicy::Closed);
        tokio::time::sleep(DISCONNECT_TIME).await;
        let delayed = self.delayed.contains_key(&component);
        self.network.pass(component, if delayed { LinkPolicy::ToServerStalled } else { LinkPolicy::Open });
        Ok(format!("disconnected {component} from nats-server; it reconnects by itself"))
    }

    fn check_connected(&self, component: Component) -> anyhow::Result<()> {
        if !component.uses_broker() {
            bail!("{component} has no connection to nats-server");
        }
        if self.shop.process(component).is_none() {
            bail!("{component} does not run");
        }
        Ok(())
    }
}

/// Shows the result of a request on the screen, and sends it to the client, which may have disconnected by now.
async fn reply(
    done: impl Future<Output = anyhow::Result<String>>,
    response: oneshot::Sender<Result<String, String>>,
    screen: &Screen,
) {
    let done = done.await.map_err(|error| format!("{error:#}"));
    if let Ok(done) = &done {
        screen.show("demo", done);
    }
    drop(response.send(done));
}
