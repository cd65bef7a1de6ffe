//! The connection to NATS: named, with a user and a reply inbox prefix of its own, and never silent about errors.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, bail};
use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ClientError, ConnectOptions, Event, ServerError};
use tokio::time::Instant;

use crate::health::Health;
use crate::setting::{self, redacted};

/// The part of [`Health`] that says whether the server is connected.
pub const NATS: &str = "nats";
/// The part of [`Health`] that says whether the server refuses anything.
pub const PERMISSIONS: &str = "nats-permissions";
/// The part of [`Health`] that says whether the server has what is needed.
const SERVER: &str = "nats-server";

/// The oldest nats-server with message schedules and atomic batches.
const MIN_VERSION: (u64, u64) = (2, 12);
/// How often the version of the server is checked: it may be another one after a reconnect.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the state of a connection is looked at while it is being established.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The beginning of what [`Health`] reports of a server that refuses the user.
const UNAUTHORISED: &str = "authorization violation";

/// How often the server is asked whether it is there. It is given up, and another one of the cluster taken, once two of
/// these are unanswered; the client's own default would bear a server that hangs for three minutes.
const PING: Duration = Duration::from_secs(5);

/// Where the server is and who we are.
#[derive(Clone, clap::Args)]
pub struct NatsOptions {
    /// Where the nats-server listens; several, separated by commas, for a cluster.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222", hide_env_values = true,
        value_parser = setting::nats_url())]
    pub nats_url: String,
    /// The user to connect as; the program's own name unless given.
    #[arg(long, env = "NATS_USER", value_parser = setting::text())]
    pub nats_user: Option<String>,
    /// The user's password; none if the server asks for none.
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, value_parser = setting::secret())]
    pub nats_password: Option<String>,
}

impl std::fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = redacted(&self.nats_url);
        f.debug_struct("NatsOptions").field("nats_url", &url).field("nats_user", &self.nats_user).finish()
    }
}

/// Connects as `name`, and goes on trying until the server answers: a service may start before its broker.
///
/// The inbox prefix is `_INBOX_<user>`: a prefix shared by all users would let each read the others' replies. Errors
/// that the server reports only out of band (a permission denied looks like a time-out to the caller) are logged and
/// make the process unready until it reconnects. So is a user that the server refuses.
///
/// # Errors
///
/// If the address cannot be parsed.
pub async fn connect(options: &NatsOptions, name: &str, health: &Health) -> anyhow::Result<Client> {
    setting::parse_nats_url(&options.nats_url).map_err(|why| anyhow!("NATS_URL {why}"))?;
    let user = options.nats_user.as_deref().unwrap_or(name).to_owned();
    health.expect(NATS);
    health.ok(PERMISSIONS);
    let reporter = Arc::new(Reporter {
        health: health.clone(),
        user: user.clone(),
        url: redacted(&options.nats_url),
        outage: Mutex::default(),
    });
    let mut connect = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(format!("_INBOX_{user}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING)
        .reconnect_delay_callback(|attempts| Duration::from_millis(100 * (attempts.min(20) as u64)))
        .event_callback(move |event| {
            let reporter = reporter.clone();
            async move { reporter.report(&event) }
        });
    if let Some(password) = &options.nats_password {
        connect = connect.user_and_password(user, password.clone());
    }
    let servers: Vec<&str> = options.nats_url.split(',').map(str::trim).collect();
    Ok(connect.connect(servers).await?)
}

/// Connects as `name` and waits until the server has answered. Returns the connection, and what is known of it.
///
/// # Errors
///
/// At once if the server refuses the user or is too old, and after `limit` if it does not answer.
pub async fn establish(options: &NatsOptions, name: &str, limit: Duration) -> anyhow::Result<(Client, Health)> {
    let deadline = Instant::now() + limit;
    let health = Health::default();
    let client = connect(options, name, &health).await?;
    while client.connection_state() != State::Connected {
        match health.problem(NATS) {
            Some(why) if why.starts_with(UNAUTHORISED) => bail!(why),
            _ if Instant::now() > deadline => bail!(
                "nats-server at {} has not answered within {} s; check that it runs, and NATS_URL",
                redacted(&options.nats_url),
                limit.as_secs()
            ),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
    // Behind the answer to a ping, what is known of the server is that of this connection.
    if !matches!(tokio::time::timeout_at(deadline, client.flush()).await, Ok(Ok(()))) {
        bail!("nats-server at {} has not answered within {} s", redacted(&options.nats_url), limit.as_secs());
    }
    check_server(&client)?;
    Ok((client, health))
}

/// Waits until the server has refused something for a missing permission, and returns what. Its answers do not show it:
/// what was refused only times out.
pub async fn refused(health: &Health) -> String {
    loop {
        if let Some(why) = health.problem(PERMISSIONS) {
            return why;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Checks that the connected server has what is needed.
///
/// # Errors
///
/// If it is too old, or its version is unknown; the error names both versions.
pub fn check_server(client: &Client) -> anyhow::Result<()> {
    let version = client.server_info().version;
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
    let found = numbers.next().flatten().zip(numbers.next().flatten());
    if found.is_none_or(|found| found < MIN_VERSION) {
        let (major, minor) = MIN_VERSION;
        bail!(
            "nats-server has version {version:?}, and {major}.{minor} or later is needed, for message schedules and atomic \
             batches; upgrade it"
        );
    }
    Ok(())
}

/// Reports in [`Health`] whether the connected server has what is needed. Never returns.
pub async fn watch_server(client: Client, health: Health) -> Infallible {
    loop {
        if client.connection_state() == State::Connected {
            match check_server(&client) {
                Ok(()) => health.note(SERVER, client.server_info().version),
                Err(error) => health.failed(SERVER, error.to_string()),
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Unreachable,
    Unauthorised,
}

/// Reports what happens to a connection: each try in [`Health`], each change of state in the log.
struct Reporter {
    health: Health,
    user: String,
    url: String,
    /// The state that was logged last; none while connected.
    outage: Mutex<Option<Outage>>,
}

impl Reporter {
    fn report(&self, event: &Event) {
        match event {
            Event::Connected => {
                *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = None;
                tracing::info!("connected to nats-server");
                self.health.ok(NATS);
                self.health.ok(PERMISSIONS);
            }
            Event::Disconnected => self.lost(Outage::Unreachable, "disconnected from nats-server".to_owned()),
            Event::ServerError(ServerError::AuthorizationViolation) => self.unauthorised(),
            Event::ServerError(error) => {
                let text = error.to_string();
                if is_late_reply(&text) {
                    tracing::info!(error = %text, "nobody waits for a reply any more");
                } else if text.to_ascii_lowercase().contains("permissions violation") {
                    self.health.failed(PERMISSIONS, text);
                } else {
                    tracing::warn!(error = %text, "nats-server reports an error");
                }
            }
            // Reported for each try to connect.
            Event::ClientError(ClientError::Other(error)) if error.contains(UNAUTHORISED) => self.unauthorised(),
            Event::ClientError(ClientError::Other(error)) => {
                self.lost(Outage::Unreachable, format!("no connection to nats-server at {}: {error}", self.url));
            }
            Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
            other => tracing::info!(event = %other, "nats-server"),
        }
    }

    fn unauthorised(&self) {
        let why = format!("{UNAUTHORISED}: check NATS_USER ({}) and NATS_PASSWORD", self.user);
        self.lost(Outage::Unauthorised, why);
    }

    fn lost(&self, outage: Outage, why: String) {
        let before = self.outage.lock().unwrap_or_else(PoisonError::into_inner).replace(outage);
        if before != Some(outage) {
            tracing::warn!(part = NATS, detail = why, "not ready");
        }
        self.health.failed_quietly(NATS, why);
    }
}

/// Returns whether the server refused a reply: it takes one for two minutes, and on the connection that the request came
/// on. Who asked has given up long before; that says nothing about our permissions.
fn is_late_reply(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation for publish to \"_inbox")
}

/// Returns a JetStream context with bounded waits: 5 s for a publish acknowledgement and for an API call.
#[must_use]
pub fn jetstream(client: &Client) -> jetstream::Context {
    ContextBuilder::new().timeout(Duration::from_secs(5)).ack_timeout(Duration::from_secs(5)).build(client.clone())
}
