//! Keeps a running demo, and breaks and repairs it as asked.

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

/// How often components are looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long nobody gets through where a connection is cut: long enough for the proxy to see it, and no more.
const CUT: Duration = Duration::from_millis(100);

/// How long the processes may take to end, all together; this process has 9 s after a signal.
const STOP_TIMEOUT: Duration = Duration::from_millis(8500);

/// A running demo.
pub(crate) struct Supervisor {
    shop: Shop,
    network: Network,
    /// Whose messages to the broker are held back, and until when.
    delayed: BTreeMap<Component, Instant>,
    screen: Arc<Screen>,
}

impl Supervisor {
    /// Keeps a shop whose services reach the broker through a network.
    pub(crate) fn new(shop: Shop, network: Network, screen: Arc<Screen>) -> Self {
        Self { shop, network, delayed: BTreeMap::new(), screen }
    }

    /// Does what is asked, and tells of components that end by themselves, until `shutdown`; then stops the shop.
    ///
    /// # Errors
    ///
    /// Where the operating system does not tell who runs, or refuses to stop somebody.
    pub(crate) async fn run(
        mut self,
        requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        self.serve_requests(requests, shutdown).await?;
        self.screen.show("demo", "stopping; the data stays for the next start");
        // All finish what they have begun, and need the broker for it: it answers, and the network stays until then.
        self.network.clear_faults();
        self.shop.pause(Component::NatsServer, false)?;
        if let Ok(stopped) = tokio::time::timeout(STOP_TIMEOUT, self.shop.shut_down()).await {
            return stopped.map(drop);
        }
        // Dropped, the shop kills what still runs.
        let unfinished =
            "some processes had not ended in time and were killed; the next start finishes what they had begun";
        self.screen.show("demo", unfinished);
        Ok(())
    }

    async fn serve_requests(
        &mut self,
        mut requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(POLL_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(request) = requests.recv() => self.serve(request).await,
                _ = look.tick() => {
                    self.release();
                    for (component, status) in self.shop.ended()? {
                        let again = format!("start it again with `cargo run -- start {component}`");
                        self.screen.show("demo", &format!("{component} ended ({status}); {again}"));
                    }
                }
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // What takes its time and needs nothing of us does not keep others waiting.
            Request::Status(answer) => {
                let status = self.shop.status();
                tokio::spawn(async move { drop::<Result<(), Vec<ComponentStatus>>>(answer.send(status.await)) });
            }
            Request::Do(ControlRequest::Redeliver(control_request), answer) => {
                let (config, screen) = (self.shop.config().clone(), self.screen.clone());
                tokio::spawn(
                    async move { reply(redeliver(&config, control_request.messages), answer, &screen).await },
                );
            }
            Request::Do(control_request, answer) => {
                let screen = self.screen.clone();
                reply(self.execute(control_request), answer, &screen).await;
            }
        }
    }

    async fn execute(&mut self, control_request: ControlRequest) -> anyhow::Result<String> {
        match control_request {
            ControlRequest::Act(action, component) => self.act(action, component).await,
            ControlRequest::DelayAcks(control_request) => {
                self.delay(control_request.component, control_request.seconds)
            }
            ControlRequest::Disconnect(control_request) => self.cut(control_request.component).await,
            ControlRequest::Redeliver(control_request) => {
                redeliver(self.shop.config(), control_request.messages).await
            }
        }
    }

    async fn act(&mut self, action: Action, component: Component) -> anyhow::Result<String> {
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
        self.must_be_connected(component)?;
        self.delayed.insert(component, Instant::now() + Duration::from_secs(seconds));
        self.network.pass(component, LinkPolicy::ToServerStalled);
        Ok(format!(
            "what {component} sends to nats-server is held back for {seconds} s; what it does not acknowledge in 10 s comes \
             again"
        ))
    }

    /// Lets pass again what has been held back for long enough.
    fn release(&mut self) {
        let now = Instant::now();
        let released: Vec<Component> =
            self.delayed.iter().filter(|(_, until)| **until <= now).map(|(component, _)| *component).collect();
        for component in released {
            self.delayed.remove(&component);
            self.network.pass(component, LinkPolicy::Open);
            self.screen.show("demo", &format!("what {component} sends reaches nats-server again"));
        }
    }

    async fn cut(&mut self, component: Component) -> anyhow::Result<String> {
        self.must_be_connected(component)?;
        self.network.pass(component, LinkPolicy::Closed);
        tokio::time::sleep(CUT).await;
        let delayed = self.delayed.contains_key(&component);
        self.network.pass(component, if delayed { LinkPolicy::ToServerStalled } else { LinkPolicy::Open });
        Ok(format!("cut the connection of {component} to nats-server; it connects again by itself"))
    }

    fn must_be_connected(&self, component: Component) -> anyhow::Result<()> {
        if !component.uses_broker() {
            bail!("{component} has no connection to nats-server");
        }
        if self.shop.process(component).is_none() {
            bail!("{component} does not run");
        }
        Ok(())
    }
}

/// Shows what was done, and says so to whoever asked, who may be gone by now.
async fn reply(
    done: impl Future<Output = anyhow::Result<String>>,
    answer: oneshot::Sender<Result<String, String>>,
    screen: &Screen,
) {
    let done = done.await.map_err(|error| format!("{error:#}"));
    if let Ok(done) = &done {
        screen.show("demo", done);
    }
    drop(answer.send(done));
}
