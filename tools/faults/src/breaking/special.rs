//! Faults of one service that need more than a signal: of its database, its second instance, its password, its
//! variables.

use anyhow::Context;
use choreography_test::{Program, free_port};
use demo::config::USERS;
use demo::shop::settings;
use demo::{Component, ShopConfig};

use super::{Breaker, Fault, Shortage, postgres};

impl Breaker {
    /// Begins a fault of a PostgreSQL database; does nothing without such a server.
    pub(super) async fn begin_in_database(&mut self, fault: &Fault) -> anyhow::Result<()> {
        if let Fault::FreezeInstance(component) = *fault {
            self.start_extra_instance(component)?;
        }
        let Some(server) = &self.postgres else { return Ok(()) };
        match *fault {
            Fault::FreezeInstance(component) => match self.shop.process(component) {
                Some(process) => postgres::pause_inside_transaction(server, component, process).await,
                None => Ok(()),
            },
            Fault::FreezeSession(component) => {
                self.paused_sessions.insert(component, postgres::pause_session(server, component).await?);
                Ok(())
            }
            Fault::ReadOnly(component) => {
                self.read_only.push(component);
                postgres::set_read_only(server, component, true).await
            }
            _ => Ok(()),
        }
    }

    pub(super) fn start_extra_instance(&mut self, component: Component) -> anyhow::Result<()> {
        let mut settings = settings(self.shop.config(), component, &self.on_line);
        settings.variables.push(("HTTP_ADDRESS".to_owned(), format!("127.0.0.1:{}", free_port())));
        self.seconds.insert(component, Program::start(settings)?);
        Ok(())
    }

    /// Restarts nats-server with another password for a service.
    pub(super) async fn change_password(&mut self, component: Component, password: &str) -> anyhow::Result<()> {
        let variable = USERS.iter().find(|(user, _)| *user == component.name()).map(|(_, variable)| *variable);
        let variable = variable.with_context(|| format!("{component} is not a user of nats-server"))?;
        let Some(server) = self.shop.server(0) else { return Ok(()) };
        self.locked_out.retain(|locked_out| *locked_out != component);
        if password != ShopConfig::password(component.name()) {
            self.locked_out.push(component);
        }
        server.set_variable(variable, password);
        Ok(server.restart().await?)
    }

    /// Ends faults of databases, descriptors, passwords, and output.
    pub(super) async fn restore(&mut self) -> anyhow::Result<()> {
        std::mem::take(&mut self.paused_sessions).into_values().for_each(postgres::resume_session);
        std::mem::take(&mut self.shortages).into_values().for_each(Shortage::end);
        self.output.read_all();
        for component in std::mem::take(&mut self.locked_out) {
            self.change_password(component, &ShopConfig::password(component.name())).await?;
        }
        if let Some(server) = &self.postgres {
            for component in std::mem::take(&mut self.read_only) {
                postgres::set_read_only(server, component, false).await?;
            }
        }
        Ok(())
    }

    /// Kills a service and starts it with additional variables.
    pub(super) async fn restart_with(
        &mut self,
        component: Component,
        more: Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        let mut variables = self.network.variables(component);
        variables.extend(more);
        self.shop.kill(component)?;
        self.shop.set_variables(component, variables);
        self.shop.start_component(component).await
    }
}
