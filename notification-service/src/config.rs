//! The options of the service.

use std::net::SocketAddr;
use std::path::PathBuf;

use choreography::{ServiceOptions, setting};
use lettre::message::Mailbox;

/// The notification service of the sample shop: by mail, live over a WebSocket, and as a query.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/notifications` (a WebSocket), `/liveness`, and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8903", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Folder for mail, one file per mail, unless a mail server is set; created if missing.
    #[arg(long, env = "MAIL_FOLDER", default_value = "data/mail", value_parser = setting::path())]
    pub mail_folder: PathBuf,
    /// URL of the mail server: `smtps://user:password@host`, `smtp://user:password@host?tls=required`, or, without
    /// encryption, `smtp://host:port`.
    #[arg(long, env = "SMTP_URL", hide_env_values = true, value_parser = setting::secret())]
    pub smtp_url: Option<String>,
    /// Sender of mail.
    #[arg(long, env = "MAIL_FROM", default_value = "Online Store <no-reply@store.example>",
        value_parser = setting::parsed(str::parse::<Mailbox>, "is not a mailbox such as Shop <shop@example.org>"))]
    pub mail_from: Mailbox,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
}
