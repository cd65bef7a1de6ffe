//! Tells customers what became of their orders: a downstream reactor that says nothing to other services.
//!
//! It keeps names and addresses from account events and writes one notification per event and customer, exactly once.
//! Each is mailed at least once, pushed to whoever listens, and there when asked for. It can be started a week late and
//! catches up from the stream: its durable consumer stands since the streams were provisioned. In reading order:
//!
//! - [`notice`]: what customers are told, and in which words; pure, no I/O;
//! - [`handler`]: from events to notifications;
//! - [`mail`]: sends them;
//! - [`live`]: pushes them over a WebSocket;
//! - [`queries`]: what can be asked; [`reconciliation`]: whether anything was told twice;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod config;
pub mod entity;
pub mod handler;
pub mod live;
pub mod mail;
pub mod migration;
pub mod notice;
pub mod queries;
pub mod reconciliation;

use contracts::topology::{EVENTS, NOTIFICATION_SERVICE, producer};
use messaging::Service;
use messaging::database::Databases;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::NotificationHandler;
use live::{Live, News};
use mail::MailDispatcher;
use mail::transport::MailTransport;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// Where the database cannot be opened or the URL of the mail server is none, and where [`Service::run`] fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let transport = MailTransport::new(config.smtp_url.as_deref(), config.mail_folder)?;
    let db = Databases::open::<Migrator>(&config.service.database_url(NOTIFICATION_SERVICE)).await?;
    let (committed, commits) = watch::channel(());
    let news = News::default();
    let dispatcher =
        MailDispatcher { db: db.writer.clone(), transport, from: config.mail_from, committed: commits.clone() };
    let service = Service {
        name: NOTIFICATION_SERVICE,
        description: "Tells customers what became of their orders",
        version: env!("CARGO_PKG_VERSION"),
        streams: &[EVENTS],
        longest_deadline: None,
        producer,
        handler: NotificationHandler::new(committed),
        endpoints: queries::endpoints(&db.reader),
        workers: vec![dispatcher.worker(), news.clone().worker(db.reader.clone(), commits)],
        routes: Live::new(db.reader.clone(), news, shutdown.clone()).routes(),
        http_address: config.http_address,
        db,
    };
    service.run(&config.service, shutdown).await
}
