//! A system on this machine, for development and tests: nats-server with the system's config file, and the options of its
//! programs.

use std::path::PathBuf;

use choreography::connection::NatsOptions;
use choreography::{ServiceOptions, setting};

use super::{NatsServer, find_or_install};
use crate::error::{Doing, Error};

/// A nats-server with its data in a folder, and one user per program. The password of `order-service` is
/// `order-service-dev`, in the variable `$ORDER_SERVICE_PASSWORD` of the config file.
#[derive(Debug)]
pub struct LocalSystem {
    server: NatsServer,
    data: PathBuf,
}

impl LocalSystem {
    /// Starts nats-server, installed if necessary, with the text of a config file on two ports. The folder is created if it
    /// does not exist.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written; as [`find_or_install`] and [`NatsServerBuilder::start`](super::NatsServerBuilder::start).
    pub async fn start(
        config: &str,
        users: &[&str],
        data: impl Into<PathBuf>,
        (port, monitor_port): (u16, u16),
    ) -> Result<Self, Error> {
        let (data, program) = (data.into(), find_or_install(|note| tracing::info!("{note}")).await?);
        std::fs::create_dir_all(&data).doing(|| format!("making the folder {}", data.display()))?;
        let file = data.join("nats.conf");
        std::fs::write(&file, config).doing(|| format!("writing {}", file.display()))?;
        let builder = NatsServer::builder(program).config(file).store_dir(data.join("nats"));
        let builder = users.iter().fold(builder.port(port).monitor_port(monitor_port), |builder, user| {
            let variable = format!("{}_PASSWORD", user.to_uppercase().replace('-', "_"));
            builder.variable(variable, password(user))
        });
        Ok(Self { server: builder.start().await?, data })
    }

    /// Returns nats-server, to kill and restart it.
    pub fn server(&mut self) -> &mut NatsServer {
        &mut self.server
    }

    /// Returns the options of a user's connection.
    #[must_use]
    pub fn nats(&self, user: &str) -> NatsOptions {
        NatsOptions {
            nats_url: self.server.url(),
            nats_user: Some(user.to_owned()),
            nats_password: Some(password(user)),
            ..NatsOptions::default()
        }
    }

    /// Returns the options of a service, with an SQLite file in the folder.
    #[must_use]
    pub fn service(&self, name: &str) -> ServiceOptions {
        let url = setting::sqlite_url(&self.data.join(format!("{name}.sqlite")));
        ServiceOptions { nats: self.nats(name), database_url: Some(url), ..ServiceOptions::default() }
    }
}

fn password(user: &str) -> String {
    format!("{user}-dev")
}
