//! The whole system over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use choreography::database::Databases;
use choreography::durability::DurabilityOptions;
use choreography::event_store::{self, RecordedEvent};
use choreography::listener::HttpOptions;
use choreography::migration::LibraryAndProjections;
use choreography::{Messages, http};
use choreography_test::{Program, ProgramSettings, free_port};
use reqwest::{Client, Method, StatusCode};
use restaurant::declaration::{CATALOGUE_SERVICE, GATEWAY, PROJECTION_SERVICE, RESERVATION_SERVICE};
use restaurant::messages::{ReservationEvent, Status};
use restaurant::projection::{my_reservations, occupancy};
use restaurant::reservation::Migrator;
use restaurant::{catalogue, gateway, projection};
use sea_orm::{DatabaseConnection, EntityTrait};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually};

on_both_databases!(
    guests_reserve_confirm_and_cancel_and_see_days_as_they_were,
    a_table_that_nobody_confirms_goes_from_one_waiting_guest_to_the_next,
    a_killed_service_continues_and_the_projections_equal_a_recount,
);

const DATE: &str = "2030-06-01";

/// The system, except for reservation-service, and a client.
struct System {
    bench: Bench,
    http: Client,
    url: String,
}

impl System {
    async fn start(engine: Engine) -> Self {
        let mut bench = Bench::start(engine).await;
        let config = bench.config(CATALOGUE_SERVICE);
        bench.run(|stop| catalogue::run(config, stop));
        let config = bench.config(PROJECTION_SERVICE);
        bench.run(|stop| projection::run(config, stop));
        let port = free_port();
        let settings = gateway::Settings {
            http_address: format!("127.0.0.1:{port}").parse().unwrap(),
            http: HttpOptions::default(),
            nats: bench.system.nats(GATEWAY),
            durability: DurabilityOptions::default(),
        };
        bench.run(|stop| gateway::run(settings, stop));
        let (http, url) = (http::client(Duration::from_secs(30)).unwrap(), format!("http://127.0.0.1:{port}"));
        Self { bench, http, url }
    }

    /// Creates a restaurant with tables of these seats, and waits until it can be reserved.
    async fn put(&self, id: &str, seats: &[u32]) {
        let table = |(index, seats): (usize, &u32)| json!({"tableId": format!("T{}", index + 1), "seats": seats});
        let tables: Vec<Value> = seats.iter().enumerate().map(table).collect();
        let body = json!({"name": "A restaurant", "tables": tables, "sittings": ["19:00"]});
        eventually("the gateway is ready", || async { self.get("readiness").await.0 == StatusCode::OK }).await;
        assert_eq!(self.send(Method::PUT, &format!("restaurants/{id}"), &body).await.0, StatusCode::ACCEPTED);
        let day = format!("restaurants/{id}/days/{DATE}");
        eventually("the restaurant is known", || async { self.get(&day).await.0 == StatusCode::OK }).await;
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        match self.http.get(format!("{}/{path}", self.url)).send().await {
            Ok(response) => (response.status(), response.json().await.unwrap_or_default()),
            Err(_) => (StatusCode::BAD_GATEWAY, Value::Null),
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/{path}", self.url)).header("Prefer", "wait=20");
        let request = if body.is_null() { request } else { request.json(body) };
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn reserve(&self, restaurant: &str, id: &str, party: u32) -> (StatusCode, Value) {
        let body = json!({
            "reservationId": id, "restaurantId": restaurant, "date": DATE, "sitting": "19:00", "party": party,
            "guestId": format!("GUEST_{id}"),
        });
        self.send(Method::POST, "reservations", &body).await
    }

    async fn change(&self, restaurant: &str, id: &str, action: &str) -> (StatusCode, Value) {
        let path = format!("reservations/{restaurant}_{DATE}/{id}/{action}");
        self.send(Method::POST, &path, &Value::Null).await
    }
}

async fn guests_reserve_confirm_and_cancel_and_see_days_as_they_were(engine: Engine) {
    let mut system = System::start(engine).await;
    system.bench.reservations(3600);
    system.put("OLIVE", &[2]).await;
    let (status, held) = system.reserve("OLIVE", "A", 2).await;
    assert_eq!(
        (status, held["status"].as_str(), held["tableId"].as_str()),
        (StatusCode::OK, Some("held"), Some("T1"))
    );
    // The same request again is the same reservation, and another one with its id is declined.
    assert_eq!(system.reserve("OLIVE", "A", 2).await, (StatusCode::OK, held));
    let (status, problem) = system.reserve("OLIVE", "A", 1).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("declined")), "{problem}");
    assert_eq!(system.reserve("OLIVE", "B", 1).await.1["status"], "waiting");
    assert_eq!(system.change("OLIVE", "A", "confirm").await.1["status"], "confirmed");
    let (status, problem) = system.change("OLIVE", "B", "confirm").await;
    assert_eq!((status, problem["detail"].as_str()), (StatusCode::CONFLICT, Some("the reservation is waiting")));
    assert_eq!(system.change("OLIVE", "A", "eat").await.0, StatusCode::NOT_FOUND);

    let path = format!("restaurants/OLIVE/days/{DATE}");
    let (_, before) = system.get(&path).await;
    assert_eq!((&before["version"], &before["waiting"]), (&json!(4), &json!(["B"])));
    assert_eq!(system.change("OLIVE", "A", "cancel").await.1["status"], "cancelled");
    let (_, after) = system.get(&path).await;
    assert_eq!((&after["version"], &after["waiting"]), (&json!(6), &json!([])));
    assert_eq!(after["reservations"]["B"]["status"], "held");
    assert_eq!(system.get(&format!("{path}?version=4")).await.1, before);
    assert_eq!(system.get(&format!("{path}?version=7")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(system.get(&format!("{path}?at=2020-01-01T00:00:00Z")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(system.get(&format!("{path}?version=1&at=2020-01-01T00:00:00Z")).await.0, StatusCode::BAD_REQUEST);

    let occupied = json!({
        "day": format!("OLIVE_{DATE}"), "sitting": "19:00", "seats": 2, "seatsTaken": 1, "waiting": 0, "noShows": 0,
    });
    eventually("the owner sees it", || async {
        let (_, tonight) = system.get(&format!("restaurants/OLIVE/tonight?date={DATE}")).await;
        tonight["sittings"] == json!([occupied])
    })
    .await;
    eventually("the guest sees it", || async {
        system.get("guests/GUEST_A/reservations").await.1["items"][0]["status"] == "cancelled"
    })
    .await;
    let (status, problem) =
        system.send(Method::POST, "reservations", &json!({"party": "two", "date": "soon"})).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (StatusCode::UNPROCESSABLE_ENTITY, Some(5)));
    system.bench.stop().await;
}

async fn a_table_that_nobody_confirms_goes_from_one_waiting_guest_to_the_next(engine: Engine) {
    let mut system = System::start(engine).await;
    system.bench.reservations(1);
    system.put("OLIVE", &[2]).await;
    // The first may expire before the last one asks, so there is another deadline at each time.
    for id in ["A", "B", "C"] {
        assert_eq!(system.reserve("OLIVE", id, 2).await.0, StatusCode::OK);
    }
    let day = format!("restaurants/OLIVE/days/{DATE}");
    eventually("all have expired", || async {
        let (_, day) = system.get(&day).await;
        ["A", "B", "C"].iter().all(|id| day["reservations"][id]["status"] == "expired")
    })
    .await;
    let versions = system.get(&day).await.1["version"].as_i64().unwrap();
    let holders = (1..=versions).map(|version| format!("{day}?version={version}"));
    let mut held = Vec::new();
    for path in holders {
        let (_, day) = system.get(&path).await;
        let reservations = day["reservations"].as_object().unwrap().clone();
        let now: Vec<String> =
            reservations.into_iter().filter(|(_, known)| known["status"] == "held").map(|(id, _)| id).collect();
        assert!(now.len() <= 1, "{now:?}");
        held.extend(now);
    }
    held.dedup();
    assert_eq!(held, ["A", "B", "C"], "in order");
    assert_eq!(system.get("readiness").await.1["checks"]["loss"], Value::Null, "replaced schedules are no loss");
    system.bench.stop().await;
}

/// Status and table of the reservations; persons at tables, waiting parties, and no-shows of the sittings.
type ReadModels = (BTreeMap<String, (String, Option<String>)>, BTreeMap<String, (i64, i64, i64)>);

/// Recounts the read models from the histories.
fn recounted(histories: impl Iterator<Item = RecordedEvent>) -> ReadModels {
    let (mut reservations, mut sittings) = (BTreeMap::new(), BTreeMap::new());
    let mut last = BTreeMap::new();
    for event in histories {
        let decoded = ReservationEvent::decode(&event.message_type, event.body.as_bytes()).unwrap();
        if let ReservationEvent::Opened(opened) = &decoded {
            sittings.insert(format!("{} 19:00", opened.day), (0, 0, 0));
        }
        if let Some((day, reservation)) = decoded.reservation() {
            let key = format!("{day} {}", reservation.booking.reservation_id);
            last.insert(key.clone(), (day.clone(), reservation.clone()));
            let table = reservation.table().map(ToString::to_string);
            reservations.insert(key, (reservation.status.to_string(), table));
        }
    }
    for (day, reservation) in last.into_values() {
        let (taken, waiting, absent) = sittings.get_mut(&format!("{day} {}", reservation.booking.sitting)).unwrap();
        *taken += if reservation.table().is_some() { i64::from(reservation.booking.party) } else { 0 };
        *waiting += i64::from(reservation.status == Status::Waiting);
        *absent += i64::from(reservation.status == Status::NoShow);
    }
    (reservations, sittings)
}

/// Reads the read models.
async fn projected(db: &DatabaseConnection) -> ReadModels {
    let rows = my_reservations::Entity::find().all(db).await.unwrap_or_default();
    let reservations =
        rows.into_iter().map(|row| (format!("{} {}", row.day, row.reservation_id), (row.status, row.table_id)));
    let rows = occupancy::Entity::find().all(db).await.unwrap_or_default();
    let sittings = rows
        .into_iter()
        .map(|row| (format!("{} {}", row.day, row.sitting), (row.seats_taken, row.waiting, row.no_shows)));
    (reservations.collect(), sittings.collect())
}

async fn a_killed_service_continues_and_the_projections_equal_a_recount(engine: Engine) {
    let system = System::start(engine).await;
    let config = system.bench.config(RESERVATION_SERVICE);
    let (nats, url) = (&config.service.nats, config.service.database_url.clone().unwrap());
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = ProgramSettings {
        name: RESERVATION_SERVICE.to_owned(),
        program: env!("CARGO_BIN_EXE_restaurant").into(),
        arguments: vec![RESERVATION_SERVICE.to_owned()],
        variables: vec![
            variable("NATS_URL", &nats.nats_url),
            variable("NATS_PASSWORD", nats.nats_password.as_deref().unwrap()),
            variable("DATABASE_URL", &url),
            variable("HTTP_ADDRESS", &config.http_address.to_string()),
        ],
        on_line: Arc::new(|_| {}),
    };
    let mut service = Program::start(settings).unwrap();
    for id in ["OLIVE", "GARDEN"] {
        system.put(id, &[2, 4, 4]).await;
    }
    // Commands go on while the service is killed again and again.
    let http = &system.http;
    let send = async |n: usize| {
        let restaurant = ["OLIVE", "GARDEN"][n % 2];
        let (path, body) = match n % 5 {
            4 => (format!("reservations/{restaurant}_{DATE}/R{}/cancel", n - 4), Value::Null),
            3 => (format!("reservations/{restaurant}_{DATE}/R{}/confirm", n - 2), Value::Null),
            _ => (
                "reservations".to_owned(),
                json!({
                    "reservationId": format!("R{n}"), "restaurantId": restaurant, "date": DATE, "sitting": "19:00",
                    "guestId": format!("G{}", n % 7), "party": n % 4 + 1,
                }),
            ),
        };
        let request = http.post(format!("{}/{path}", system.url));
        let request = if body.is_null() { request } else { request.json(&body) };
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    };
    for n in 0..300 {
        send(n).await;
        match n % 75 {
            20 => service.kill().unwrap(),
            45 => service.restart().unwrap(),
            _ => {}
        }
    }
    let db = Databases::open::<Migrator>(&url).await.unwrap().reader;
    let days = ["OLIVE", "GARDEN"].map(|id| format!("{id}_{DATE}"));
    let requests = 180;
    eventually("each request is decided once", || async {
        let histories = event_store::load(&db, &days).await.unwrap();
        let is_request = |event: &&RecordedEvent| {
            ["reservation.held.v1", "reservation.waitlisted.v1"].contains(&event.message_type.as_str())
        };
        histories.values().flatten().filter(is_request).count() == requests
    })
    .await;
    let url = system.bench.config(PROJECTION_SERVICE).service.database_url.unwrap();
    let read_models = Databases::open::<LibraryAndProjections>(&url).await.unwrap().reader;
    eventually("the projections equal a recount", || async {
        let histories = event_store::load(&db, &days).await.unwrap();
        projected(&read_models).await == recounted(histories.into_values().flatten())
    })
    .await;
    service.stop().await.unwrap();
    system.bench.stop().await;
}
