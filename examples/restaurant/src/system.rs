//! All of it in one process, with a nats-server of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use choreography::connection::{self, NatsOptions};
use choreography::durability::DurabilityOptions;
use choreography::listener::HttpOptions;
use choreography::{clock, http, process, setting};
use choreography_test::LocalSystem;
use tokio_util::sync::CancellationToken;

use crate::declaration::*;
use crate::{ServiceConfig, catalogue, gateway, projection, reservation, seed::Seed};

/// The options of `restaurant` without a subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder of streams and databases.
    #[arg(long, default_value = "data/restaurant", value_parser = setting::path())]
    pub data: PathBuf,
    /// The port of the gateway. The services use the next three, nats-server and its monitor the two after those.
    #[arg(long, default_value_t = 8950)]
    pub port: u16,
    /// How long a table is held for a guest who has not confirmed, in seconds.
    #[arg(long, default_value_t = 900, value_parser = setting::seconds())]
    pub confirm_within_seconds: u64,
}

/// Creates or updates the streams, the bucket, and the consumers.
pub async fn provision(nats: &NatsOptions) -> anyhow::Result<()> {
    let (client, _) = connection::establish(nats, PROVISIONER, Duration::from_secs(30)).await?;
    topology()?.provision(&connection::jetstream(&client), 1).await
}

/// Runs nats-server, the services, and the gateway until `shutdown`; the first time it also fills them.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let port = |offset| options.port.saturating_add(offset);
    let (config, ports) = (include_str!("../nats.conf"), (port(4), port(5)));
    let system = LocalSystem::start(config, &USERS, &options.data, ports).await?;
    provision(&system.nats(PROVISIONER)).await?;
    let http_address = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, port(offset)));
    let config = |name, offset| ServiceConfig { http_address: http_address(offset), service: system.service(name) };
    let (confirm_within_seconds, common) = (options.confirm_within_seconds, config(RESERVATION_SERVICE, 2));
    let gateway = gateway::Settings {
        http_address: http_address(0),
        http: HttpOptions::default(),
        nats: system.nats(GATEWAY),
        durability: DurabilityOptions::default(),
    };
    tokio::try_join!(
        catalogue::run(config(CATALOGUE_SERVICE, 1), shutdown.clone()),
        reservation::run(reservation::Config { confirm_within_seconds, common }, shutdown.clone()),
        projection::run(config(PROJECTION_SERVICE, 3), shutdown.clone()),
        gateway::run(gateway, shutdown.clone()),
        async { shutdown.run_until_cancelled(open(&options)).await.unwrap_or(Ok(())) },
    )
    .map(drop)
}

/// Fills the restaurants, unless that was done before, and shows what to try.
async fn open(options: &Options) -> anyhow::Result<()> {
    let (gateway, nats_port) = (format!("http://127.0.0.1:{}", options.port), options.port.saturating_add(4));
    let (path, mut from) = (options.data.join("seeded"), clock::now().date().to_string());
    let seed = Seed { http: http::client(Duration::from_secs(30))?, url: gateway.clone() };
    seed.until_found("readiness").await?;
    match std::fs::read_to_string(&path) {
        Ok(seeded) => from = seeded,
        Err(_) => {
            process::print("three restaurants get 200 reservations …");
            seed.load(clock::now().date()).await?;
            std::fs::write(&path, &from).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    seed.until_found(&format!("restaurants/OLIVE/days/{from}")).await?;
    process::print(format_args!(
        "\nThe restaurants are open; Ctrl-C ends them, and the data stays in {}.\n\n  \
         the API      {gateway}/docs\n  \
         an evening   curl '{gateway}/restaurants/OLIVE/tonight?date={from}'\n  \
         a day        curl {gateway}/restaurants/OLIVE/days/{from}\n  \
         as it was    curl '{gateway}/restaurants/OLIVE/days/{from}?version=20'\n  \
         a guest      curl {gateway}/guests/GUEST_1/reservations\n  \
         reserve      curl -H 'Prefer: wait=5' --json '{{\"restaurantId\":\"GARDEN\",\"date\":\"{from}\",\
         \"sitting\":\"19:30\",\"guestId\":\"GUEST_1\",\"party\":2}}' {gateway}/reservations\n  \
         cancel       curl -H 'Prefer: wait=5' -X POST {gateway}/reservations/OLIVE_{from}/R001/cancel\n  \
         watch        nats -s 127.0.0.1:{nats_port} --user inspector --password inspector-dev \
         --inbox-prefix _INBOX_inspector sub '*.event.>'\n",
        options.data.display()
    ));
    Ok(())
}
