//! The whole store on one machine: started, seeded, explained, and kept until Ctrl-C.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use messaging::{http, setting};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::component::Component;
use crate::config::ShopConfig;
use crate::control::Listener;
use crate::desktop;
use crate::feed::Feed;
use crate::network::Network;
use crate::ports;
use crate::screen::Screen;
use crate::shop::{OnLine, Shop, nats_options};
use crate::supervisor::Supervisor;

/// How long the gateway may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What `demo` does without a subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct UpOptions {
    /// Where streams, databases, and logs are kept.
    #[arg(long, env = "DEMO_DATA", default_value = "data", global = true, value_parser = setting::path())]
    pub data: PathBuf,
    /// Starts over: removes the streams and databases of earlier runs first.
    #[arg(long)]
    pub fresh: bool,
    /// Loads neither products nor orders.
    #[arg(long)]
    pub no_seed: bool,
    /// Does not open the page in the browser.
    #[arg(long)]
    pub no_open: bool,
}

/// Starts everything on its well-known ports, seeds it, says where to look, and keeps it until `shutdown`.
///
/// # Errors
///
/// Where a part does not start, with what to do about it.
pub async fn up(options: &UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    run(ShopConfig::standard(program, options.data.clone()), options, shutdown).await
}

/// The same with a store of any configuration.
///
/// # Errors
///
/// As [`up`].
pub async fn run(config: ShopConfig, options: &UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut config = config;
    let data = config.data.clone();
    let _lock = lock(&data)?;
    ports::check(&config)?;
    if options.fresh {
        start_over(&data)?;
    }
    let screen = Arc::new(Screen::open(&data)?);
    let progress = |step: &str| screen.show("demo", step);
    let listener = Listener::bind(config.control_port).await?;
    // The services of a demo reach the broker through proxies, which can be cut; everything else goes straight there.
    let network = Network::install_proxies(&mut config).await?;
    let reported = about_the_demo(&config, &listener);
    config.own_variables.entry(Component::ApiGateway).or_default().extend(reported);
    let shown = screen.clone();
    let on_line: OnLine = Arc::new(move |component, line| shown.show(component.name(), line));
    let shop = tokio::select! {
        shop = Shop::start(config, on_line, &progress) => shop?,
        // What has been started already is killed as it is dropped.
        () = shutdown.cancelled() => return Ok(()),
    };
    tokio::select! {
        opened = open(shop.config(), !options.no_seed, &screen) => opened?,
        () = shutdown.cancelled() => {}
    }
    let (sender, requests) = mpsc::channel(16);
    listener.serve(&data, shop.config().http_port(Component::ApiGateway), sender)?;
    if !options.no_open && !shutdown.is_cancelled() {
        desktop::open(&shop.config().http_url(Component::ApiGateway));
    }
    Box::pin(Supervisor::new(shop, network, screen).run(requests, shutdown)).await
}

/// Shows the messages that pass, loads the seed, and explains where to look.
async fn open(config: &ShopConfig, seeded: bool, screen: &Arc<Screen>) -> anyhow::Result<()> {
    let feed = Feed::open(nats_options(config, "inspector")).await?;
    let shown = screen.clone();
    tokio::spawn(feed.watch(move |line| shown.show("message", line)));
    if seeded {
        let addresses = seed::Addresses {
            gateway_url: config.http_url(Component::ApiGateway),
            inventory_url: config.http_url(Component::InventoryService),
        };
        seed::load(&addresses, |step| screen.show("demo", step)).await?;
    }
    explain(config, screen).await;
    Ok(())
}

/// What the gateway is told of the demo it is a part of, for its page: a gateway outside of one is told nothing.
fn about_the_demo(config: &ShopConfig, listener: &Listener) -> [(String, String); 3] {
    [
        ("DEMO_CONTROL_URL".to_owned(), listener.url()),
        ("DEMO_CONTROL_TOKEN".to_owned(), listener.token().to_owned()),
        ("DEMO_NATS_COMMAND".to_owned(), nats_command(config)),
    ]
}

/// How to look at the broker with the `nats` CLI.
fn nats_command(config: &ShopConfig) -> String {
    // A password of the environment is a secret; the one for development is not.
    let password = match std::env::var("INSPECTOR_PASSWORD") {
        Ok(_) => "\"$INSPECTOR_PASSWORD\"".to_owned(),
        Err(_) => ShopConfig::password("inspector"),
    };
    let url = config.nats_url();
    format!("nats -s {url} --user inspector --password {password} --inbox-prefix _INBOX_inspector")
}

/// Keeps a second demo off the same data.
fn lock(data: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(data).with_context(|| format!("making the data folder {}", data.display()))?;
    let path = data.join("demo.lock");
    let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!("a demo runs on {} already; end it with Ctrl-C, or use another folder with --data", data.display());
    }
    Ok(file)
}

/// Removes what earlier runs have left, and nothing else that may be in the folder.
fn start_over(data: &Path) -> anyhow::Result<()> {
    for folder in ["nats", "mail"].map(|name| data.join(name)).into_iter().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let databases = Component::WITH_DATABASE
        .into_iter()
        .flat_map(|component| ["sqlite", "sqlite-wal", "sqlite-shm"].map(|suffix| format!("{component}.{suffix}")));
    for file in databases
        .chain(["demo.log", "payment-provider.jsonl"].map(str::to_owned))
        .map(|name| data.join(name))
        .filter(|file| file.exists())
    {
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

/// Says what there is now, and where to look.
async fn explain(config: &ShopConfig, screen: &Screen) {
    let gateway = config.http_url(Component::ApiGateway);
    let http = http::client(ANSWER_TIMEOUT);
    let get = async |path: &str| -> Value {
        let Ok(http) = &http else { return Value::Null };
        match http.get(format!("{gateway}/{path}")).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    };
    let mut lines = vec![String::new(), "The shop is open.".to_owned(), String::new()];
    for order in get("orders").await["items"].as_array().into_iter().flatten() {
        let reason = order["reason"]["code"].as_str().map(|code| format!(" ({code})")).unwrap_or_default();
        lines.push(format!("  {:<12} {}{reason}", text(&order["orderId"]), text(&order["status"])));
    }
    for product in get("products").await["items"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {:<12} available {}, reserved {}, awaiting {}",
            text(&product["productId"]),
            product["available"],
            product["reserved"],
            product["backordered"]
        ));
    }
    let durability = get("readiness").await["checks"]["durability"]["detail"].take();
    let nats = nats_command(config);
    lines.extend([
        String::new(),
        format!("  the page   {gateway}/"),
        format!("  REST API   {gateway}/docs"),
        format!("  live feed  {gateway}/events"),
        format!("  broker     {}, monitor {}", config.nats_url(), config.http_url(Component::NatsServer)),
        format!("  durability {}: a killed process loses nothing (docs/guarantees.md)", text(&durability)),
        format!("  logs       {}", screen.path().display()),
        String::new(),
        "Look, order, restock:".to_owned(),
        format!("  curl {gateway}/orders/ORDER_001/history"),
        format!("  curl {gateway}/orders/ORDER_003/payment"),
        format!("  curl {gateway}/customers/CUSTOMER_001/notifications"),
        format!(
            "  curl -H 'Prefer: wait=5' --json '{{\"customerId\":\"CUSTOMER_001\",\"currency\":\"EUR\",\"items\":\
             [{{\"productId\":\"PRODUCT_001\",\"quantity\":1,\"unitPrice\":1000}}]}}' {gateway}/orders"
        ),
        format!("  curl --json '{{\"quantity\":5}}' {gateway}/products/PRODUCT_001/restock"),
        String::new(),
        "Inspect with the nats CLI:".to_owned(),
        format!("  {nats} sub '*.*.*.ORDER_001'"),
        format!("  {nats} stream report"),
        format!("  {nats} service ls"),
        String::new(),
        "Break it on the page, or from a second terminal: cargo run -- kill inventory-service, then start it again."
            .to_owned(),
        "Ctrl-C stops everything.".to_owned(),
        String::new(),
    ]);
    for line in lines {
        screen.show("demo", &line);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
