//! reservation-service: reservations, event-sourced by restaurant and date, with a copy of the catalogue.
//!
//! [`day`] is the state, [`decide`] the rules. The handler adds the restaurants of a batch to the rules.

pub mod day;
pub mod decide;

use std::time::Duration;

use choreography::database::Databases;
use choreography::documents::{self, Documents};
use choreography::query::{Endpoint, Query, QueryError};
use choreography::time_travel::{Point, past, present};
use choreography::{
    Envelope, EventSourced, HandleError, Handler, Outgoing, Running, Service, history, migration, setting,
};
use sea_orm::{DatabaseConnection, DatabaseTransaction};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::declaration::{RESERVATION_SERVICE, reservation_service};
use crate::messages::{ReservationMessage, Restaurant};
use crate::text::DayId;
use day::Day;
use decide::Rules;

/// The options of the service.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long a table is held for a guest who has not confirmed, in seconds. At most the maximum age of the stream
    /// TIMERS, less one hour.
    #[arg(long, env = "CONFIRM_WITHIN_SECONDS", default_value_t = 900, value_parser = setting::seconds())]
    pub confirm_within_seconds: u64,
    /// The options of each service.
    #[command(flatten)]
    pub common: crate::ServiceConfig,
}

/// The library's tables; the copy of the catalogue are documents.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        [migration::library(), migration::event_store(), migration::documents()].into_iter().flatten().collect()
    }
}

/// Handles batches of messages.
#[derive(Debug, Clone, Copy)]
pub struct Reservations {
    /// How long a table is held for a guest who has not confirmed.
    pub confirm_within: Duration,
}

impl Handler for Reservations {
    type Message = ReservationMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<ReservationMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        use ReservationMessage::{Request, RestaurantChanged};
        let is_copied = |message: &&Envelope<_>| matches!(message.payload, RestaurantChanged(_));
        let (copied, about_days): (Vec<_>, Vec<_>) = batch.iter().copied().partition(is_copied);
        let mut copies = Documents::load(tx, copied.iter().map(|message| message.key.clone())).await?;
        for message in copied {
            if let RestaurantChanged(event) = &message.payload {
                copies.copy(&message.key, event.version, &event.restaurant);
            }
        }
        copies.save(tx).await?;
        let requested = about_days.iter().filter_map(|message| match &message.payload {
            Request(command) => Some(command.day.parts().0.to_owned()),
            _ => None,
        });
        let restaurants = documents::find(tx, requested).await?;
        EventSourced(Rules { confirm_within: self.confirm_within, restaurants }).handle(tx, &about_days).await
    }
}

/// A restaurant's day after a number of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DayView {
    pub day: DayId,
    pub version: i64,
    #[serde(flatten)]
    pub state: Day,
}

/// The query `reservation.query.get.<day>`: a day, or as it was at a [`Point`] of its history. A day without reservations
/// has the tables and sittings of its restaurant, and version 0.
pub async fn get(db: DatabaseConnection, query: Query) -> Result<DayView, QueryError> {
    let point = Point::of(&query)?;
    let day = DayId::try_from(query.key).map_err(|why| QueryError::Invalid(format!("the day {why}")))?;
    // They replay, and decide nothing.
    let rules = Rules::default();
    if let Some(point) = point {
        let past = past(&rules, &db, day.as_ref(), point).await?;
        let past = past.ok_or_else(|| QueryError::NotFound(format!("{day} had no reservation {point}")))?;
        return Ok(DayView { day, version: past.version(), state: past.state });
    }
    if let Some(present) = present(&rules, &db, day.as_ref()).await? {
        return Ok(DayView { day, version: present.version, state: present.state });
    }
    let restaurant = documents::find(&db, [day.parts().0.to_owned()]).await?.into_values().next();
    let missing = || QueryError::NotFound(format!("there is no restaurant {}", day.parts().0));
    let Restaurant { tables, sittings, .. } = restaurant.ok_or_else(missing)?;
    Ok(DayView { day, version: 0, state: Day { tables, sittings, ..Day::default() } })
}

/// Runs the service until `shutdown` is cancelled.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<Migrator>(&config.common.service.database_url(RESERVATION_SERVICE)).await?;
        let (reader, confirm_within) = (db.reader.clone(), Duration::from_secs(config.confirm_within_seconds));
        let queries = Endpoint::new("get", "reservation.query.get.*", move |query| get(reader.clone(), query));
        let service = Service::builder(reservation_service())
            .description("Reservations of tables")
            .longest_deadline(confirm_within)
            .handler(Reservations { confirm_within })
            .queries([queries, history::endpoint("reservation", &db.reader)]);
        config.common.run(service, db, shutdown).await
    })
}
