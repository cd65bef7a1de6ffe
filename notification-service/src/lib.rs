//! Notifies customers about their orders: a downstream consumer that publishes no events.
//!
//! It keeps names and addresses from account events and writes one notification per event, exactly once. Each is mailed
//! at least once, pushed to connected clients, and listed by a query. The service can start a week late and catches up
//! from the stream, because its durable consumer exists since the streams were provisioned. In reading order:
//!
//! - [`notice`]: the texts of notifications; pure, no I/O;
//! - [`handler`]: the message handler;
//! - [`mail`]: sends mails;
//! - [`live`]: pushes notifications over a WebSocket;
//! - [`queries`]: the queries; [`reconciliation`]: repeated notifications;
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

use choreography::database::Databases;
use choreography::{Running, Service};
use contracts::declaration;
use contracts::topology::{NOTIFICATION_SERVICE, streams};
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
/// If the database cannot be opened, the URL of the mail server is not valid, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let transport = MailTransport::new(config.smtp_url.as_deref(), config.mail_folder)?;
        let db = Databases::open::<Migrator>(&config.service.database_url(NOTIFICATION_SERVICE)).await?;
        let (committed, commits) = watch::channel(());
        let news = News::default();
        let dispatcher =
            MailDispatcher { db: db.writer.clone(), transport, from: config.mail_from, committed: commits.clone() };
        let service = Service::builder(declaration::notification_service())
            .description("Notifies customers about their orders")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .handler(NotificationHandler::new(committed))
            .queries(queries::endpoints(&db.reader))
            .worker(dispatcher.worker())
            .worker(news.clone().worker(db.reader.clone(), commits))
            .routes(Live::new(db.reader.clone(), news, shutdown.clone()).routes())
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
