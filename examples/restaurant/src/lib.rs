//! Restaurants, their tables, and reservations: the second domain on `choreography`.
//!
//! In reading order: [`text`], [`messages`], and their [`declaration`]; the services [`catalogue`], [`reservation`], and
//! [`projection`]; the REST API in [`gateway`]; [`system`] runs and `seed` fills all of it.

pub mod catalogue;
pub mod declaration;
pub mod gateway;
pub mod messages;
pub mod projection;
pub mod reservation;
mod seed;
pub mod system;
pub mod text;

use std::net::SocketAddr;

use choreography::database::Databases;
use choreography::{Handler, ServiceBuilder, ServiceOptions, setting};
use tokio_util::sync::CancellationToken;

/// The options of a service.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceConfig {
    /// Address of `/liveness`, `/readiness`, and `/metrics`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8951", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// The options of every service of the library.
    #[command(flatten)]
    pub service: ServiceOptions,
}

impl ServiceConfig {
    async fn run<H: Handler>(
        &self,
        service: ServiceBuilder<H>,
        db: Databases,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let service = service.version(env!("CARGO_PKG_VERSION")).topology(declaration::streams()?);
        service.http(self.http_address).database(db).build()?.run(&self.service, shutdown).await
    }
}
