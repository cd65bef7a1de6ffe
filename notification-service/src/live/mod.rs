//! `GET /notifications?customerId=…&after=…`: a WebSocket that pushes each notification as it is written.
//!
//! A message of the socket is one [`contracts::query::NotificationView`] as JSON text. Whoever connects again names the
//! `sequence` of the last one as `after` and gets what follows it: nothing is lost, and nothing comes twice. Each
//! connection reads the table behind a place of its own, when it is told that there is something, so a client that
//! reads slowly holds up nobody and nothing is queued for it.

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

/// How many clients may be connected at the same time.
pub const MAX_CONNECTIONS: usize = 256;
/// How many of them read the table at the same time; the others wait. Half of the database's connections stay free for
/// everything else.
const READERS: usize = 4;
/// The largest message taken from a client, in bytes: none is expected.
const MAX_INCOMING: usize = 4096;
/// The largest `after`: 2⁵³ − 1, the largest integer every JSON implementation reads exactly.
const MAX_SEQUENCE: i64 = 9_007_199_254_740_991;

/// What all connections share.
#[derive(Clone)]
pub struct Live {
    db: DatabaseConnection,
    news: News,
    places: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Live {
    /// Serves until `shutdown` is cancelled; `news` says which customers there is something for.
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

/// What a client asks for.
struct Asked {
    customer_id: CustomerId,
    /// Behind which sequence to begin; none for "from now on".
    after: Option<i64>,
}

/// Answers:
///
/// - 101: the socket is open;
/// - 400: a parameter is missing, there twice, or none;
/// - 426: this is no WebSocket request;
/// - 503: [`MAX_CONNECTIONS`] clients are connected, or the database is away.
#[handler]
async fn notifications(request: &Request, Data(live): Data<&Live>) -> Response {
    match open(request, live).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn open(request: &Request, live: &Live) -> Result<Response, Problem> {
    let Asked { customer_id, after } = asked(request)?;
    let socket = WebSocket::from_request_without_body(request).await.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "This path is a WebSocket (RFC 6455, version 13).")
    })?;
    let place = live.places.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "As many clients are connected as are served; try again later.",
        )
    })?;
    // From here on nothing is missed: told first, read then.
    let notified = live.news.subscribe(&customer_id);
    let last = counter::last(&live.db).await.map_err(|error| {
        tracing::warn!(%error, "a connection for notifications could not be opened");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The notifications cannot be read now; try again later.")
    })?;
    // Beyond the end is a sequence of another database, which this one took the place of.
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

/// Reads the parameters; others than these are not looked at.
fn asked(request: &Request) -> Result<Asked, Problem> {
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
            return Err(Problem::parameter(&name, "must be there once"));
        }
    }
    let customer_id = customer_id.ok_or_else(|| Problem::parameter("customerId", "must be there"))?;
    let customer_id =
        CustomerId::parse(customer_id).map_err(|error| Problem::parameter("customerId", &error.to_string()))?;
    let sequence = |text: String| match text.parse::<i64>() {
        Ok(number) if (0..=MAX_SEQUENCE).contains(&number) && !text.starts_with('+') => Ok(number),
        _ => Err(Problem::parameter("after", &format!("must be a whole number from 0 to {MAX_SEQUENCE}"))),
    };
    Ok(Asked { customer_id, after: after.map(sequence).transpose()? })
}
