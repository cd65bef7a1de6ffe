//! The whole store on one machine: started, seeded, explained, and kept until Ctrl-C.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::StoreConfig;
use crate::control::{self, Action, Request};
use crate::desktop;
use crate::feed::Feed;
use crate::member::Member;
use crate::ports;
use crate::screen::Screen;
use crate::store::{OnLine, Store, nats_options};

/// How often members are looked after.
const LOOK: Duration = Duration::from_millis(500);

/// What `demo` does without a subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct UpOptions {
    /// Where streams, databases, and logs are kept.
    #[arg(long, env = "DEMO_DATA", default_value = "data", global = true)]
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

/// Starts everything, seeds it, says where to look, and keeps it until `shutdown`.
///
/// # Errors
///
/// Where a part does not start, with what to do about it.
pub async fn up(options: &UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _lock = lock(&options.data)?;
    let program = std::env::current_exe().context("finding this program's own file")?;
    let config = StoreConfig::standard(program, options.data.clone());
    ports::check(&config)?;
    if options.fresh {
        start_over(&options.data)?;
    }
    let screen = Arc::new(Screen::open(&options.data)?);
    let progress = |step: &str| screen.show("demo", step);
    let shown = screen.clone();
    let on_line: OnLine = Arc::new(move |member, line| shown.show(member.name(), line));
    let mut store = tokio::select! {
        store = Store::start(config, on_line, &progress) => store?,
        // What has been started already is killed as it is dropped.
        () = shutdown.cancelled() => return Ok(()),
    };
    let feed = Feed::open(nats_options(store.config(), "inspector")).await?;
    let shown = screen.clone();
    tokio::spawn(feed.watch(move |line| shown.show("message", line)));
    if !options.no_seed {
        let addresses = seed::Addresses {
            gateway_url: store.config().http_url(Member::ApiGateway),
            inventory_url: store.config().http_url(Member::InventoryService),
        };
        seed::load(&addresses, progress).await?;
    }
    explain(store.config(), &screen).await;
    let (sender, requests) = mpsc::channel(1);
    control::serve(&options.data, sender).await?;
    if !options.no_open {
        desktop::open(&store.config().http_url(Member::ApiGateway));
    }
    keep(&mut store, requests, shutdown, &screen).await?;
    screen.show("demo", "stopping; the data stays for the next start");
    store.shut_down().await
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
    let databases = Member::WITH_DATABASE
        .into_iter()
        .flat_map(|member| ["sqlite", "sqlite-wal", "sqlite-shm"].map(|suffix| format!("{member}.{suffix}")));
    for file in databases
        .chain(["demo.log", "payment-provider.jsonl"].map(str::to_owned))
        .map(|name| data.join(name))
        .filter(|file| file.exists())
    {
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

/// Does what is asked from a second terminal, and tells of members that end by themselves.
async fn keep(
    store: &mut Store,
    mut requests: mpsc::Receiver<Request>,
    shutdown: CancellationToken,
    screen: &Screen,
) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(request) = requests.recv() => serve(store, request, screen).await,
            _ = look.tick() => {
                for (member, status) in store.ended()? {
                    screen.show("demo", &format!("{member} ended ({status}); start it again with `cargo run -- start {member}`"));
                }
            }
        }
    }
}

async fn serve(store: &mut Store, request: Request, screen: &Screen) {
    match request {
        // Whoever asked may be gone by now.
        Request::Status(answer) => drop(answer.send(store.status().await)),
        Request::Act(action, member, answer) => {
            let done = act(store, action, member).await.map_err(|error| format!("{error:#}"));
            if let Ok(done) = &done {
                screen.show("demo", done);
            }
            drop(answer.send(done));
        }
    }
}

async fn act(store: &mut Store, action: Action, member: Member) -> anyhow::Result<String> {
    let process = store.process(member);
    match (action, process) {
        (Action::Kill | Action::Stop, None) => bail!("{member} does not run"),
        (Action::Start, Some(process)) => bail!("{member} runs already (process {process})"),
        (Action::Kill, Some(process)) => {
            store.kill(member)?;
            Ok(format!("killed {member} (process {process}, SIGKILL)"))
        }
        (Action::Stop, Some(process)) => match store.stop(member).await? {
            Some(status) => Ok(format!("stopped {member} (process {process}, {status})")),
            None => Ok(format!("stopped {member} (process {process})")),
        },
        (Action::Start, None) => {
            store.start_member(member).await?;
            store.wait_until_ready(member, &|_| {}).await?;
            Ok(format!("started {member} (process {})", store.process(member).unwrap_or_default()))
        }
    }
}

/// Says what there is now, and where to look.
async fn explain(config: &StoreConfig, screen: &Screen) {
    let gateway = config.http_url(Member::ApiGateway);
    let http = reqwest::Client::new();
    let get = async |path: &str| -> Value {
        match http.get(format!("{gateway}/{path}")).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    };
    let mut lines = vec![String::new(), "The store is open.".to_owned(), String::new()];
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
            product["awaiting"]
        ));
    }
    let durability = get("readiness").await["checks"]["durability"]["detail"].take();
    let nats = format!(
        "nats -s {} --user inspector --password {} --inbox-prefix _INBOX_inspector",
        config.nats_url(),
        StoreConfig::password("inspector")
    );
    lines.extend([
        String::new(),
        format!("  the page   {gateway}/"),
        format!("  REST API   {gateway}/docs"),
        format!("  live feed  {gateway}/events"),
        format!("  broker     {}, monitor {}", config.nats_url(), config.http_url(Member::NatsServer)),
        format!("  accepted   is {}: a killed process loses nothing (README, Limits)", text(&durability)),
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
