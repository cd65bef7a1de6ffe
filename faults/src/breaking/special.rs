//! Faults of one service that need more than a signal: its database, its second instance, its password, its variables.

use anyhow::Context;
use demo::config::USERS;
use demo::store::settings;
use demo::{Member, StoreConfig};
use local_servers::{Program, free_port};

use super::{Breaker, Fault, Shortage, postgres};

impl Breaker {
    /// Begins a fault of a PostgreSQL database; without such a server, does nothing.
    pub(super) async fn begin_in_database(&mut self, fault: &Fault) -> anyhow::Result<()> {
        if let Fault::FreezeInstance(member) = *fault {
            self.start_second(member)?;
        }
        let Some(server) = &self.postgres else { return Ok(()) };
        match *fault {
            Fault::FreezeInstance(member) => match self.store.process(member) {
                Some(process) => postgres::pause_inside_transaction(server, member, process).await,
                None => Ok(()),
            },
            Fault::FreezeSession(member) => {
                self.paused_sessions.insert(member, postgres::pause_session(server, member).await?);
                Ok(())
            }
            Fault::ReadOnly(member) => {
                self.read_only.push(member);
                postgres::set_read_only(server, member, true).await
            }
            _ => Ok(()),
        }
    }

    pub(super) fn start_second(&mut self, member: Member) -> anyhow::Result<()> {
        let mut settings = settings(self.store.config(), member, &self.on_line);
        settings.variables.push(("HTTP_ADDRESS".to_owned(), format!("127.0.0.1:{}", free_port())));
        self.seconds.insert(member, Program::start(settings)?);
        Ok(())
    }

    /// Starts the broker again with another password for a service.
    pub(super) async fn change_password(&mut self, member: Member, password: &str) -> anyhow::Result<()> {
        let variable = USERS.iter().find(|(user, _)| *user == member.name()).map(|(_, variable)| *variable);
        let variable = variable.with_context(|| format!("{member} is no user of the broker"))?;
        let Some(server) = self.store.server(0) else { return Ok(()) };
        self.locked_out.retain(|locked_out| *locked_out != member);
        if password != StoreConfig::password(member.name()) {
            self.locked_out.push(member);
        }
        server.set_variable(variable, password);
        Ok(server.restart().await?)
    }

    /// Ends what is special about databases, descriptors, passwords, and output.
    pub(super) async fn restore(&mut self) -> anyhow::Result<()> {
        std::mem::take(&mut self.paused_sessions).into_values().for_each(postgres::resume_session);
        std::mem::take(&mut self.shortages).into_values().for_each(Shortage::end);
        self.output.read_all();
        for member in std::mem::take(&mut self.locked_out) {
            self.change_password(member, &StoreConfig::password(member.name())).await?;
        }
        if let Some(server) = &self.postgres {
            for member in std::mem::take(&mut self.read_only) {
                postgres::set_read_only(server, member, false).await?;
            }
        }
        Ok(())
    }

    /// Kills a service and starts it with other variables beside those it always has.
    pub(super) async fn restart_with(&mut self, member: Member, more: Vec<(String, String)>) -> anyhow::Result<()> {
        let mut variables = self.network.variables(member);
        variables.extend(more);
        self.store.kill(member)?;
        self.store.tell(member, variables);
        self.store.start_member(member).await
    }
}
