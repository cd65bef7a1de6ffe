//! The projections of a service, as parts of it.

use std::pin::Pin;

use async_nats::{Client, jetstream};
use tokio_util::sync::CancellationToken;

use crate::inbound::policies::Policies;
use crate::projection::Projection;
use crate::projection::definition::Definition;
use crate::projection::follow::Feed;
use crate::projection::runner::Runner;
use crate::projection::source::Source;
use crate::state::database::Databases;
use crate::telemetry::health::Health;

/// What a projection needs to run.
pub(crate) struct Environment {
    pub(crate) db: Databases,
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    pub(crate) stream: String,
    pub(crate) policies: Policies,
    pub(crate) max_attempts: u64,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A projection that runs in an environment.
pub(crate) struct Projecting {
    pub(crate) definition: Definition,
    pub(crate) run: Box<dyn FnOnce(Environment) -> Running + Send>,
}

impl Projecting {
    pub(crate) fn of<P: Projection>(projection: P) -> Self {
        let run = |environment| -> Running { Box::pin(runner(projection, environment).run()) };
        Self { definition: Definition::of::<P>(), run: Box::new(run) }
    }
}

fn runner<P: Projection>(projection: P, environment: Environment) -> Runner<P> {
    let Environment { db, client, js, stream, policies, max_attempts, health, shutdown } = environment;
    let spec = crate::projection::spec::<P>();
    let filters = spec.filters();
    let feed = Feed { js, stream, consumer: spec.consumer, filters, pull: policies.pull };
    let source = Source { client: Some(client), contexts: P::EVENT_STORES };
    Runner { projection, db: db.writer, feed, source, policies, max_attempts, health, shutdown }
}
