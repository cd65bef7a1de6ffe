//! The demo: the whole shop on one machine, started, seeded, and kept running until Ctrl-C.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use choreography::{http, setting};
use contracts::identity::ADMIN;
use identity_service::start::{DEMO_USERS, DemoUser};
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

/// How long the gateway may take to respond.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of `demo` without a subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct UpOptions {
    /// The folder of streams, databases, and logs.
    #[arg(long, env = "DEMO_DATA", default_value = "data", global = true, value_parser = setting::path())]
    pub data: PathBuf,
    /// Starts over: removes the streams and databases of earlier runs first.
    #[arg(long)]
    pub fresh: bool,
    /// Loads neither products nor orders.
    #[arg(long)]
    pub no_seed: bool,
    /// Users must sign in. Creates one demo user per role, and shows their passwords.
    #[arg(long)]
    pub auth: bool,
    /// Does not open the dashboard in the browser.
    #[arg(long)]
    pub no_open: bool,
}

impl UpOptions {
    /// The ids of the options.
    pub(crate) const NAMES: [&str; 5] = ["data", "fresh", "no_seed", "auth", "no_open"];
}

/// Starts the shop on its well-known ports, seeds it, shows its addresses, and keeps it running until `shutdown`.
///
/// # Errors
///
/// If a component does not start; the error has the next step.
pub async fn up(options: &UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let config = ShopConfig::standard(program, options.data.clone());
    let config = if options.auth { config.with_sign_in(Component::IdentityService.port()) } else { config };
    run(config, options, shutdown).await
}

/// Like [`up`], with any configuration.
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
    // Only the services connect to the broker through proxies, which inject faults; all other clients connect directly.
    let network = Network::install_proxies(&mut config).await?;
    let variables = gateway_variables(&config, &listener);
    config.own_variables.entry(Component::ApiGateway).or_default().extend(variables);
    let shown = screen.clone();
    let on_line: OnLine = Arc::new(move |component, line| shown.show(component.name(), line));
    let shop = tokio::select! {
        shop = Shop::start(config, on_line, &progress) => shop?,
        // Processes that were started already are killed on drop.
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

/// Starts the live feed, loads the seed, and shows the addresses.
async fn open(config: &ShopConfig, seeded: bool, screen: &Arc<Screen>) -> anyhow::Result<()> {
    let feed = Feed::open(nats_options(config, "inspector")).await?;
    let shown = screen.clone();
    tokio::spawn(feed.watch(move |line| shown.show("message", line)));
    if seeded {
        let addresses = seed::Addresses {
            gateway_url: config.http_url(Component::ApiGateway),
            inventory_url: config.http_url(Component::InventoryService),
            sign_in: sign_in(config),
        };
        seed::load(&addresses, |step| screen.show("demo", step)).await?;
    }
    explain(config, screen).await;
    Ok(())
}

/// Returns the sign-in of the demo's administrator; none without sign-in.
fn sign_in(config: &ShopConfig) -> seed::SignIn {
    let admin = DEMO_USERS.iter().find(|user| config.auth && user.role == ADMIN);
    seed::SignIn {
        seed_email: admin.map(|user| user.email.to_owned()),
        seed_password: admin.map(|user| user.password.to_owned()),
    }
}

/// Returns the variables through which the gateway learns the control API, for the dashboard. Only a demo sets them.
fn gateway_variables(config: &ShopConfig, listener: &Listener) -> [(String, String); 3] {
    [
        ("DEMO_CONTROL_URL".to_owned(), listener.url()),
        ("DEMO_CONTROL_TOKEN".to_owned(), listener.token().to_owned()),
        ("DEMO_NATS_COMMAND".to_owned(), nats_command(config)),
    ]
}

/// Returns the `nats` CLI command that connects as the inspector.
fn nats_command(config: &ShopConfig) -> String {
    // A password from the environment is a secret; the development password is not.
    let password = match std::env::var("INSPECTOR_PASSWORD") {
        Ok(_) => "\"$INSPECTOR_PASSWORD\"".to_owned(),
        Err(_) => ShopConfig::password("inspector"),
    };
    let url = config.nats_url();
    format!("nats -s {url} --user inspector --password {password} --inbox-prefix _INBOX_inspector")
}

/// Locks the data folder against a second demo.
fn lock(data: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(data).with_context(|| format!("making the data folder {}", data.display()))?;
    let path = data.join("demo.lock");
    let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!("a demo runs on {} already; end it with Ctrl-C, or use another folder with --data", data.display());
    }
    Ok(file)
}

/// Removes the data of earlier runs, and no other files of the folder.
fn start_over(data: &Path) -> anyhow::Result<()> {
    for folder in ["nats", "mail"].map(|name| data.join(name)).into_iter().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let databases = Component::NAMED
        .into_iter()
        .filter(|component| component.has_database())
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

/// Shows the orders, the stock, the addresses, and example commands.
async fn explain(config: &ShopConfig, screen: &Screen) {
    let gateway = config.http_url(Component::ApiGateway);
    let http = http::client(ANSWER_TIMEOUT);
    let token = token(config).await;
    let get = async |path: &str| -> Value {
        let Ok(http) = &http else { return Value::Null };
        let request = http.get(format!("{gateway}/{path}"));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        match request.send().await {
            Ok(response) => response.json().await.unwrap_or_default(),
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
            "  {:<12} available {}, reserved {}, backordered {}",
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
        format!("  dashboard  {gateway}/"),
        format!("  REST API   {gateway}/docs"),
        format!("  live feed  {gateway}/events"),
        format!("  broker     {}, monitor {}", config.nats_url(), config.http_url(Component::NatsServer)),
        format!(
            "  durability {}: no message is lost when a process is killed (docs/guarantees.md)",
            text(&durability)
        ),
        format!("  logs       {}", screen.path().display()),
        String::new(),
    ]);
    lines.extend(sign_in_lines(config, &gateway));
    lines.extend([
        "Read, order, restock:".to_owned(),
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
        format!("  {nats} sub '*.event.>'    # then place an order"),
        format!("  {nats} stream report"),
        format!("  {nats} service ls"),
        String::new(),
        "Inject faults on the dashboard, or from a second terminal: cargo run -- kill inventory-service, then start."
            .to_owned(),
        "Ctrl-C stops everything.".to_owned(),
        String::new(),
    ]);
    for line in lines {
        screen.show("demo", &line);
    }
}

/// Returns an access token of the administrator; `None` without sign-in, or if it fails.
async fn token(config: &ShopConfig) -> Option<String> {
    let http = http::client(ANSWER_TIMEOUT).ok()?;
    let token = seed::token(&http, &config.http_url(Component::ApiGateway), &sign_in(config)).await;
    token.unwrap_or_else(|error| {
        tracing::warn!(error = format!("{error:#}"), "the administrator cannot sign in");
        None
    })
}

/// Returns the lines about sign-in: that it is off, or the users and how to get a token.
fn sign_in_lines(config: &ShopConfig, gateway: &str) -> Vec<String> {
    if !config.auth {
        let off = "Sign-in is off: everyone who reaches 127.0.0.1 may do everything. Turn it on with: cargo run -- --auth";
        return vec![off.to_owned(), String::new()];
    }
    let user = |user: &DemoUser| format!("  {:<10} {:<22} {}", user.role, user.email, user.password);
    let admin = sign_in(config);
    let (email, password) = (admin.seed_email.unwrap_or_default(), admin.seed_password.unwrap_or_default());
    let mut lines = vec!["Sign-in is on. Users, with their e-mail addresses and passwords:".to_owned()];
    lines.extend(DEMO_USERS.iter().map(user));
    lines.extend([
        format!(
            "  TOKEN=$(curl -s --json '{{\"email\":\"{email}\",\"password\":\"{password}\"}}' {gateway}/session | \
             sed 's/.*\"accessToken\":\"\\([^\"]*\\).*/\\1/')"
        ),
        "  Add to each curl below: -H \"Authorization: Bearer $TOKEN\"".to_owned(),
        String::new(),
    ]);
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
