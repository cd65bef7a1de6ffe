//! A service with a projection that the shop does not have. It counts the events of each order, so that a skipped event
//! and a repeated one show.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use choreography::database::Databases;
use choreography::declaration::ProjectionSpec;
use choreography::migration::LibraryAndProjections;
use choreography::{Declaration, Envelope, HandleError, Projection, Service, ServiceOptions, setting, statement};
use contracts::declaration::{EVENT_STORES, OrderChange};
use contracts::topology::streams;
use sea_orm::DatabaseTransaction;
use tokio_util::sync::CancellationToken;

/// The name of the service, of its user, and of the hidden subcommand.
pub const SERVICE: &str = "recount-service";
/// The name of the projection.
pub const NAME: &str = "order-counts";

/// The projection: per order, the number of applied events and the last version.
struct Counts<const VERSION: u32>;

impl<const V: u32> Projection for Counts<V> {
    const NAME: &'static str = NAME;
    const VERSION: u32 = V;
    const TABLES: &'static [&'static str] = if V == 1 { &["order_counts_v1"] } else { &["order_counts_v2"] };
    const SCHEMA: &'static [&'static str] = if V == 1 {
        &[
            "CREATE TABLE order_counts_v1 (order_id text PRIMARY KEY, events bigint NOT NULL, version bigint NOT NULL)",
        ]
    } else {
        &[
            "CREATE TABLE order_counts_v2 (order_id text PRIMARY KEY, events bigint NOT NULL, version bigint NOT NULL)",
        ]
    };
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = OrderChange;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<OrderChange>]) -> Result<(), HandleError> {
        let mut counts = BTreeMap::<&str, (i64, i64)>::new();
        for event in batch {
            let (events, version) = counts.entry(&event.key).or_default();
            (*events, *version) = (*events + 1, event.aggregate_version.unwrap_or_default());
        }
        let table = format!("order_counts_v{V}");
        let mut rows = String::new();
        for row in 0..counts.len() {
            let (comma, first) = (if row == 0 { "" } else { "," }, 3 * row + 1);
            write!(rows, "{comma}(${first},${},${})", first + 1, first + 2)
                .map_err(|error| HandleError::Retry(error.into()))?;
        }
        let sql = format!(
            "INSERT INTO {table} (order_id, events, version) VALUES {rows} ON CONFLICT (order_id) \
             DO UPDATE SET events = {table}.events + excluded.events, version = excluded.version"
        );
        let values =
            counts.into_iter().flat_map(|(id, (events, version))| [id.into(), events.into(), version.into()]);
        Ok(statement::execute(tx, &sql, values).await.map(drop)?)
    }
}

/// Declares the service with these versions of the projection.
#[must_use]
pub fn declaration(versions: &[u32]) -> Declaration {
    versions.iter().fold(Declaration::new(SERVICE), |declaration, version| {
        declaration.projects(ProjectionSpec::new::<OrderChange>(NAME, *version, EVENT_STORES))
    })
}

/// The hidden subcommand `recount-service`.
#[derive(Debug, Clone, clap::Parser)]
pub struct RecountService {
    /// Whether it also has the second version of the projection.
    #[arg(long, env = "SECOND_VERSION", action = clap::ArgAction::Set, value_parser = setting::switch(),
        default_value_t = false)]
    second_version: bool,
    #[command(flatten)]
    service: ServiceOptions,
}

impl RecountService {
    /// Runs the service until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// If the database cannot be opened, or the service fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let db = Databases::open::<LibraryAndProjections>(&self.service.database_url(SERVICE)).await?;
        let versions: &[u32] = if self.second_version { &[1, 2] } else { &[1] };
        let builder = Service::builder(declaration(versions)).topology(streams()?).projection(Counts::<1>);
        let builder = if self.second_version { builder.projection(Counts::<2>) } else { builder };
        builder.database(db).build()?.run(&self.service, shutdown).await
    }
}
