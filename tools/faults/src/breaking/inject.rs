//! Begins and ends each kind of fault.

use choreography::projection::admin::Action;
use choreography_test::NatsServer;
use demo::proxy::LinkPolicy;
use demo::{Component, ShopConfig};
use serde_json::json;

use super::upgrade::UPGRADED;
use super::{Breaker, Fault, Shortage, postgres};

impl Breaker {
    /// Begins a fault.
    pub(super) async fn begin(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(component) => {
                self.down.push(component);
                self.shop.kill(component)
            }
            Fault::Pause(component) => self.shop.pause(component, true),
            Fault::Proxy(component, policy) => {
                self.network.pass(component, policy);
                Ok(())
            }
            Fault::Republish(count) => self.messages.republish(count).await,
            Fault::Replay((stream, consumer), count) => self.messages.replay(stream, consumer, count).await,
            Fault::HoldConsumer((stream, consumer)) => self.messages.hold(stream, consumer, true).await,
            Fault::ExtraInstance(component) => self.start_extra_instance(component),
            Fault::Provider => {
                let rates = json!({"mode": "random", "seed": self.history.now(), "ms": 6000, "slow": 0.1, "fail": 0.2,
                    "answerThenDrop": 0.2, "dropBefore": 0.2, "decline": 0.05});
                self.behave(&rates).await
            }
            Fault::DiskFull(component) => self.disks.as_ref().map_or(Ok(()), |disks| disks.fill(component)),
            Fault::Clock(component, ahead) => {
                let variables = self.clock.as_ref().map(|clock| clock.variables(ahead)).unwrap_or_default();
                self.restart_with(component, variables).await
            }
            Fault::Postgres => {
                if let Some(postgres) = &mut self.postgres {
                    postgres.kill()?;
                }
                Ok(())
            }
            Fault::LoseStream(loss) => self.lose(loss).await,
            Fault::KillServer(number) => {
                self.server_down = Some(number);
                Ok(self.shop.server(number).map_or(Ok(()), NatsServer::kill)?)
            }
            Fault::PauseServer(number) => Ok(self.shop.server(number).map_or(Ok(()), NatsServer::pause)?),
            Fault::DisconnectServer(number) => {
                self.network.cut_off(Some(number));
                Ok(())
            }
            Fault::FreezeInstance(_) | Fault::FreezeSession(_) | Fault::ReadOnly(_) => {
                self.begin_in_database(fault).await
            }
            Fault::Descriptors(component) => {
                if let Some(process) = self.shop.process(component) {
                    let port = self.shop.config().ports[&component];
                    self.shortages.insert(component, Shortage::begin(process, port).await?);
                }
                Ok(())
            }
            Fault::Password(component) => self.change_password(component, &format!("{component}-rotated")).await,
            Fault::AtLimit(stream, bytes) => {
                anyhow::ensure!(self.is_republished(), "the stream of events must be restored first");
                self.limits.lower(&self.messages.jetstream(), stream, bytes).await
            }
            Fault::Upgrade => self.kill_upgrade().await,
            Fault::KeyTaken => {
                let rates =
                    json!({"mode": "random", "seed": self.history.now(), "keyTaken": 0.5, "dropBefore": 0.1});
                self.behave(&rates).await
            }
            Fault::Projection(name, action) => self.messages.change_projection(name, action).await,
            Fault::Unread(component) => {
                self.restart_with(component, vec![("RUST_LOG".to_owned(), "debug".to_owned())]).await?;
                self.output.set_unread(component, true);
                Ok(())
            }
        }
    }

    /// Ends a fault.
    pub(super) async fn end(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(component) => self.restart_killed(component).await,
            Fault::Pause(component) => self.shop.pause(component, false),
            Fault::Proxy(component, _) => {
                self.network.pass(component, LinkPolicy::Open);
                Ok(())
            }
            Fault::Republish(_) | Fault::Replay(..) => Ok(()),
            Fault::HoldConsumer((stream, consumer)) => self.messages.hold(stream, consumer, false).await,
            Fault::ExtraInstance(component) => {
                // Dropping it kills the process.
                self.seconds.remove(&component);
                Ok(())
            }
            Fault::Provider | Fault::KeyTaken => self.behave(&json!({"mode": "ok"})).await,
            Fault::DiskFull(component) => self.disks.as_ref().map_or(Ok(()), |disks| disks.free(component)),
            Fault::Clock(component, _) => self.restart_with(component, Vec::new()).await,
            Fault::Postgres => match &mut self.postgres {
                Some(postgres) if postgres.id().is_none() => Ok(postgres.restart().await?),
                _ => Ok(()),
            },
            Fault::LoseStream(loss) => self.recreate(loss).await,
            Fault::KillServer(_) => {
                self.server_down = None;
                self.restart_ended().await
            }
            Fault::PauseServer(number) => Ok(self.shop.server(number).map_or(Ok(()), NatsServer::resume)?),
            Fault::DisconnectServer(_) => {
                self.network.cut_off(None);
                Ok(())
            }
            Fault::FreezeInstance(component) => {
                self.shop.pause(component, false)?;
                self.seconds.remove(&component);
                Ok(())
            }
            Fault::FreezeSession(component) => {
                if let Some(session) = self.paused_sessions.remove(&component) {
                    postgres::resume_session(session);
                }
                Ok(())
            }
            Fault::ReadOnly(component) => {
                self.read_only.retain(|other| *other != component);
                match &self.postgres {
                    Some(server) => postgres::set_read_only(server, component, false).await,
                    None => Ok(()),
                }
            }
            Fault::Descriptors(component) => {
                if let Some(shortage) = self.shortages.remove(&component) {
                    shortage.end();
                }
                Ok(())
            }
            Fault::Password(component) => {
                self.change_password(component, &ShopConfig::password(component.name())).await
            }
            Fault::AtLimit(stream, _) => self.limits.restore(&self.messages.jetstream(), stream).await,
            Fault::Upgrade => self.restart_killed(UPGRADED).await,
            Fault::Projection(name, _) => self.messages.change_projection(name, Action::Start).await,
            Fault::Unread(component) => {
                self.output.set_unread(component, false);
                self.restart_with(component, Vec::new()).await
            }
        }
    }

    async fn restart_killed(&mut self, component: Component) -> anyhow::Result<()> {
        self.down.retain(|down| *down != component);
        self.shop.start_component(component).await
    }
}
