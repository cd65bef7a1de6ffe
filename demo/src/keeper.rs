//! Keeps a running demo, and breaks and mends it as asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::{Action, Request, Wish};
use crate::member::Member;
use crate::network::Network;
use crate::proxy::Passage;
use crate::redelivery::redeliver;
use crate::screen::Screen;
use crate::store::{MemberStatus, Store};

/// How often members are looked after.
const LOOK: Duration = Duration::from_millis(500);
/// How long nobody gets through where a connection is cut: long enough for the proxy to see it, and no more.
const CUT: Duration = Duration::from_millis(100);

/// How long the processes may take to end, all together; this process has 9 s after a signal.
const STOP_TIMEOUT: Duration = Duration::from_millis(8500);

/// A running demo.
pub(crate) struct Keeper {
    store: Store,
    network: Network,
    /// Whose messages to the broker are held back, and until when.
    held: BTreeMap<Member, Instant>,
    screen: Arc<Screen>,
}

impl Keeper {
    /// Keeps a store whose services reach the broker through a network.
    pub(crate) fn new(store: Store, network: Network, screen: Arc<Screen>) -> Self {
        Self { store, network, held: BTreeMap::new(), screen }
    }

    /// Does what is asked, and tells of members that end by themselves, until `shutdown`; then stops the store.
    ///
    /// # Errors
    ///
    /// Where the operating system does not tell who runs, or refuses to stop somebody.
    pub(crate) async fn keep(
        mut self,
        requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        self.listen(requests, shutdown).await?;
        self.screen.show("demo", "stopping; the data stays for the next start");
        // All finish what they have begun, and need the broker for it: it answers, and the network stays until then.
        self.network.heal();
        self.store.pause(Member::NatsServer, false)?;
        if let Ok(stopped) = tokio::time::timeout(STOP_TIMEOUT, self.store.shut_down()).await {
            return stopped.map(drop);
        }
        // Dropped, the store kills what still runs.
        let unfinished =
            "some processes had not ended in time and were killed; the next start finishes what they had begun";
        self.screen.show("demo", unfinished);
        Ok(())
    }

    async fn listen(
        &mut self,
        mut requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(request) = requests.recv() => self.serve(request).await,
                _ = look.tick() => {
                    self.release();
                    for (member, status) in self.store.ended()? {
                        let again = format!("start it again with `cargo run -- start {member}`");
                        self.screen.show("demo", &format!("{member} ended ({status}); {again}"));
                    }
                }
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // What takes its time and needs nothing of us does not keep others waiting.
            Request::Status(answer) => {
                let status = self.store.status();
                tokio::spawn(async move { drop::<Result<(), Vec<MemberStatus>>>(answer.send(status.await)) });
            }
            Request::Do(Wish::Redeliver(wish), answer) => {
                let (config, screen) = (self.store.config().clone(), self.screen.clone());
                tokio::spawn(async move { tell(redeliver(&config, wish.messages), answer, &screen).await });
            }
            Request::Do(wish, answer) => {
                let screen = self.screen.clone();
                tell(self.fulfil(wish), answer, &screen).await;
            }
        }
    }

    async fn fulfil(&mut self, wish: Wish) -> anyhow::Result<String> {
        match wish {
            Wish::Act(action, member) => self.act(action, member).await,
            Wish::HoldAcks(wish) => self.hold(wish.member, wish.seconds),
            Wish::Cut(wish) => self.cut(wish.member).await,
            Wish::Redeliver(wish) => redeliver(self.store.config(), wish.messages).await,
        }
    }

    async fn act(&mut self, action: Action, member: Member) -> anyhow::Result<String> {
        let store = &mut self.store;
        let is_paused = store.is_paused(member);
        match (action, store.process(member)) {
            (Action::Start, Some(process)) => bail!("{member} runs already (process {process})"),
            (Action::Start, None) => {
                store.start_member(member).await?;
                Ok(format!("started {member} (process {})", store.process(member).unwrap_or_default()))
            }
            (_, None) => bail!("{member} does not run"),
            (Action::Kill, Some(process)) => {
                store.kill(member)?;
                Ok(format!("killed {member} (process {process}, SIGKILL)"))
            }
            (Action::Stop, Some(process)) => match store.stop(member).await? {
                Some(status) => Ok(format!("stopped {member} (process {process}, {status})")),
                None => Ok(format!("stopped {member} (process {process})")),
            },
            (Action::Pause, Some(_)) if is_paused => bail!("{member} is paused already"),
            (Action::Pause, Some(process)) => {
                store.pause(member, true)?;
                Ok(format!("paused {member} (process {process}, SIGSTOP)"))
            }
            (Action::Resume, Some(_)) if !is_paused => bail!("{member} is not paused"),
            (Action::Resume, Some(process)) => {
                store.pause(member, false)?;
                Ok(format!("resumed {member} (process {process}, SIGCONT)"))
            }
        }
    }

    fn hold(&mut self, member: Member, seconds: u64) -> anyhow::Result<String> {
        self.must_be_connected(member)?;
        self.held.insert(member, Instant::now() + Duration::from_secs(seconds));
        self.network.pass(member, Passage::ToServerStalled);
        Ok(format!(
            "what {member} sends to nats-server is held back for {seconds} s; what it does not acknowledge in 10 s comes \
             again"
        ))
    }

    /// Lets pass again what has been held back for long enough.
    fn release(&mut self) {
        let now = Instant::now();
        let released: Vec<Member> =
            self.held.iter().filter(|(_, until)| **until <= now).map(|(member, _)| *member).collect();
        for member in released {
            self.held.remove(&member);
            self.network.pass(member, Passage::Open);
            self.screen.show("demo", &format!("what {member} sends reaches nats-server again"));
        }
    }

    async fn cut(&mut self, member: Member) -> anyhow::Result<String> {
        self.must_be_connected(member)?;
        self.network.pass(member, Passage::Cut);
        tokio::time::sleep(CUT).await;
        let held = self.held.contains_key(&member);
        self.network.pass(member, if held { Passage::ToServerStalled } else { Passage::Open });
        Ok(format!("cut the connection of {member} to nats-server; it connects again by itself"))
    }

    fn must_be_connected(&self, member: Member) -> anyhow::Result<()> {
        if !member.uses_broker() {
            bail!("{member} has no connection to nats-server");
        }
        if self.store.process(member).is_none() {
            bail!("{member} does not run");
        }
        Ok(())
    }
}

/// Shows what was done, and says so to whoever asked, who may be gone by now.
async fn tell(
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
