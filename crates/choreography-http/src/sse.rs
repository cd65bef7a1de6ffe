//! Server-sent events: a bounded number of clients, JSON with a schema, and a heartbeat.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use poem::web::sse::Event;
use poem_openapi::payload::EventStream;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::code::Code;
use crate::json::unvalidated;
use crate::parameter::EventId;
use crate::problem::Problem;

/// How many clients may be connected at the same time.
const MAX_CONNECTIONS: usize = 256;
/// How often a comment is sent on an idle connection. It keeps proxies from closing the connection. It also bounds how
/// long a lost client occupies a connection: poem notices the loss at the second write.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A server-sent event whose data is JSON with the schema of `T`.
#[derive(Debug)]
pub struct SseEvent<T> {
    /// The id, from which a client can resume.
    pub id: Option<EventId>,
    /// The name.
    pub name: Cow<'static, str>,
    /// The data.
    pub json: Arc<str>,
    shape: PhantomData<fn() -> T>,
}

impl<T> SseEvent<T> {
    /// Creates an event.
    pub fn new(id: Option<EventId>, name: impl Into<Cow<'static, str>>, json: impl Into<Arc<str>>) -> Self {
        Self { id, name: name.into(), json: json.into(), shape: PhantomData }
    }
}

/// The payload of a response with server-sent events.
pub type SseEvents<T> = EventStream<BoxStream<'static, SseEvent<T>>>;

impl<T: Type> Type for SseEvent<T> {
    unvalidated!();

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> ToJSON for SseEvent<T> {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(&self.json).ok()
    }
}

/// The connections of clients that follow events.
#[derive(Debug, Clone)]
pub struct SseConnections {
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl SseConnections {
    /// Serves at most `clients` connections at a time, and at most 256, until `shutdown`.
    #[must_use]
    pub fn new(clients: usize, shutdown: CancellationToken) -> Self {
        Self { permits: Arc::new(Semaphore::new(clients.min(MAX_CONNECTIONS))), shutdown }
    }

    /// Reserves a connection.
    ///
    /// # Errors
    ///
    /// The problem of too many connections.
    pub fn reserve(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.permits.clone().try_acquire_owned().map_err(|_| Problem::new(Code::TOO_MANY_STREAMS))
    }

    /// Sends events on a reserved connection.
    pub fn send<T: Send + 'static>(
        &self,
        events: impl futures::Stream<Item = SseEvent<T>> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> SseEvents<T> {
        let events = events.take_until(self.shutdown.clone().cancelled_owned()).map(move |event| {
            // The connection is occupied as long as the stream exists.
            let _ = &permit;
            event
        });
        EventStream::new(events.boxed()).keep_alive(HEARTBEAT).to_event(|event| {
            let message = Event::message(event.json.as_ref()).event_type(event.name);
            match event.id {
                Some(id) => message.id(id.to_string()),
                None => message,
            }
        })
    }
}
