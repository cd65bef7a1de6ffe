//! The gateway: REST in, commands out; queries back. It decides nothing.

use choreography::{Messages as _, Publish, Running, clock};
use choreography_http::body::Body;
use choreography_http::code::Code;
use choreography_http::commands::Request;
use choreography_http::form::{Fields, Form, json as read, list};
pub use choreography_http::gateway::Settings;
use choreography_http::gateway::{Gateway, Parts};
use choreography_http::idempotency::{IdempotencyKey, Operation, derived_id};
use choreography_http::json::JsonOf;
use choreography_http::parameter::{Header, Id, Path, Prefer, Query, Time, Version, point};
use choreography_http::problem::{Failure, FieldError, Problem, Vocabulary, internal};
use choreography_http::queries::decode;
use choreography_http::sending::send;
use choreography_http::streams::Capacity;
use choreography_http::waiter::{Signal, message_type};
use choreography_http::{failures, replies};
use poem::http::StatusCode;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, OpenApi, OpenApiService};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::declaration::{GATEWAY, PROJECTION_SERVICE, topology};
use crate::messages::*;
use crate::projection::row;
use crate::reservation::DayView;
use crate::text::{DateText, DayId, GuestId, ReservationId, RestaurantId, Sitting};

const NO_DAY: Code =
    Code::new("day-not-found", StatusCode::NOT_FOUND, "No such day", "The day did not exist then.");
const DECLINED: Code = Code::new("declined", StatusCode::CONFLICT, "Declined", "`detail` has the reason.");
const CODES: &[Code] = &[NO_DAY, DECLINED];

/// The maximum number of bytes of events per byte of a message: a request can open a day with 100 tables.
const FOLLOW_UP: u64 = 12;

/// Runs the gateway until `shutdown` is cancelled.
pub fn run(settings: Settings, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        Vocabulary { codes: CODES, members: &[], mask: |text| text }.install();
        let follow_up = |service: &str| if service == PROJECTION_SERVICE { 0 } else { FOLLOW_UP };
        let capacity = Capacity::new(topology()?, follow_up, FOLLOW_UP);
        let gateway = Gateway::connect(GATEWAY, capacity, settings, shutdown).await?;
        let api = OpenApiService::new(Api(gateway.parts()), "Restaurants", env!("CARGO_PKG_VERSION"));
        gateway.serve(api).await
    })
}

#[derive(ApiResponse)]
enum Commanded {
    /// With `Prefer: wait=N`: the reservation after the command.
    #[oai(status = 200)]
    Done(JsonOf<Any<Value>>, #[oai(header = "Preference-Applied")] Option<String>),
    /// The command is stored and will be processed; `Location` shows its outcome.
    #[oai(status = 202)]
    Accepted(JsonOf<Any<Value>>, #[oai(header = "Location")] String),
}

replies! {
    /// The reply of the service.
    Found: Any<Value>;
}

failures! {
    /// The errors of commands.
    CommandFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY, &[DECLINED];
    /// The errors of queries.
    QueryFailures = Code::OF_QUERY, &[NO_DAY];
}

struct Api(Parts);

#[OpenApi]
impl Api {
    /// Create or replace a restaurant
    #[oai(path = "/restaurants/:id", method = "put", operation_id = "putRestaurant")]
    async fn put(
        &self,
        id: Path<Id<RestaurantId>>,
        #[oai(name = "Idempotency-Key")] key: Header<IdempotencyKey>,
        body: Body<RestaurantForm>,
    ) -> Result<Commanded, Failure<CommandFailures>> {
        let Id(id) = id.0;
        let operation = Operation { template: "PUT /restaurants/{id}", id: id.as_ref() };
        let (name, tables, sittings) = body.0;
        let command = PutRestaurant(Restaurant { restaurant_id: id.clone(), name, tables, sittings });
        self.0.commands.send(&command, Request::new(operation, key.0.as_ref())).await?;
        Ok(self.accepted(&id, "/restaurants".to_owned()))
    }

    /// List the restaurants
    #[oai(path = "/restaurants", method = "get", operation_id = "listRestaurants")]
    async fn list(&self) -> Result<Found, Failure<QueryFailures>> {
        let json = self.0.queries.get("catalogue.query.list".to_owned(), Code::ROUTE_NOT_FOUND).await?;
        Ok(Found::Found(JsonOf::relayed(json)))
    }

    /// Get a restaurant's day: its version, tables, sittings, reservations, and waiting list
    ///
    /// With `version` or `at`: the day as it was then.
    #[oai(path = "/restaurants/:id/days/:date", method = "get", operation_id = "getDay")]
    async fn day(
        &self,
        id: Path<Id<RestaurantId>>,
        date: Path<Id<DateText>>,
        version: Query<Version>,
        at: Query<Time>,
    ) -> Result<Found, Failure<QueryFailures>> {
        let subject = format!("reservation.query.get.{}_{}", id.0.0, date.0.0);
        let json = match point(version, at)? {
            None => self.0.queries.get(subject, NO_DAY).await?,
            Some(point) => self.0.queries.get_past(subject, point, NO_DAY).await?,
        };
        Ok(Found::Found(JsonOf::relayed(json)))
    }

    /// Get the occupancy of an evening; by default of today, in UTC
    #[oai(path = "/restaurants/:id/tonight", method = "get", operation_id = "getTonight")]
    async fn tonight(
        &self,
        id: Path<Id<RestaurantId>>,
        date: Query<Id<DateText>>,
    ) -> Result<Found, Failure<QueryFailures>> {
        let date = date.0.map_or_else(|| clock::now().date().to_string(), |Id(date)| date.to_string());
        let json = self.0.queries.get(format!("projection.query.tonight.{}_{date}", id.0.0), NO_DAY).await?;
        Ok(Found::Found(JsonOf::relayed(json)))
    }

    /// Get the reservations of a guest, the latest date first, at most 500
    #[oai(path = "/guests/:id/reservations", method = "get", operation_id = "getReservations")]
    async fn guest(&self, id: Path<Id<GuestId>>) -> Result<Found, Failure<QueryFailures>> {
        let json = self.0.queries.get(format!("projection.query.guest.{}", id.0.0), Code::ROUTE_NOT_FOUND).await?;
        Ok(Found::Found(JsonOf::relayed(json)))
    }

    /// Reserve a table
    ///
    /// The table is held until the reservation is confirmed, or the deadline passes. Without a free table the reservation
    /// is on the waiting list.
    #[oai(path = "/reservations", method = "post", operation_id = "requestReservation")]
    async fn request(
        &self,
        #[oai(name = "Idempotency-Key")] key: Header<IdempotencyKey>,
        #[oai(name = "Prefer")] prefer: Header<Prefer>,
        body: Body<RequestForm>,
    ) -> Result<Commanded, Failure<CommandFailures>> {
        let new_id = || match &key.0 {
            Some(key) => derived_id(&["reservation by key", key.as_str()]),
            None => Uuid::now_v7(),
        };
        let command = command(body.0, new_id)?;
        let RequestReservation { day, booking } = &command;
        let request = Request::new(Operation { template: "POST /reservations", id: "" }, key.0.as_ref());
        let is_done = |known: &Reservation| known.booking == *booking;
        Ok(self.command((&command, request), prefer.0, (day, &booking.reservation_id), is_done).await?)
    }

    /// `confirm` a reservation whose table is held, `cancel` it, or record the `no-show` of a confirmed one
    #[oai(path = "/reservations/:day/:id/:action", method = "post", operation_id = "changeReservation")]
    async fn change(
        &self,
        day: Path<Id<DayId>>,
        id: Path<Id<ReservationId>>,
        action: Path<Id<String>>,
        #[oai(name = "Idempotency-Key")] key: Header<IdempotencyKey>,
        #[oai(name = "Prefer")] prefer: Header<Prefer>,
    ) -> Result<Commanded, Failure<CommandFailures>> {
        use ReservationMessage as M;
        let about @ (of, id) = (&day.0.0, &id.0.0);
        let (day, reservation_id) = (of.clone(), id.clone());
        let (command, status) = match action.0.0.as_str() {
            "confirm" => (M::Confirm(ConfirmReservation { day, reservation_id }), Status::Confirmed),
            "cancel" => (M::Cancel(CancelReservation { day, reservation_id }), Status::Cancelled),
            "no-show" => (M::NoShow(RecordNoShow { day, reservation_id }), Status::NoShow),
            _ => return Err(Problem::new(Code::ROUTE_NOT_FOUND).into()),
        };
        let path = format!("{of}/{id}/{status}");
        let operation = Operation { template: "POST /reservations/{day}/{id}/{action}", id: &path };
        let is_done = |known: &Reservation| known.status == status;
        Ok(self.command((&command, Request::new(operation, key.0.as_ref())), prefer.0, about, is_done).await?)
    }
}

impl Api {
    fn accepted(&self, id: &impl ToString, location: String) -> Commanded {
        let accepted = json!({ "id": id.to_string(), "durability": self.0.commands.durability() });
        Commanded::Accepted(JsonOf::written(&Any(accepted)), location)
    }

    /// Publishes a command about a reservation, and waits for its outcome if the request prefers that.
    async fn command(
        &self,
        command: (&impl Publish, Request<'_>),
        prefer: Option<Prefer>,
        (day, id): (&DayId, &ReservationId),
        is_done: impl Fn(&Reservation) -> bool + Sync,
    ) -> Result<Commanded, Problem> {
        let poll = || async {
            let json = self.0.queries.get(format!("reservation.query.get.{day}"), NO_DAY).await.ok()?;
            let view: DayView = decode(&json).ok()?;
            let known = view.state.reservations.get(id).filter(|known| is_done(known))?;
            Some(JsonOf::serialized(&row(day, known)))
        };
        let events = (prefer, format!("reservation.event.*.{day}"));
        let sent = send((&*self.0.commands, &self.0.waiters), command, events, judge, poll).await?;
        match sent.outcome.transpose()? {
            Some(json) => Ok(Commanded::Done(json, prefer.and_then(Prefer::applied))),
            None => Ok(self.accepted(id, format!("/restaurants/{}/days/{}", day.parts().0, day.parts().1))),
        }
    }
}

/// Evaluates an event of a command: a refusal is its outcome; after another one the day shows it.
fn judge(event: &async_nats::Message) -> Signal<Result<JsonOf<Any<Value>>, Problem>> {
    match message_type(event).map(|message_type| ReservationEvent::decode(message_type, &event.payload)) {
        Some(Ok(ReservationEvent::Declined(event))) => {
            Signal::Outcome(Err(Problem::with_detail(DECLINED, event.reason)))
        }
        _ => Signal::Poll,
    }
}

/// A restaurant, without its id.
enum RestaurantForm {}

impl Form for RestaurantForm {
    type Value = (String, Vec<Table>, Vec<Sitting>);
    const NAME: &'static str = "PutRestaurant";
    const ABOUT: &'static str = "A restaurant: its tables, and when its sittings begin.";

    fn read(fields: &mut Fields<'_>) -> Option<Self::Value> {
        let name = fields.required("name", read::<String, _>(), "The name.");
        let tables = fields.required(
            "tables",
            list::<Any<Value>, _>(1..=100),
            "At most 100 tables, each with its `tableId` and `seats`.",
        );
        let about =
            "The beginnings of at most 24 sittings, such as `19:00`. A party has its table for one sitting.";
        let sittings = fields.required("sittings", list::<String, _>(1..=24), about);
        Some((name?, tables?, sittings?))
    }
}

/// A request for a table.
enum RequestForm {}

impl Form for RequestForm {
    type Value = (Option<ReservationId>, RestaurantId, DateText, GuestId, Sitting, u32);
    const NAME: &'static str = "RequestReservation";
    const ABOUT: &'static str = "A request for a table.";

    fn read(fields: &mut Fields<'_>) -> Option<Self::Value> {
        let about = "The id of the reservation, chosen by the client. Without one it is derived from the \
                     `Idempotency-Key`; without a key, too, each request is a new reservation.";
        let reservation_id = fields.optional("reservationId", read::<String, _>(), about);
        let restaurant_id = fields.required("restaurantId", read::<String, _>(), "The restaurant.");
        let date = fields.required("date", read::<String, _>(), "The date, such as `2026-12-24`.");
        let guest_id = fields.required("guestId", read::<String, _>(), "The guest.");
        let sitting =
            fields.required("sitting", read::<String, _>(), "The beginning of the sitting, such as `19:00`.");
        let party = fields.required("party", read::<u32, _>(), "The number of persons.");
        Some((reservation_id?, restaurant_id?, date?, guest_id?, sitting?, party?))
    }
}

/// Returns the command of a request; a reservation without an id gets the new one.
fn command(
    (reservation_id, restaurant_id, date, guest_id, sitting, party): <RequestForm as Form>::Value,
    new_id: impl FnOnce() -> Uuid,
) -> Result<RequestReservation, Problem> {
    let reservation_id = reservation_id.map_or_else(|| ReservationId::try_from(new_id().to_string()), Ok);
    let reservation_id = reservation_id.map_err(|why| internal(&why, "a UUID is not a valid id"))?;
    let invalid = |why| Problem::with_errors(Code::VALIDATION, vec![FieldError::pointer("/restaurantId", why)]);
    let day = DayId::try_from(format!("{restaurant_id}_{date}")).map_err(invalid)?;
    Ok(RequestReservation { day, booking: Booking { reservation_id, guest_id, sitting, party } })
}
