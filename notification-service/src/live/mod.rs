//! `GET /notifications?customerId=…&after=…`: a WebSocket that pushes each notification as it is written.
//!
//! A message of the socket is one [`contracts::query::NotificationView`] as JSON text. A client that reconnects passes
//! the `sequence` of the last one as `after` and gets the following ones, without loss or repetition. Each connection
//! reads the table after its own position when it is woken, so a slow client blocks no other client, and nothing is
//! queued for it.

mod connection;
mod news;
mod problem;

use std::sync::Arc;

use contracts::CustomerId;
use poem::http::StatusCode;
use poem::web::Data;
use poem::web::websocket::{WebSocket, WebSocketConfig};
use poem::{EndpointExt, FromRequest, IntoResponse, Request, Response, Route, get, handler};
use sea_orm::DatabaseConnection;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::entity::counter;
use connection::Connection;
pub use news::News;
use problem::Problem;

/// The largest number of connected clients.
pub const MAX_CONNECTIONS: usize = 256;
/// The largest number of clients that read the table concurrently; the others wait. Half of the database's connections
/// stay free for other work.
const READERS: usize = 4;
/// The largest message from a client, in bytes: none is expected.
const MAX_INCOMING: usize = 4096;
/// The largest `after`: 2⁵³ − 1, the largest integer that every JSON implementation reads exactly.
const MAX_SEQUENCE: i64 = 9_007_199_254_740_991;

/// The state that all connections share.
#[derive(Clone)]
pub struct Live {
    db: DatabaseConnection,
    news: News,
    places: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Live {
    /// Serves until `shutdown` is cancelled; `news` wakes the connections of customers with new notifications.
    #[must_use]
    pub fn new(db: DatabaseConnection, news: News, shutdown: CancellationToken) -> Self {
        let (places, readers) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(Semaphore::new(READERS)));
        Self { db, news, places, readers, shutdown }
    }

    /// Returns the route.
    #[must_use]
    pub fn routes(self) -> Route {
        Route::new().at("/notifications", get(notifications).data(self))
    }
}

/// The parameters of a request.
struct Parameters {
    customer_id: CustomerId,
    /// The sequence after which to start; `None` for new notifications only.
    after: Option<i64>,
}

/// The responses:
///
/// - 101: the socket is open;
/// - 400: a parameter is missing, repeated, or not valid;
/// - 426: this is not a WebSocket request;
/// - 503: [`MAX_CONNECTIONS`] clients are connected, or the database is unavailable.
#[handler]
async fn notifications(request: &Request, Data(live): Data<&Live>) -> Response {
    match open(request, live).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn open(request: &Request, live: &Live) -> Result<Response, Problem> {
    let Parameters { customer_id, after } = parse_parameters(request)?;
    let socket = WebSocket::from_request_without_body(request).await.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "This path is a WebSocket (RFC 6455, version 13).")
    })?;
    let place = live.places.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The largest number of clients is connected; try again later.",
        )
    })?;
    // Subscribes before the first read, so that no notification is missed.
    let notified = live.news.subscribe(&customer_id);
    let last = counter::last(&live.db).await.map_err(|error| {
        tracing::warn!(%error, "cannot open a connection for notifications");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The notifications cannot be read now; try again later.")
    })?;
    // A sequence beyond the last one belongs to an earlier database, which this one has replaced.
    let position = after.map_or(last, |after| if after > last { 0 } else { after });
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_INCOMING);
    config.max_frame_size = Some(MAX_INCOMING);
    let (db, readers, shutdown) = (live.db.clone(), live.readers.clone(), live.shutdown.clone());
    let upgrade = socket.config(config).on_upgrade(move |socket| async move {
        let connection = Connection { db, readers, customer_id, position };
        connection.run(socket, notified, shutdown).await;
        drop(place);
    });
    Ok(upgrade.into_response())
}

/// Parses the parameters; unknown ones are ignored.
fn parse_parameters(request: &Request) -> Result<Parameters, Problem> {
    let parameters: Vec<(String, String)> = request
        .params()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("The query cannot be read: {error}.")))?;
    let (mut customer_id, mut after) = (None, None);
    for (name, value) in parameters {
        let taken = match name.as_str() {
            "customerId" => customer_id.replace(value),
            "after" => after.replace(value),
            _ => None,
        };
        if taken.is_some() {
            return Err(Problem::parameter(&name, "must not be repeated"));
        }
    }
    let customer_id = customer_id.ok_or_else(|| Problem::parameter("customerId", "is required"))?;
    let customer_id =
        CustomerId::parse(customer_id).map_err(|error| Problem::parameter("customerId", &error.to_string()))?;
    let sequence = |text: String| match text.parse::<i64>() {
        Ok(number) if (0..=MAX_SEQUENCE).contains(&number) && !text.starts_with('+') => Ok(number),
        _ => Err(Problem::parameter("after", &format!("must be a whole number from 0 to {MAX_SEQUENCE}"))),
    };
    Ok(Parameters { customer_id, after: after.map(sequence).transpose()? })
}
