//! NKeys instead of passwords, and secrets that are replaced in operation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use choreography::connection::{self, NatsOptions};
use choreography::credentials::NatsCredentials;
use demo::shop::{nats_options, with_passwords};
use demo::{Component, Secrets, ShopConfig, nkeys};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{World, eventually, order, send};

/// How long a client may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of clients that place orders during a rotation.
const CLIENTS: usize = 4;
/// The minimum number of accepted orders before a rotation begins, and after it has ended.
const ORDERS: usize = 50;

/// Returns the configuration of a shop with secrets in a folder.
fn config(secrets: fn(PathBuf) -> Secrets) -> (ShopConfig, PathBuf) {
    let mut config = World::empty();
    let folder = config.data.join("secrets");
    std::fs::create_dir_all(&folder).unwrap();
    config.secrets = secrets(folder.clone());
    (config, folder)
}

/// Returns whether nats-server accepts a user.
async fn is_accepted(options: &NatsOptions, user: &str) -> bool {
    connection::establish(options, user, CONNECT_TIMEOUT).await.is_ok()
}

fn with_nkeys(config: &ShopConfig, user: &str, folder: &Path) -> NatsOptions {
    let nats_nkey_file = Some(folder.to_owned());
    let nats_credentials = NatsCredentials { nats_nkey_file, ..NatsCredentials::default() };
    NatsOptions { nats_credentials, nats_password: None, ..nats_options(config, user) }
}

fn with_password(config: &ShopConfig, user: &str, password: &str) -> NatsOptions {
    NatsOptions {
        nats_password: Some(password.to_owned()),
        nats_credentials: NatsCredentials::default(),
        ..nats_options(config, user)
    }
}

#[tokio::test]
async fn the_shop_runs_with_nkeys_and_without_passwords() {
    let (config, folder) = config(Secrets::Nkeys);
    let world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    let placed = world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    // The operator has a key of its own.
    let letters = world.get("/operations/dead-letters").await;
    assert_eq!(letters.status, 200, "{letters:?}");
    let config = world.config();
    for user in ["order-service", "operator"] {
        assert!(is_accepted(&with_nkeys(&config, user, &folder), user).await, "{user}");
        assert!(!is_accepted(&with_password(&config, user, &ShopConfig::password(user)), user).await, "{user}");
    }
    world.assert_healthy().await;
}

/// Clients that place orders until they are stopped. A client repeats an order until it is accepted.
struct Load {
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(world: &World) -> Self {
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let clients = (0..CLIENTS).map(|client| {
            let request = world.request(Method::POST, "/orders");
            tokio::spawn(place(client, request, accepted.clone(), stop.clone()))
        });
        Self { clients: clients.collect(), accepted, stop }
    }

    /// Waits until more orders have been accepted.
    async fn more(&self) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("more orders are accepted", || async {
            self.accepted.load(Ordering::Relaxed) >= before + ORDERS
        })
        .await;
    }

    /// Stops the clients, and returns the ids of accepted orders.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ids = Vec::new();
        for client in self.clients {
            ids.extend(client.await.unwrap());
        }
        ids
    }
}

async fn place(
    client: usize,
    request: RequestBuilder,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut ids = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("ORDER_{client}_{}", ids.len());
        let request = || request.try_clone().unwrap().json(&order(&id, "PRODUCT_001", 1));
        while send(request()).await.status != 202 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        ids.push(id);
    }
    ids
}

/// Checks that every accepted order was confirmed exactly once.
async fn each_is_confirmed_once(world: &World, ids: &[String]) {
    world.settled().await;
    let confirmed = world.counts("EVENTS", "order.event.confirmed.*").await;
    let expected = ids.iter().map(|id| (format!("order.event.confirmed.{id}"), 1)).collect();
    assert_eq!(confirmed, expected);
    let (stock, sold) = (world.stock("PRODUCT_001").await, ids.len() as u64);
    assert_eq!(stock, (1_000_000 - sold, sold, 0));
    world.assert_healthy().await;
}

/// Replaces a file at once, as `mv` does.
fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

/// Gives nats-server another configuration in operation.
fn reconfigure(world: &mut World, text: &str) {
    world.shop.server(0).unwrap().reconfigure(text).unwrap();
}

/// Returns the keys or names as which clients are connected.
async fn connected(world: &World) -> BTreeSet<String> {
    let url = format!("{}/connz?auth=true&limit=1000", world.config().http_url(Component::NatsServer));
    let found: Value = world.http.get(url).send().await.unwrap().json().await.unwrap();
    let users = found["connections"].as_array().unwrap().iter();
    users.map(|connection| connection["authorized_user"].as_str().unwrap_or_default().to_owned()).collect()
}

fn public_keys(folder: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder.join(nkeys::CONFIG)).unwrap();
    text.lines().filter_map(|line| line.trim().strip_prefix("nkey: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn nkeys_are_rotated_in_operation_and_no_accepted_order_is_lost() {
    let (config, current) = config(Secrets::Nkeys);
    let (old, new) = (config.data.join("old"), config.data.join("new"));
    let mut world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 1_000_000)]).await;
    std::fs::create_dir_all(&old).unwrap();
    for user in nkeys::users() {
        std::fs::copy(nkeys::seed_file(&current, user), nkeys::seed_file(&old, user)).unwrap();
    }
    let load = Load::start(&world);
    load.more().await;

    // 1. nats-server accepts the earlier keys and the new ones.
    let both = nkeys::write(&new, Some(&old)).unwrap();
    reconfigure(&mut world, &std::fs::read_to_string(both.config).unwrap());
    let config = world.config();
    eventually("a new key is accepted", || async {
        is_accepted(&with_nkeys(&config, "inspector", &new), "inspector").await
    })
    .await;
    assert!(is_accepted(&with_nkeys(&config, "inspector", &old), "inspector").await);
    load.more().await;

    // 2. The services get the new keys.
    for user in nkeys::users() {
        let seed = std::fs::read_to_string(nkeys::seed_file(&new, user)).unwrap();
        replace(&nkeys::seed_file(&current, user), &seed);
    }

    // 3. nats-server accepts the new keys only, and closes the other connections.
    let only = nkeys::write(&current, None).unwrap();
    assert!(only.created.is_empty(), "{only:?}");
    reconfigure(&mut world, &std::fs::read_to_string(only.config).unwrap());
    eventually("an earlier key is refused", || async {
        !is_accepted(&with_nkeys(&config, "inspector", &old), "inspector").await
    })
    .await;
    load.more().await;
    eventually("every service is ready", || async { world.shop.status().await.iter().all(|status| status.ready) })
        .await;
    let (keys, users) = (public_keys(&current), connected(&world).await);
    assert!(users.is_subset(&keys), "connected as {users:?}, the new keys are {keys:?}");
    let ids = load.stop().await;
    each_is_confirmed_once(&world, &ids).await;
}

/// Writes a password per user.
fn write_passwords(folder: &Path, generation: u32) {
    for user in nkeys::users() {
        replace(&folder.join(format!("{user}.password")), &format!("{user} {generation} # \"{{\"\n"));
    }
}

#[tokio::test]
async fn passwords_are_rotated_in_operation_and_no_accepted_order_is_lost() {
    let (config, folder) = config(Secrets::PasswordFiles);
    write_passwords(&folder, 1);
    let mut world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 1_000_000)]).await;
    let load = Load::start(&world);
    load.more().await;

    write_passwords(&folder, 2);
    reconfigure(&mut world, &with_passwords(&folder).unwrap());
    let config = world.config();
    eventually("the earlier password is refused", || async {
        let earlier = with_password(&config, "inspector", "inspector 1 # \"{\"");
        !is_accepted(&earlier, "inspector").await
    })
    .await;
    for component in Component::WITH_DATABASE {
        eventually(&format!("{component} is connected again"), || async {
            world.log(component).matches("connected to nats-server").count() >= 2
        })
        .await;
    }
    load.more().await;
    let ids = load.stop().await;
    each_is_confirmed_once(&world, &ids).await;
}

#[tokio::test]
async fn a_folder_of_seeds_is_made_by_the_command_line() {
    let folder = std::env::temp_dir().join(format!("nkeys-{}", std::process::id()));
    let provision = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(["provision", "--nkeys"]).arg(&folder).args(arguments);
        command.output().unwrap()
    };
    let made = provision(&[]);
    assert!(made.status.success(), "{made:?}");
    let seeds = |folder: &Path| -> Vec<String> {
        let read = |user| std::fs::read_to_string(nkeys::seed_file(folder, user)).unwrap();
        nkeys::users().into_iter().map(read).collect()
    };
    let before = seeds(&folder);
    for user in nkeys::users() {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(nkeys::seed_file(&folder, user)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{user}");
    }
    let again = provision(&[]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("created the seeds of: none"), "{again:?}");
    assert_eq!(seeds(&folder), before);
    // The output and the configuration contain no secret.
    let config = std::fs::read_to_string(folder.join(nkeys::CONFIG)).unwrap();
    for seed in &before {
        assert!(!config.contains(seed.trim()));
        assert!(!String::from_utf8_lossy(&made.stdout).contains(seed.trim()));
    }
    assert_eq!(config.matches("nkey: U").count(), nkeys::users().len());
    assert!(!config.contains("_PASSWORD"), "{config}");
    let refused = provision(&["--earlier-nkeys", folder.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the same seed"), "{refused:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
