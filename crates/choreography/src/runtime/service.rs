//! The frame of every service: options, start, and a shutdown that loses nothing.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, jetstream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admin::republish;
use crate::admin::stats;
use crate::admin::trace;
use crate::broker::clock;
use crate::broker::connection;
use crate::broker::durability::Durability;
use crate::broker::limits::Limits;
use crate::inbound::consumer::{Delivery, Puller};
use crate::inbound::handler::{Handler, ReportStatus};
use crate::inbound::policies::Policies;
use crate::inbound::processor::{DATABASE, Processor};
use crate::inbound::query::{self, Endpoint, Reads};
use crate::inbound::redrive;
use crate::inbound::unknown_version::UnknownVersions;
use crate::outbound::relay::Relay;
use crate::outbound::relay_handle::Outbox;
use crate::projection::admin::Admin;
#[cfg(feature = "http")]
use crate::runtime::listener::Server;
use crate::runtime::needs::{STREAMS, StreamNeeds};
use crate::runtime::options::ServiceOptions;
#[cfg(feature = "http")]
use crate::runtime::probes;
use crate::runtime::projecting::{Environment, Projecting};
use crate::runtime::retention::{self, Cleanup};
use crate::runtime::shutdown::{Parts, Shutdown};
#[cfg(feature = "http")]
use crate::runtime::web::Web;
use crate::state::database::Databases;
use crate::state::storage::StorageWatch;
use crate::telemetry::health::Health;
use crate::telemetry::spans;

/// A background task of a service, such as calling a third party or sending mail. It ends when the token is cancelled;
/// it finds unfinished work again at the next start.
pub type Worker = Box<dyn FnOnce(Outbox, CancellationToken) -> Running<'static> + Send>;

/// A running service or worker. It is boxed where it is made, so that its code is compiled there once, and not in each
/// program and test that awaits it.
pub type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// A service, ready to run. [`Service::builder`] makes it.
pub struct Service<H> {
    pub(super) handler: Arc<H>,
    pub(super) frame: Frame,
}

/// The parts of a service that do not depend on the type of its handler.
pub(super) struct Frame {
    pub(super) name: &'static str,
    pub(super) description: Cow<'static, str>,
    pub(super) version: Cow<'static, str>,
    pub(super) needs: StreamNeeds,
    pub(super) policies: Policies,
    pub(super) db: Databases,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) workers: Vec<Worker>,
    /// Its projections, each with the stream that it reads.
    pub(super) projections: Vec<(Projecting, String)>,
    #[cfg(feature = "http")]
    pub(super) web: Web,
}

impl<H: Handler> Service<H> {
    /// Returns its handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Returns the address of its HTTP server, if it has one.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.frame.web.address
    }

    /// Runs until `shutdown` is cancelled: then stops pulling, finishes the batch, publishes, acks, and returns.
    ///
    /// Starts in any order with its broker: it waits, unready, until nats-server and the streams are available.
    ///
    /// # Errors
    ///
    /// If it cannot start (address in use, retention below the dedup horizon, a deadline longer than its stream keeps
    /// messages, a durability below the required one), or if a part of it ends by itself. A shutdown takes at most 8 s;
    /// unfinished work is then logged, and is not an error.
    pub fn run(self, options: &ServiceOptions, shutdown: CancellationToken) -> Running<'_> {
        let handler = self.handler.clone();
        let processing: StartProcessor = Box::new(move |processor, queue, redrives| {
            let processor = processor.with_handler(handler);
            Box::pin(async move {
                processor.run(queue, redrives).await;
                Ok(())
            })
        });
        self.frame.run(self.handler, processing, options, shutdown)
    }
}

/// Starts the processor with its handler.
type StartProcessor = Box<
    dyn FnOnce(Processor<()>, mpsc::Receiver<Delivery>, mpsc::Receiver<redrive::Job>) -> Running<'static> + Send,
>;

impl Frame {
    /// Runs a service: see [`Service::run`].
    fn run(
        self,
        status: Arc<dyn ReportStatus>,
        processing: StartProcessor,
        options: &ServiceOptions,
        shutdown: CancellationToken,
    ) -> Running<'_> {
        Box::pin(self.start_and_stop(status, processing, options, shutdown))
    }

    #[cfg_attr(not(feature = "http"), allow(unused_mut, reason = "the HTTP server takes the routes"))]
    async fn start_and_stop(
        mut self,
        status: Arc<dyn ReportStatus>,
        processing: StartProcessor,
        options: &ServiceOptions,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        spans::export_as(self.name)?;
        let health = Health::default();
        health.expect(STREAMS);
        let client = connection::connect(&options.nats, self.name, &health).await?;
        let js = connection::jetstream(&client);
        // Cancelled with `shutdown`, and if a part fails.
        let stop = shutdown.child_token();

        let mut parts = Parts::default();
        #[cfg(feature = "http")]
        self.spawn_http(&mut parts, &js, options, &health, &stop).await?;
        let (watch, until) = (connection::watch_server(client.clone(), health.clone()), stop.clone());
        parts.spawn("server watch", async move {
            until.run_until_cancelled(watch).await;
            Ok(())
        });

        let started = tokio::select! {
            started = self.needs.wait(&js, options, &health) => started,
            () = stop.cancelled() => Ok(None),
            Some(ended) = parts.next_end() => ended.map(|()| None),
        };
        let (durability, infos) = match started {
            Ok(Some(found)) if !stop.is_cancelled() => found,
            stopped => {
                parts.stop(&stop, Ok(())).await;
                return stopped.map(drop);
            }
        };

        let (name, db) = (self.name, self.db.clone());
        if durability.fsynced {
            db.sync_commits().await.context("making commits survive a power cut")?;
        }
        let end = Shutdown { service: name, client: client.clone(), db };
        let limits = Limits::new(&infos, client.server_info().max_payload);
        let late_after = retention::late_after(&infos, options.retention());
        let broker = Broker { client: client.clone(), js, durability, limits, late_after };
        self.spawn_parts(&mut parts, broker, (status, processing), options, &health, &stop);
        tracing::info!(service = name, "started");

        let early = parts.end_early(&stop).await;
        let stopped = parts.stop(&stop, early).await;
        end.finish(&stopped.unfinished).await;
        stopped.outcome
    }

    /// Spawns the HTTP server, if the service has an address for it.
    #[cfg(feature = "http")]
    #[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "`/metrics` reads the broker"))]
    async fn spawn_http(
        &mut self,
        parts: &mut Parts,
        js: &jetstream::Context,
        options: &ServiceOptions,
        health: &Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Web { address: Some(address), routes } = std::mem::take(&mut self.web) else { return Ok(()) };
        #[cfg(feature = "metrics")]
        let routes = crate::runtime::scrape::Scrape {
            db: self.db.reader.clone(),
            js: js.clone(),
            consumer: self.name,
            streams: self.needs.consumed.clone(),
        }
        .add_to(routes);
        let endpoint = probes::with_probes(routes, health.clone());
        let server = Server::bind(address, &options.http, Some(health.clone())).await?;
        let serving = server.serve(endpoint, stop.clone());
        parts.spawn("http", async move {
            serving.await;
            Ok(())
        });
        Ok(())
    }

    /// Spawns the parts that process messages. Their order at a shutdown follows from the ownership of the channels:
    /// first the pullers, then the processor and the workers, then the relay.
    fn spawn_parts(
        mut self,
        parts: &mut Parts,
        broker: Broker,
        (status, processing): (Arc<dyn ReportStatus>, StartProcessor),
        options: &ServiceOptions,
        health: &Health,
        stop: &CancellationToken,
    ) {
        self.spawn_upkeep(parts, &broker.js, options, health, stop);
        let projections = self.spawn_projections(parts, &broker, options, health, stop);
        let Broker { client, js, durability, limits, late_after } = broker;
        let (relay, relay_handle) = Relay::new(
            self.db.writer.clone(),
            client.clone(),
            self.name,
            durability.fsynced,
            limits,
            late_after,
            health.clone(),
        );
        let queue = self.spawn_pullers(parts, &js, health, stop);
        for worker in self.workers {
            parts.spawn(
                "worker",
                worker(Outbox::new(relay_handle.clone(), format!("/{}", self.name), health.clone()), stop.clone()),
            );
        }
        health.ok(DATABASE);
        let processor = Processor {
            db: self.db.writer.clone(),
            handler: Arc::new(()),
            service: self.name,
            source: format!("/{}", self.name),
            relay: relay_handle,
            health: health.clone(),
            retention: options.retention(),
            max_attempts: options.max_attempts,
            policies: self.policies,
            duplicates: AtomicBool::new(false),
            unknown_versions: UnknownVersions::default(),
            shutdown: stop.clone(),
        };
        let (redrive_endpoint, redrives) = redrive::endpoint(js.clone(), self.name);
        let mut endpoints = self.endpoints;
        endpoints.extend(projections);
        endpoints.extend([
            redrive_endpoint,
            trace::endpoint(self.db.reader.clone(), self.name, status, health.clone()),
            stats::endpoint(self.db.reader.clone(), self.name),
            republish::endpoint(self.db.reader.clone(), js.clone(), self.name),
        ]);
        parts.spawn("processor", processing(processor, queue, redrives));
        parts.spawn("relay", relay.run());
        let reads = Reads::new(self.db.reader, health);
        let queries =
            query::serve(client, self.name, self.description, self.version, endpoints, reads, stop.clone());
        parts.spawn("queries", queries);
    }

    /// Spawns the pullers; returns the queue that ends with them.
    fn spawn_pullers(
        &self,
        parts: &mut Parts,
        js: &jetstream::Context,
        health: &Health,
        stop: &CancellationToken,
    ) -> mpsc::Receiver<Delivery> {
        let (sender, queue) = mpsc::channel(self.policies.max_batch);
        for stream in self.needs.consumed.iter() {
            health.expect(&Puller::part(stream));
            let puller = Puller {
                js: js.clone(),
                stream: stream.clone(),
                consumer: self.name.to_owned(),
                pull: self.policies.pull,
                queue: sender.clone(),
                health: health.clone(),
                shutdown: stop.clone(),
                arrived: Arc::new(AtomicU64::new(0)),
            };
            parts.spawn("puller", async move {
                puller.run().await;
                Ok(())
            });
        }
        if self.needs.consumed.is_empty() {
            // The processor of a service that has projections only ends at the shutdown.
            let stop = stop.clone();
            parts.spawn("queue", async move {
                stop.cancelled().await;
                drop(sender);
                Ok(())
            });
        }
        queue
    }

    /// Spawns the projections; returns the endpoint for operations on them.
    fn spawn_projections(
        &mut self,
        parts: &mut Parts,
        broker: &Broker,
        options: &ServiceOptions,
        health: &Health,
        stop: &CancellationToken,
    ) -> Option<Endpoint> {
        let projections = std::mem::take(&mut self.projections);
        let definitions: Vec<_> =
            projections.iter().map(|(projecting, stream)| (projecting.definition, stream.clone())).collect();
        for (projecting, stream) in projections {
            let environment = Environment {
                db: self.db.clone(),
                client: broker.client.clone(),
                js: broker.js.clone(),
                stream,
                policies: self.policies.clone(),
                max_attempts: options.max_attempts,
                health: health.clone(),
                shutdown: stop.clone(),
            };
            let running = (projecting.run)(environment);
            parts.spawn("projection", async move {
                running.await;
                Ok(())
            });
        }
        let admin = Admin { db: self.db.clone(), js: broker.js.clone(), definitions };
        (!admin.definitions.is_empty()).then(|| admin.endpoint(self.name))
    }

    /// Spawns the parts that delete old rows, and that watch the disk and the clock.
    fn spawn_upkeep(
        &self,
        parts: &mut Parts,
        js: &jetstream::Context,
        options: &ServiceOptions,
        health: &Health,
        stop: &CancellationToken,
    ) {
        let cleanup = Cleanup {
            db: self.db.writer.clone(),
            js: js.clone(),
            streams: self.needs.consumed.clone(),
            retention: options.retention(),
            interval: Duration::from_secs(options.cleanup_seconds),
            shutdown: stop.clone(),
        };
        parts.spawn("retention", async move {
            cleanup.run().await;
            Ok(())
        });
        let storage = StorageWatch {
            db: self.db.reader.clone(),
            options: options.storage.clone(),
            health: health.clone(),
            shutdown: stop.clone(),
        };
        parts.spawn("storage", async move {
            storage.run().await;
            Ok(())
        });
        if let Some(stream) = self.needs.read().first() {
            let watch = clock::watch(js.clone(), stream.clone(), health.clone(), stop.clone());
            parts.spawn("clock", async move {
                watch.await;
                Ok(())
            });
        }
    }
}

/// The connection of a service, and the properties of its broker.
struct Broker {
    client: Client,
    js: jetstream::Context,
    durability: Durability,
    limits: Limits,
    /// The age from which the relay marks an outbox row as republished.
    late_after: Duration,
}
