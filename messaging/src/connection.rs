//! The connection to NATS: named, with a user and a reply inbox prefix of its own, and never silent about errors.

use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};

use crate::health::Health;

/// The part of [`Health`] that says whether the server is connected.
pub const NATS: &str = "nats";
/// The part of [`Health`] that says whether the server refuses anything.
pub const PERMISSIONS: &str = "nats-permissions";

/// How often the server is asked whether it is there. It is given up, and another one of the cluster taken, once two of
/// these are unanswered; the client's own default would bear a server that hangs for three minutes.
const PING: Duration = Duration::from_secs(5);

/// Where the server is and who we are.
#[derive(Clone, clap::Args)]
pub struct NatsOptions {
    /// Where the nats-server listens; several, separated by commas, for a cluster.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// The user to connect as; the program's own name unless given.
    #[arg(long, env = "NATS_USER")]
    pub nats_user: Option<String>,
    /// The user's password; none where the server asks for none.
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: Option<String>,
}

impl std::fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsOptions").field("nats_url", &self.nats_url).field("nats_user", &self.nats_user).finish()
    }
}

/// Connects as `name`, and goes on trying until the server answers: a service may start before its broker.
///
/// The inbox prefix is `_INBOX_<user>`: a prefix shared by all users would let each read the others' replies. Errors
/// that the server reports only out of band (a permission denied looks like a time-out to the caller) are logged and
/// make the process unready until it reconnects.
///
/// # Errors
///
/// Where the address cannot be parsed.
pub async fn connect(options: &NatsOptions, name: &str, health: &Health) -> anyhow::Result<Client> {
    let user = options.nats_user.as_deref().unwrap_or(name).to_owned();
    health.expect(NATS);
    health.ok(PERMISSIONS);
    let events = health.clone();
    let mut connect = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(format!("_INBOX_{user}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING)
        .reconnect_delay_callback(|attempts| Duration::from_millis(100 * (attempts.min(20) as u64)))
        .event_callback(move |event| {
            let health = events.clone();
            async move { report(&event, &health) }
        });
    if let Some(password) = &options.nats_password {
        connect = connect.user_and_password(user, password.clone());
    }
    let servers: Vec<&str> = options.nats_url.split(',').map(str::trim).collect();
    Ok(connect.connect(servers).await?)
}

fn report(event: &Event, health: &Health) {
    match event {
        Event::Connected => {
            tracing::info!("connected to nats-server");
            health.ok(NATS);
            health.ok(PERMISSIONS);
        }
        Event::Disconnected => health.failed(NATS, "disconnected from nats-server"),
        Event::ServerError(error) => {
            let text = error.to_string();
            if is_late_reply(&text) {
                tracing::info!(error = %text, "nobody waits for a reply any more");
            } else if text.to_ascii_lowercase().contains("permissions violation") {
                health.failed(PERMISSIONS, text);
            } else {
                tracing::warn!(error = %text, "nats-server reports an error");
            }
        }
        Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
        other => tracing::info!(event = %other, "nats-server"),
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
