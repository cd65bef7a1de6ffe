//! Users, organisations, roles, sessions, and signing keys of the shop.
//!
//! Users and organisations are event-sourced; each change of a user's rights publishes all of them, so that the gateway
//! checks rights locally. Secrets are in the state-stored tables of this service only, hashed: passwords by Argon2id,
//! random tokens and keys by SHA-256. The private signing keys are in the database as they are; only this service can
//! read it. In reading order:
//!
//! - [`user`]: the rules; pure, no I/O;
//! - [`handler`]: the message handler, with the tables that follow from the events;
//! - [`requests`]: sign-up, sign-in, and the other requests with secrets; [`local`]: their envelopes;
//! - [`sessions`], [`keys`], [`secrets`], [`slow_down`]: refresh tokens, signing keys, hashes, and delays of guesses;
//! - [`queries`]: the queries; [`start`]: work at the start; [`roles`]: the roles;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod config;
pub mod entity;
pub mod handler;
pub mod keys;
pub mod local;
pub mod migration;
pub mod queries;
pub mod requests;
pub mod roles;
pub mod secrets;
pub mod sessions;
pub mod slow_down;
pub mod start;
pub mod user;

use std::sync::Arc;

use choreography::database::Databases;
use choreography::{EventSourced, Running, Service};
use contracts::declaration;
use contracts::topology::{IDENTITY_SERVICE, streams};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::{IdentityHandler, UserDecider};
use migration::Migrator;
use requests::Requests;
use secrets::Hasher;
use slow_down::SlowDown;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the roles or the users of the configuration are invalid, the database cannot be opened, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let roles = Arc::new(roles::load(config.roles.as_deref())?);
        let configured = start::configured(config.users_file.as_deref(), config.demo_users, &roles)?;
        let db = Databases::open::<Migrator>(&config.service.database_url(IDENTITY_SERVICE)).await?;
        let users = EventSourced(UserDecider { roles });
        let requests = Requests {
            db: db.clone(),
            hasher: Hasher::new(config.max_hashes)?,
            slow_down: Arc::new(SlowDown::default()),
            users: users.clone(),
            session_lifetime: config.session_lifetime(),
            outbox: Arc::default(),
        };
        let service = Service::builder(declaration::identity_service())
            .description("Users, roles, sessions, and signing keys")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .handler(IdentityHandler { users })
            .queries(queries::endpoints(&requests))
            .worker(|outbox, stop| start::run(requests, configured, outbox, stop))
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
