//! One run of the campaign, from an empty shop to the verdict.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use choreography_test::{PostgresServer, free_port, postgres};
use demo::config::USERS;
use demo::network::Network;
use demo::{Component, Databases, Shop, ShopConfig};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::breaking::{
    Breaker, Clock, Disks, Kind, Limits, Messages, Output, Restoring, allowed, kill_first_starts, schedule,
};
use crate::check;
use crate::collect::{Tables, collect, cpu_at_rest, settled_invariants, unsettled};
use crate::history::History;
use crate::load::client::Client;
use crate::load::plan::Plan;
use crate::load::{Load, add_stock};
use crate::options::{Engine, Options};
use crate::random::{Purpose, random};
use crate::recorded::Recorded;
use crate::report::{self, Summary};
use crate::settling::settle;

/// The maximum number of units per restock that the gateway accepts; the next iteration restocks the rest.
const MAX_RESTOCK: u64 = 12_000;
/// The time limit for the shop to come to rest after all faults are cleared.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(180);
/// The stock deadline of orders.
const STOCK_DEADLINE_SECONDS: u64 = 25;
/// The deadline of a payment at the provider.
const PROVIDER_DEADLINE_SECONDS: u64 = 20;
/// The maximum wait of a payment for an account.
const ACCOUNT_WAIT_SECONDS: u64 = 10;

/// Runs a campaign, prints its report, and returns whether all invariants hold.
///
/// # Errors
///
/// If the campaign itself cannot continue; that shows nothing about the shop.
pub async fn run(options: &Options, shutdown: CancellationToken) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    let data = options.data.clone().unwrap_or_else(|| PathBuf::from(format!("data/faults-{seed}")));
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let data = data.canonicalize().context("finding the data folder")?;
    log(&format!("seed {seed}; data folder {}, kept until the end", data.display()));
    let postgres = options.database == Engine::Postgres;
    let (kinds, left_out) = allowed(&options.only, postgres, options.servers, &data);
    left_out.iter().for_each(|why| log(&format!("left out: {why}")));

    let (summary, recorded) = Box::pin(play(options, seed, &data, &kinds, shutdown))
        .await
        .with_context(|| format!("the campaign of seed {seed} cannot continue ({})", data.display()))?;
    std::fs::write(data.join("recorded.json"), serde_json::to_vec(&recorded)?).context("writing the record")?;
    let outcomes = check::check(&recorded);
    log(&report::write(&summary, &recorded, &outcomes));
    let held = outcomes.iter().all(|outcome| outcome.found.violations.is_empty());
    if held && !options.keep {
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    let verdict = if held { "all invariants hold" } else { "invariants are VIOLATED; the data folder is kept" };
    log(&format!("{verdict} (seed {seed}, {})", data.display()));
    Ok(held)
}

/// Starts the shop, injects faults under load, clears them, lets the shop come to rest, and collects the record.
async fn play(
    options: &Options,
    seed: u64,
    data: &Path,
    kinds: &[Kind],
    shutdown: CancellationToken,
) -> anyhow::Result<(Summary, Recorded)> {
    let mut breaker = start(options, seed, data, kinds).await?;
    let base = breaker.shop.config().http_url(Component::ApiGateway);
    let client = Arc::new(Client::new(base, breaker.history.clone())?);
    let load = Load::new(client.clone());
    let mut plan = Plan::new(seed, options.rate);
    load.prepare(&mut plan).await;
    let planned =
        schedule(seed, options.length(), Duration::from_secs_f64(options.pause.max(0.1)), kinds, options.servers);
    log(&format!("the shop is open; {} faults in {} s", planned.len(), options.length().as_secs()));

    let closing = CancellationToken::new();
    let (broken, ()) = tokio::join!(
        async {
            let broken = breaker.run(&planned, options.length(), &shutdown).await;
            closing.cancel();
            broken
        },
        load.run(plan, closing.clone()),
    );
    broken?;
    log("clearing all faults");
    let unready = breaker.clear_faults().await?;
    let faults_cleared = Instant::now();
    load.finish().await;
    let tables = Tables::open(breaker.shop.config()).await?;
    let at_rest = drain(&mut breaker, &client, &tables).await?;
    log(if at_rest { "at rest; collecting" } else { "the shop does not come to rest; collecting nevertheless" });
    let drained_after = faults_cleared.elapsed().as_secs_f64();
    let alarms = tables.alarms().await?;
    settle(breaker.shop.config(), &alarms).await?;
    let mut recorded = collect(&breaker, &client, &tables).await?;
    recorded.alarms = alarms;
    recorded.invariants = settled_invariants(&client).await;
    recorded.exchanges = breaker.history.exchanges();
    recorded.ended = std::mem::take(&mut breaker.ended);
    recorded.unready = unready;
    recorded.idle_cpu = cpu_at_rest(&breaker.shop).await;
    (recorded.log_lines, recorded.leaks) = breaker.output.summary();
    recorded.seconds = breaker.history.now() / 1000;
    let injected = std::mem::take(&mut breaker.injected);
    let Breaker { shop, disks, postgres, .. } = breaker;
    recorded.exits = shop.shut_down().await?;
    drop((disks, postgres));
    Ok((Summary { seed, injected, turned_away: load.turned_away(), drained_after }, recorded))
}

/// Starts the servers, the services behind proxies, and the means to inject faults.
async fn start(options: &Options, seed: u64, data: &Path, kinds: &[Kind]) -> anyhow::Result<Breaker> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let mut config = ShopConfig::on_free_ports(program, data.to_owned());
    if options.servers > 1 {
        config = config.clustered(options.servers);
    }
    config.stock_deadline_seconds = STOCK_DEADLINE_SECONDS;
    let variables = [
        ("PAYMENT_PROVIDER_DEADLINE_SECONDS", PROVIDER_DEADLINE_SECONDS.to_string()),
        ("PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", "3000".to_owned()),
        ("ACCOUNT_WAIT_SECONDS", ACCOUNT_WAIT_SECONDS.to_string()),
    ];
    config.variables.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    let postgres = match options.database {
        Engine::Sqlite => None,
        Engine::Postgres => Some(start_postgres(data, &mut config).await?),
    };
    let disks = if kinds.contains(&Kind::DiskFull) { Some(Disks::make(data)?) } else { None };
    // A proxy as companies set it for a whole machine: no traffic of the shop may use it.
    config.variables.push(("HTTP_PROXY".to_owned(), "http://127.0.0.1:9".to_owned()));
    let network = Network::install_proxies(&mut config).await?;
    let output = Output::begin(data, USERS.iter().map(|(user, _)| ShopConfig::password(user)).collect())?;
    let on_line = output.reader();
    if kinds.contains(&Kind::FirstStart) {
        kill_first_starts(&config, &on_line, seed).await?;
    }
    let shop = Shop::start(config, on_line.clone(), &|_| {}).await?;
    let messages = Messages::connect(shop.config(), seed).await?;
    let archive = Archive::begin(messages.jetstream());
    Ok(Breaker {
        shop,
        network,
        postgres,
        disks,
        clock: Clock::find(),
        messages,
        history: Arc::new(History::begin(&data.join("history.jsonl"))?),
        output,
        on_line,
        paused_sessions: BTreeMap::new(),
        read_only: Vec::new(),
        shortages: BTreeMap::new(),
        limits: Limits::default(),
        archive,
        random: random(seed, Purpose::Upgrade),
        locked_out: Vec::new(),
        seconds: BTreeMap::new(),
        log: File::create(data.join("faults.jsonl")).context("creating the log of faults")?,
        injected: BTreeMap::new(),
        ended: Vec::new(),
        down: Vec::new(),
        server_down: None,
        restoring: Restoring::default(),
    })
}

async fn start_postgres(data: &Path, config: &mut ShopConfig) -> anyhow::Result<PostgresServer> {
    let bin = postgres::find_or_install(log).await?;
    // Only processes are killed, not machines: data need not reach the disk.
    let builder = PostgresServer::builder(bin).port(free_port()).data_dir(data.join("postgres")).fsync(false);
    let server = builder.start().await?;
    let mut urls = BTreeMap::new();
    for component in Component::WITH_DATABASE {
        urls.insert(component, server.create_database(&component.name().replace('-', "_")).await?);
    }
    config.databases = Databases::Postgres(urls);
    Ok(server)
}

/// Waits until the shop is at rest: consumers settled, outboxes empty, no payment in progress, every order terminal.
/// Restocks products with backorders. Returns whether that succeeded in time.
async fn drain(breaker: &mut Breaker, client: &Client, tables: &Tables) -> anyhow::Result<bool> {
    let js = breaker.messages.jetstream();
    let start = Instant::now();
    let mut restocks = 0;
    let mut quiet = 0;
    while start.elapsed() < DRAIN_TIMEOUT {
        tokio::time::sleep(Duration::from_millis(500)).await;
        breaker.restart_ended().await?;
        let left = unsettled(&js).await?.values().sum::<u64>()
            + tables.outbox_pending().await?.values().sum::<u64>()
            + tables.payments_under_way().await?
            + tables.projections_behind().await?;
        let open = if left == 0 { open_orders(client).await } else { 1 };
        quiet = if left + open == 0 { quiet + 1 } else { 0 };
        if quiet == 3 {
            return Ok(true);
        }
        let products = client.query("/products?limit=200").await.answer;
        for product in products["items"].as_array().into_iter().flatten().filter(|_| left == 0) {
            let of = |name: &str| product[name].as_u64().unwrap_or_default();
            if let (Some(id), true) = (product["productId"].as_str(), of("backordered") > of("available")) {
                restocks += 1;
                let missing = (of("backordered") - of("available")).min(MAX_RESTOCK);
                add_stock(client, id, missing, format!("last-{restocks}")).await;
            }
        }
    }
    Ok(false)
}

/// Returns the number of orders that are not terminal, or at least one if that is unknown.
async fn open_orders(client: &Client) -> u64 {
    let mut open = 0;
    for status in ["placed", "awaiting-stock", "reserved"] {
        let page = client.query(&format!("/orders?status={status}&limit=1")).await;
        open += page.answer["items"].as_array().map_or(1, |items| items.len() as u64);
    }
    open
}

#[allow(clippy::print_stdout, reason = "a command-line tool")]
fn log(text: &str) {
    println!("{text}");
}
