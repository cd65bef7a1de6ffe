//! projection-service: the read models of guests and owners. They can be built again at any time.

use choreography::database::Databases;
use choreography::envelope::rfc3339;
use choreography::migration::LibraryAndProjections;
use choreography::projection::as_of;
use choreography::query::{Endpoint, Query, QueryError};
use choreography::{Envelope, HandleError, Projection, Running, Service, Tracked, statement};
use sea_orm::{ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel};
use sea_orm::{QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ServiceConfig;
use crate::declaration::{EVENT_STORES, MY_RESERVATIONS, OCCUPANCY, PROJECTION_SERVICE, projection_service};
use crate::messages::{Booking, DayOpened, Reservation, ReservationEvent as E, Status};
use crate::text::{DayId, Sitting};

/// The table `my_reservations_v1`, whose rows are what the gateway returns.
#[allow(missing_docs, reason = "the names of the columns say it")]
pub mod my_reservations {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, super::Serialize)]
    #[sea_orm(table_name = "my_reservations_v1")]
    #[serde(rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub reservation_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub day: String,
        pub date: String,
        pub guest_id: String,
        pub sitting: String,
        pub party: i64,
        pub status: String,
        pub table_id: Option<String>,
        pub confirm_by: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `occupancy_v1`, whose rows are what the gateway returns.
#[allow(missing_docs, reason = "the names of the columns say it")]
pub mod occupancy {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel, super::Serialize)]
    #[sea_orm(table_name = "occupancy_v1")]
    #[serde(rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub day: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub sitting: String,
        pub seats: i64,
        pub seats_taken: i64,
        pub waiting: i64,
        pub no_shows: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The projection of reservations with their status.
pub struct MyReservations;

impl Projection for MyReservations {
    const NAME: &'static str = MY_RESERVATIONS.0;
    const VERSION: u32 = MY_RESERVATIONS.1;
    const TABLES: &'static [&'static str] = &["my_reservations_v1"];
    const SCHEMA: &'static [&'static str] = &[
        "CREATE TABLE my_reservations_v1 (reservation_id text NOT NULL, day text NOT NULL, date text NOT NULL, \
         guest_id text NOT NULL, sitting text NOT NULL, party bigint NOT NULL, status text NOT NULL, table_id text, \
         confirm_by text, PRIMARY KEY (reservation_id, day))",
        "CREATE INDEX my_reservations_v1_guest ON my_reservations_v1 (guest_id, date)",
    ];
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = E;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<E>]) -> Result<(), HandleError> {
        use my_reservations::{Column, Entity, Model};
        let changed = batch.iter().filter_map(|event| event.payload.reservation());
        let changed: Vec<Model> = changed.map(|(day, reservation)| row(day, reservation)).collect();
        let ids = statement::distinct(changed.iter().map(|row| row.reservation_id.clone()));
        let rows = statement::select_in::<Entity, _>(tx, Column::ReservationId, &ids).await?;
        let key = |row: &Model| (row.reservation_id.clone(), row.day.clone());
        let mut found: Tracked<_, _> = rows.into_iter().map(|row| (key(&row), row)).collect();
        for row in changed {
            found.insert(key(&row), row);
        }
        Ok(found.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await?)
    }
}

/// Returns the row of a reservation.
pub(crate) fn row(day: &DayId, reservation: &Reservation) -> my_reservations::Model {
    let booking = &reservation.booking;
    my_reservations::Model {
        reservation_id: booking.reservation_id.to_string(),
        day: day.to_string(),
        date: day.parts().1.to_owned(),
        guest_id: booking.guest_id.to_string(),
        sitting: booking.sitting.to_string(),
        party: booking.party.into(),
        status: reservation.status.to_string(),
        table_id: reservation.table().map(ToString::to_string),
        confirm_by: reservation.confirm_by.map(rfc3339),
    }
}

/// The projection of the occupancy of sittings.
pub struct Occupancy;

impl Projection for Occupancy {
    const NAME: &'static str = OCCUPANCY.0;
    const VERSION: u32 = OCCUPANCY.1;
    const TABLES: &'static [&'static str] = &["occupancy_v1"];
    const SCHEMA: &'static [&'static str] =
        &["CREATE TABLE occupancy_v1 (day text NOT NULL, sitting text NOT NULL, \
         seats bigint NOT NULL, seats_taken bigint NOT NULL, waiting bigint NOT NULL, no_shows bigint NOT NULL, \
         PRIMARY KEY (day, sitting))"];
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = E;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<E>]) -> Result<(), HandleError> {
        let days = statement::distinct(batch.iter().map(|event| event.key.clone()));
        let rows = statement::select_in::<occupancy::Entity, _>(tx, occupancy::Column::Day, &days).await?;
        let key = |row: &occupancy::Model| (row.day.clone(), row.sitting.clone());
        let mut sittings: Tracked<_, _> = rows.into_iter().map(|row| (key(&row), row)).collect();
        for event in batch {
            if let E::Opened(opened) = &event.payload {
                opened
                    .sittings
                    .iter()
                    .map(|sitting| opening(opened, sitting))
                    .for_each(|row| sittings.insert(key(&row), row));
            }
            let Some((day, reservation)) = event.payload.reservation() else { continue };
            let Booking { sitting, party, .. } = &reservation.booking;
            let missing = || HandleError::Reject(format!("{day} has no sitting {sitting}"));
            let row = sittings.get_mut(&(day.to_string(), sitting.to_string())).ok_or_else(missing)?;
            let (taken, waiting) = change(&event.payload, reservation);
            row.seats_taken += taken * i64::from(*party);
            row.waiting += waiting;
            row.no_shows += i64::from(reservation.status == Status::NoShow);
        }
        Ok(sittings.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await?)
    }
}

/// Returns the row of a sitting without reservations.
fn opening(event: &DayOpened, sitting: &Sitting) -> occupancy::Model {
    let seats = event.tables.iter().map(|table| i64::from(table.seats)).sum();
    occupancy::Model { day: event.day.to_string(), sitting: sitting.to_string(), seats, ..Default::default() }
}

/// Returns by how much an event changes the numbers of taken tables and of waiting parties.
fn change(event: &E, reservation: &Reservation) -> (i64, i64) {
    match (reservation.status, event, &reservation.table_id) {
        (_, E::MovedUp(_), _) => (1, -1),
        (Status::Held, ..) => (1, 0),
        (Status::Confirmed, ..) => (0, 0),
        (Status::Waiting, ..) => (0, 1),
        (Status::Cancelled, _, None) => (0, -1),
        (Status::Cancelled | Status::Expired | Status::NoShow, ..) => (-1, 0),
    }
}

/// The query `projection.query.guest.<guest>`.
async fn guest(db: DatabaseConnection, query: Query) -> Result<Value, QueryError> {
    use my_reservations::{Column, Entity};
    let as_of = as_of(&db, MY_RESERVATIONS.0).await?;
    let select = Entity::find().filter(Column::GuestId.eq(query.key)).limit(500);
    let items = select.order_by_desc(Column::Date).order_by_asc(Column::ReservationId).all(&db).await?;
    Ok(json!({ "items": items, "asOf": as_of }))
}

/// The query `projection.query.tonight.<day>`.
async fn tonight(db: DatabaseConnection, query: Query) -> Result<Value, QueryError> {
    use occupancy::{Column, Entity};
    let as_of = as_of(&db, OCCUPANCY.0).await?;
    let sittings = Entity::find().filter(Column::Day.eq(query.key)).order_by_asc(Column::Sitting).all(&db).await?;
    Ok(json!({ "sittings": sittings, "asOf": as_of }))
}

/// Runs the service until `shutdown` is cancelled.
pub fn run(config: ServiceConfig, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let url = config.service.database_url(PROJECTION_SERVICE);
        let db = Databases::open::<LibraryAndProjections>(&url).await?;
        let (reader, other) = (db.reader.clone(), db.reader.clone());
        let guests = Endpoint::new("guest", "projection.query.guest.*", move |query| guest(reader.clone(), query));
        let evenings =
            Endpoint::new("tonight", "projection.query.tonight.*", move |query| tonight(other.clone(), query));
        let service = Service::builder(projection_service())
            .description("Read models: the reservations of guests, the occupancy of sittings")
            .projection(MyReservations)
            .projection(Occupancy)
            .queries([guests, evenings]);
        config.run(service, db, shutdown).await
    })
}
