//! `GET /metrics` of a service: reads the database and the broker, then writes the metrics of the process.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use poem::web::Data;
use poem::{EndpointExt, Response, Route, get, handler};
use sea_orm::DatabaseConnection;

use crate::broker::clock;
use crate::outbound::outbox_pending;
use crate::telemetry::metrics::{Gauges, LIBRARY_METRICS, exposition, figure, gauges};
use crate::wire::envelope::unix_millis;

/// How long a scrape waits for the database, and for the broker.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics that a scrape sets.
struct ScrapeMetrics {
    outbox_rows: Gauges,
    outbox_oldest: Gauges,
    unpublishable: Gauges,
    pending: Gauges,
    unacknowledged: Gauges,
}

static SCRAPE_METRICS: LazyLock<ScrapeMetrics> = LazyLock::new(|| ScrapeMetrics {
    outbox_rows: gauges("messaging_outbox_pending_messages", "Outbox messages that no stream has acknowledged"),
    outbox_oldest: gauges(
        "messaging_outbox_oldest_pending_seconds",
        "Age of the oldest outbox message that no stream has acknowledged",
    ),
    unpublishable: gauges(
        "messaging_outbox_unpublishable_messages",
        "Outbox messages that their stream can never store",
    ),
    pending: gauges("messaging_consumer_pending", "Messages in the stream that were not delivered yet"),
    unacknowledged: gauges("messaging_consumer_ack_pending", "Messages delivered and not acknowledged"),
});

/// The sources of the values that a scrape reads.
#[derive(Clone)]
pub(crate) struct Scrape {
    pub(crate) db: DatabaseConnection,
    pub(crate) js: jetstream::Context,
    pub(crate) consumer: &'static str,
    pub(crate) streams: Arc<[String]>,
}

impl Scrape {
    /// Adds `GET /metrics` to routes.
    pub(crate) fn add_to(self, routes: Route) -> Route {
        routes.at("/metrics", get(of_service).data(Arc::new(self)))
    }

    /// Reads the database and the broker, and sets the gauges.
    async fn collect(&self) {
        let streams = self.streams.iter().map(|stream| self.collect_stream(stream));
        futures::future::join(self.collect_outbox(), futures::future::join_all(streams)).await;
    }

    async fn collect_outbox(&self) {
        let depth = async {
            let rows = outbox_pending::depth(&self.db).await?;
            let oldest = outbox_pending::oldest(&self.db).await?;
            Ok::<_, sea_orm::DbErr>((rows, oldest, outbox_pending::unpublishable(&self.db).await?))
        };
        let (rows, age, unpublishable) = match tokio::time::timeout(SCRAPE_TIMEOUT, depth).await {
            Ok(Ok((rows, oldest, unpublishable))) => {
                let now = unix_millis(clock::now());
                (
                    figure(rows),
                    oldest.map_or(0.0, |oldest| figure(now.saturating_sub(oldest).max(0).unsigned_abs()) / 1e3),
                    figure(unpublishable),
                )
            }
            _ => (f64::NAN, f64::NAN, f64::NAN),
        };
        SCRAPE_METRICS.unpublishable.get_or_create(&Vec::new()).set(unpublishable);
        SCRAPE_METRICS.outbox_rows.get_or_create(&Vec::new()).set(rows);
        SCRAPE_METRICS.outbox_oldest.get_or_create(&Vec::new()).set(age);
    }

    async fn collect_stream(&self, stream: &str) {
        let info = async {
            let mut consumer: PullConsumer =
                self.js.get_consumer_from_stream(self.consumer, stream).await.map_err(anyhow::Error::from)?;
            let info = consumer.info().await?;
            anyhow::Ok((info.num_pending, info.num_ack_pending))
        };
        let (pending, unacknowledged) = match tokio::time::timeout(SCRAPE_TIMEOUT, info).await {
            Ok(Ok((pending, unacknowledged))) => (figure(pending), figure(unacknowledged as u64)),
            _ => (f64::NAN, f64::NAN),
        };
        let labels = vec![("stream", stream.to_owned())];
        SCRAPE_METRICS.pending.get_or_create(&labels).set(pending);
        SCRAPE_METRICS.unacknowledged.get_or_create(&labels).set(unacknowledged);
    }
}

/// Serves `GET /metrics` of a service.
#[handler]
async fn of_service(Data(scrape): Data<&Arc<Scrape>>) -> Response {
    LazyLock::force(&LIBRARY_METRICS);
    scrape.collect().await;
    exposition()
}
