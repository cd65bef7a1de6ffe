//! A nats-server for one test.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use super::{NatsServer, NatsServerBuilder, find_or_install};
use crate::error::{Doing, Error};
use crate::free_port;
use crate::scratch::Scratch;

/// The maximum number of ports to try if another process takes a port first.
const MAX_TRIES: u32 = 5;

/// A nats-server on free ports with an empty store in a temporary folder; both are removed on drop.
///
/// Ports and store survive [`kill`](NatsServer::kill) and [`restart`](NatsServer::restart).
#[derive(Debug)]
pub struct TestNats {
    server: NatsServer,
}

/// The config file of a server for which the caller has none. Streams reserve storage at their creation, and by default
/// nats-server offers only three quarters of the free disk.
const CONFIG: &str = "jetstream { store_dir: $NATS_STORE_DIR, max_file_store: 100GB, max_memory_store: 1GB }\n";

impl TestNats {
    /// Starts a server without access control.
    ///
    /// # Errors
    ///
    /// As [`find_or_install`] and [`NatsServerBuilder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(|builder| builder).await
    }

    /// Starts a server with this config file and its variables, such as passwords.
    ///
    /// # Errors
    ///
    /// As [`find_or_install`] and [`NatsServerBuilder::start`].
    pub async fn with_config<'a>(
        config: &Path,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let variables: Vec<_> = variables.into_iter().collect();
        Self::start_with(|builder| {
            variables.iter().fold(builder.config(config), |builder, (name, value)| builder.variable(*name, value))
        })
        .await
    }

    /// Starts a server with the caller's settings; ports and store folder are set afterwards.
    ///
    /// # Errors
    ///
    /// As [`find_or_install`] and [`NatsServerBuilder::start`].
    pub async fn start_with(settings: impl Fn(NatsServerBuilder) -> NatsServerBuilder) -> Result<Self, Error> {
        let program = program().await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let scratch = Scratch::new("nats")?;
            let config = scratch.path().join("nats.conf");
            std::fs::write(&config, CONFIG).doing(|| format!("writing {}", config.display()))?;
            let builder = settings(NatsServer::builder(program).config(config))
                .port(free_port())
                .monitor_port(free_port())
                .store_dir(scratch.path());
            match builder.start_in(Some(scratch)).await {
                Err(Error::EndedEarly { last_lines, .. })
                    if last_lines.contains("address already in use") && tries < MAX_TRIES => {}
                Err(error) => return Err(error),
                Ok(server) => return Ok(Self { server }),
            }
        }
    }
}

impl Deref for TestNats {
    type Target = NatsServer;

    fn deref(&self) -> &NatsServer {
        &self.server
    }
}

impl DerefMut for TestNats {
    fn deref_mut(&mut self) -> &mut NatsServer {
        &mut self.server
    }
}

/// Finds the program once for all tests of a process.
async fn program() -> Result<&'static PathBuf, Error> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_try_init(|| find_or_install(|note| tracing::info!("{note}"))).await
}
