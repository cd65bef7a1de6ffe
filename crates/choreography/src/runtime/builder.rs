//! The builder of a service: its declaration and its parts, checked against the topology.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::declaration::{Declaration, DeclarationError};
use crate::broker::topology::Topology;
use crate::inbound::handler::Handler;
use crate::inbound::policies::{Policies, PolicyError};
use crate::inbound::query::Endpoint;
use crate::outbound::relay_handle::Outbox;
use crate::projection::{self, Projection};
use crate::runtime::needs::StreamNeeds;
use crate::runtime::projecting::Projecting;
use crate::runtime::service::{Frame, Service, Worker};
use crate::runtime::web::Web;
use crate::state::database::Databases;
use crate::wire::message::{MessageInfo, Messages};

/// Why a service cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A required part is missing.
    #[error("{service} has no {part}: call `.{call}(…)` before `.build()`")]
    Missing {
        /// The service.
        service: &'static str,
        /// The missing part.
        part: &'static str,
        /// The method that sets it.
        call: &'static str,
    },
    /// The declaration does not match the topology or the handler.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// A policy is outside of its range.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Builds a [`Service`]. The topology, the database, and a handler or a projection are required.
pub struct ServiceBuilder<H> {
    declaration: Declaration,
    is_declared: bool,
    topology: Option<Topology>,
    database: Option<Databases>,
    description: Cow<'static, str>,
    version: Cow<'static, str>,
    longest_deadline: Option<Duration>,
    policies: Policies,
    handler: H,
    endpoints: Vec<Endpoint>,
    workers: Vec<Worker>,
    projections: Vec<Projecting>,
    web: Web,
}

impl Service<()> {
    /// Begins a service with its name: that of its user, its durable consumers, its queries, and the source of its
    /// messages. Or with its [`Declaration`], for programs that need that without running the service.
    pub fn builder(declaration: impl Into<Declaration>) -> ServiceBuilder<()> {
        ServiceBuilder {
            declaration: declaration.into(),
            is_declared: false,
            topology: None,
            database: None,
            description: Cow::default(),
            version: Cow::Borrowed("0.1.0"),
            longest_deadline: None,
            policies: Policies::default(),
            handler: (),
            endpoints: Vec::new(),
            workers: Vec::new(),
            projections: Vec::new(),
            web: Web::default(),
        }
    }
}

impl From<&'static str> for Declaration {
    fn from(service: &'static str) -> Self {
        Self::new(service)
    }
}

impl ServiceBuilder<()> {
    /// Sets the handler. Its messages are those that the service consumes.
    #[must_use]
    pub fn handler<H: Handler>(self, handler: H) -> ServiceBuilder<H> {
        let is_declared = !self.declaration.consumed().is_empty();
        let declaration = if is_declared { self.declaration } else { self.declaration.consumes::<H::Message>() };
        ServiceBuilder {
            declaration,
            is_declared,
            topology: self.topology,
            database: self.database,
            description: self.description,
            version: self.version,
            longest_deadline: self.longest_deadline,
            policies: self.policies,
            handler,
            endpoints: self.endpoints,
            workers: self.workers,
            projections: self.projections,
            web: self.web,
        }
    }
}

impl<H> ServiceBuilder<H> {
    /// Adds messages that the service publishes.
    #[must_use]
    pub fn publishes<M: Messages>(mut self) -> Self {
        self.declaration = self.declaration.publishes::<M>();
        self
    }

    /// Sets the topology: its streams must store every consumed and published message, and dead letters.
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = Some(topology);
        self
    }

    /// Sets the database, with all migrations applied.
    #[must_use]
    pub fn database(mut self, database: Databases) -> Self {
        self.database = Some(database);
        self
    }

    /// Sets the description, for `nats service ls`.
    #[must_use]
    pub fn description(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the version, for `nats service ls`: a semantic version, such as that of the crate.
    #[must_use]
    pub fn version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the longest delay of the deadlines that the service schedules. Their stream must keep them that long.
    #[must_use]
    pub fn longest_deadline(mut self, longest: Duration) -> Self {
        self.longest_deadline = Some(longest);
        self
    }

    /// Sets the policies.
    #[must_use]
    pub fn policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// Adds queries that the service replies to.
    #[must_use]
    pub fn queries(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.endpoints.extend(endpoints);
        self
    }

    /// Adds a background task, such as calling a third party or sending mail. It is spawned at the start, publishes
    /// through the [`Outbox`], and ends when the token is cancelled. It finds unfinished work again at the next start.
    #[must_use]
    pub fn worker<W, F>(mut self, worker: W) -> Self
    where
        W: FnOnce(Outbox, CancellationToken) -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.workers.push(Box::new(|outbox, stop| Box::pin(worker(outbox, stop))));
        self
    }

    /// Adds a [projection](crate::projection). Without a handler, the service has projections only.
    #[must_use]
    pub fn projection<P: Projection>(mut self, projection: P) -> Self {
        self.declaration = self.declaration.projects(projection::spec::<P>());
        self.projections.push(Projecting::of(projection));
        self
    }

    /// Serves `/liveness`, `/readiness`, and `/metrics` on an address. Without an address the service serves no HTTP.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(mut self, address: std::net::SocketAddr) -> Self {
        self.web.address = Some(address);
        self
    }

    /// Sets further HTTP routes, besides the probes and metrics. They are served only with an address: [`Self::http`].
    #[cfg(feature = "http")]
    #[must_use]
    pub fn routes(mut self, routes: poem::Route) -> Self {
        self.web.routes = routes;
        self
    }

    /// Returns the declaration so far.
    #[must_use]
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }
}

impl<H: Handler> ServiceBuilder<H> {
    /// Checks the parts against each other, and returns the service.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a required part is missing, no stream stores a message, a published message has another producer,
    /// or a policy is outside of its range.
    pub fn build(self) -> Result<Service<H>, BuildError> {
        let service = self.declaration.service();
        let missing = |part, call| BuildError::Missing { service, part, call };
        let topology = self.topology.ok_or_else(|| missing("topology", "topology"))?;
        let db = self.database.ok_or_else(|| missing("database", "database"))?;
        if self.is_declared {
            check_handled(&self.declaration, H::Message::MESSAGES)?;
        }
        if H::Message::MESSAGES.is_empty() && self.projections.is_empty() {
            return Err(missing("handler", "handler"));
        }
        self.policies.check()?;
        let projections = with_streams(self.projections, &self.declaration, &topology)?;
        let consumers = self.declaration.check(&topology)?;
        let published = self.declaration.published_streams(&topology)?;
        let frame = Frame {
            name: service,
            description: self.description,
            version: self.version,
            needs: StreamNeeds {
                consumed: consumers.into_iter().map(|consumer| consumer.stream).collect(),
                projected: projections.iter().map(|(_, stream)| stream.clone()).collect(),
                published: published.into_iter().map(|(stream, subjects)| (stream.to_owned(), subjects)).collect(),
                longest_deadline: self.longest_deadline,
            },
            policies: self.policies,
            db,
            endpoints: self.endpoints,
            workers: self.workers,
            projections,
            #[cfg(feature = "http")]
            web: self.web,
        };
        Ok(Service { handler: Arc::new(self.handler), frame })
    }
}

/// Returns projections with the streams that they read.
fn with_streams(
    projections: Vec<Projecting>,
    declaration: &Declaration,
    topology: &Topology,
) -> Result<Vec<(Projecting, String)>, DeclarationError> {
    let mut with_streams = Vec::with_capacity(projections.len());
    for projecting in projections {
        let consumer = projecting.definition.id();
        let declared = declaration.projections().iter().find(|spec| spec.consumer == consumer);
        if let Some(spec) = declared {
            with_streams.push((projecting, declaration.projection_stream(spec, topology)?));
        }
    }
    Ok(with_streams)
}

/// Refuses a handler of other messages than the declared ones.
fn check_handled(declaration: &Declaration, handled: &[MessageInfo]) -> Result<(), DeclarationError> {
    let types = |infos: &[MessageInfo]| infos.iter().map(|info| info.message_type).collect::<BTreeSet<_>>();
    let (declared, handled) = (types(declaration.consumed()), types(handled));
    if declared == handled {
        return Ok(());
    }
    let text = |types: BTreeSet<&str>| types.into_iter().collect::<Vec<_>>().join(", ");
    Err(DeclarationError::Handler {
        service: declaration.service(),
        handled: text(handled),
        declared: text(declared),
    })
}
