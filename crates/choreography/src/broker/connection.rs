//! The connection to NATS: named, with its own user and reply inbox prefix; errors are logged and reported.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, bail};
use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ClientError, Event, ServerError};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::credentials::NatsCredentials;
use crate::setting::{self, Args, redacted};
use crate::telemetry::health::Health;

/// The [`Health`] part for the connection to the server.
pub const NATS: &str = "nats";
/// The [`Health`] part for permissions that the server denies.
pub const PERMISSIONS: &str = "nats-permissions";
/// The [`Health`] part for the server's version.
const SERVER: &str = "nats-server";

/// The oldest nats-server that supports message schedules and atomic batches.
const MIN_VERSION: (u64, u64) = (2, 12);
/// The interval between checks of the server's version, which may change with a reconnect.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The polling interval while a connection is being established.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The prefix of the [`Health`] detail if the server rejects the user.
const UNAUTHORISED: &str = "authorization violation";

/// The next step without a connection that requires TLS. The client does not report why a TLS handshake failed.
const CHECK_TLS: &str = "; check NATS_CA_FILE, and NATS_CLIENT_CERT if the server requires one";

/// The interval between pings. After two unanswered pings the client drops the connection and tries another server of
/// the cluster. By the client's default, a server that hangs would go undetected for three minutes.
const PING: Duration = Duration::from_secs(5);

/// The default of [`NatsOptions::nats_url`].
const NATS_URL: &str = "nats://127.0.0.1:4222";

/// The server's address and the program's credentials.
#[derive(Clone, Args)]
pub struct NatsOptions {
    /// The address of nats-server; several, separated by commas, for a cluster.
    #[arg(long, env = "NATS_URL", default_value = NATS_URL, hide_env_values = true,
        value_parser = setting::nats_url())]
    pub nats_url: String,
    /// The user to connect as; by default the program's own name.
    #[arg(long, env = "NATS_USER", value_parser = setting::text())]
    pub nats_user: Option<String>,
    /// The user's password; not set if the server requires none.
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, value_parser = setting::secret())]
    pub nats_password: Option<String>,
    /// The credentials other than a password, and the files of TLS.
    #[command(flatten)]
    pub nats_credentials: NatsCredentials,
}

impl Default for NatsOptions {
    /// Returns the defaults of the command line; no environment variable is read.
    fn default() -> Self {
        Self {
            nats_url: NATS_URL.to_owned(),
            nats_user: None,
            nats_password: None,
            nats_credentials: NatsCredentials::default(),
        }
    }
}

impl std::fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = redacted(&self.nats_url);
        f.debug_struct("NatsOptions")
            .field("nats_url", &url)
            .field("nats_user", &self.nats_user)
            .field("nats_credentials", &self.nats_credentials)
            .finish_non_exhaustive()
    }
}

/// Connects as `name`, and retries until the server responds: a service may start before its broker.
///
/// The inbox prefix is `_INBOX_<user>`: a prefix shared by all users would let each read the others' replies. Errors
/// that the server reports only out of band (a denied permission looks like a time-out to the caller) are logged and
/// make the process unready until it reconnects. A rejected user makes it unready as well.
///
/// # Errors
///
/// If the address cannot be parsed, or if the credentials exclude each other or are not usable.
pub async fn connect(options: &NatsOptions, name: &str, health: &Health) -> anyhow::Result<Client> {
    setting::parse_nats_url(&options.nats_url).map_err(|why| anyhow!("NATS_URL {why}"))?;
    let user = options.nats_user.as_deref().unwrap_or(name).to_owned();
    let (connect, credentials) = options.nats_credentials.options(&user, options.nats_password.as_deref())?;
    health.expect(NATS);
    health.ok(PERMISSIONS);
    let reporter = Arc::new(Reporter {
        health: health.clone(),
        credentials,
        url: redacted(&options.nats_url),
        check_tls: if options.nats_credentials.require_tls() { CHECK_TLS } else { "" },
        outage: Mutex::default(),
    });
    let connect = connect
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
    let servers: Vec<&str> = options.nats_url.split(',').map(str::trim).collect();
    // Boxed, so that other crates do not compile the client again.
    let connected: BoxFuture<'_, _> = Box::pin(connect.connect(servers));
    Ok(connected.await?)
}

/// Connects as `name` and waits until the server has responded. Returns the connection and its health.
///
/// # Errors
///
/// Immediately if the server rejects the user or is too old, and after `limit` if it does not respond.
pub async fn establish(options: &NatsOptions, name: &str, limit: Duration) -> anyhow::Result<(Client, Health)> {
    let deadline = Instant::now() + limit;
    let health = Health::default();
    let client = connect(options, name, &health).await?;
    while client.connection_state() != State::Connected {
        match health.problem(NATS) {
            Some(why) if why.starts_with(UNAUTHORISED) => bail!(why),
            why if Instant::now() > deadline => bail!(
                "nats-server at {} has not answered within {} s; check that it runs, and NATS_URL{}",
                redacted(&options.nats_url),
                limit.as_secs(),
                why.map_or_else(String::new, |why| format!(" ({why})"))
            ),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
    // After the reply to a ping, the server info belongs to this connection.
    if !matches!(tokio::time::timeout_at(deadline, client.flush()).await, Ok(Ok(()))) {
        bail!("nats-server at {} has not answered within {} s", redacted(&options.nats_url), limit.as_secs());
    }
    check_server(&client)?;
    Ok((client, health))
}

/// Waits until the server has denied a permission, and returns its error text. The caller sees a denied request only as
/// a time-out.
pub async fn refused(health: &Health) -> String {
    loop {
        if let Some(why) = health.problem(PERMISSIONS) {
            return why;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Checks that the connected server is recent enough.
///
/// # Errors
///
/// If the server is too old, or its version is unknown; the error names both versions.
pub fn check_server(client: &Client) -> anyhow::Result<()> {
    let version = client.server_info().version;
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
    let found = numbers.next().flatten().zip(numbers.next().flatten());
    if found.is_none_or(|found| found < MIN_VERSION) {
        let (major, minor) = MIN_VERSION;
        bail!(
            "nats-server has version {version:?}, but message schedules and atomic batches need {major}.{minor} or \
             later; upgrade it"
        );
    }
    Ok(())
}

/// Reports in [`Health`] whether the connected server is recent enough. Never returns.
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

/// Reports connection events: each attempt in [`Health`], each change of state in the log.
struct Reporter {
    health: Health,
    /// The settings to check if the server rejects the user.
    credentials: String,
    url: String,
    /// The next step if the connection requires TLS; otherwise empty.
    check_tls: &'static str,
    /// The state that was logged last; `None` while connected.
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
                    tracing::info!(error = %text, "a reply was too late; its requester has timed out");
                } else if text.to_ascii_lowercase().contains("permissions violation") {
                    self.health.failed(PERMISSIONS, text);
                } else {
                    tracing::warn!(error = %text, "nats-server reports an error");
                }
            }
            // Reported for each attempt to connect.
            Event::ClientError(ClientError::Other(error)) if error.contains(UNAUTHORISED) => self.unauthorised(),
            Event::ClientError(ClientError::Other(error)) => {
                let why = format!("no connection to nats-server at {}: {error}{}", self.url, self.check_tls);
                self.lost(Outage::Unreachable, why);
            }
            Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
            other => tracing::info!(event = %other, "nats-server"),
        }
    }

    fn unauthorised(&self) {
        let why = format!("{UNAUTHORISED}: check {}", self.credentials);
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

/// Returns whether the server rejected a late reply: it accepts a reply for two minutes, and only on the connection of
/// the request. The requester has timed out long before, so this is not a missing permission.
fn is_late_reply(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation for publish to \"_inbox")
}

/// Returns a JetStream context with time limits: 5 s for a publish acknowledgement and for an API call.
#[must_use]
pub fn jetstream(client: &Client) -> jetstream::Context {
    ContextBuilder::new().timeout(Duration::from_secs(5)).ack_timeout(Duration::from_secs(5)).build(client.clone())
}
