//! Projections: read models of events, kept in tables of their own.
//!
//! A [`Projection`] is a name, a version, tables, and a function that writes a batch of events to them. The library
//! guarantees that no event is skipped and none is applied twice, whatever fails:
//!
//! - The position commits with the rows. It is a sequence of the stream, and while the complete history is read, also a
//!   key of the event store that is read.
//! - One instance runs a projection at a time. Each transaction begins with an update that fails if the projection was
//!   paused, rebuilt, or taken over meanwhile.
//! - An event of an event store has a version. It is applied if it follows the last applied version of its aggregate. An
//!   earlier one changes nothing. A later one shows a gap, which is repaired from the history of the owning service.
//! - Other messages are applied once each: the inbox table remembers them.
//! - If the stream has deleted messages that were not applied, or was recreated, the history is read again.
//! - A message that cannot be read is skipped if it is in no history: if its context has an event store, and it has no
//!   version.
//! - An event that cannot be applied stops the projection (`failed`), and readiness reports it. It is not dead-lettered:
//!   a projection without it would be wrong, and later events build on it.
//!
//! A projection can be added to a running system. It notes the last sequence of the stream, reads the complete history
//! of each context from the event store of the owning service, and then the stream after the noted sequence. Contexts
//! without an event store are read from the stream, from its first message.
//!
//! A new [`VERSION`](Projection::VERSION) has new tables and is built beside the old one. When it has caught up it becomes
//! the active one. Register both versions until then; [`active`] names the one to read. Requests on
//! `admin.<service>.projections` list, pause, start, rebuild, switch, and drop projections ([`admin`]).
//!
//! ```
//! use choreography::{Envelope, Event, HandleError, Projection, statement};
//! use sea_orm::DatabaseTransaction;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[message(context = "room", name = "booked", version = 1, key = room_id, producer = "room-service")]
//! struct RoomBooked {
//!     room_id: String,
//! }
//!
//! struct Bookings;
//!
//! impl Projection for Bookings {
//!     const NAME: &'static str = "bookings";
//!     const VERSION: u32 = 1;
//!     const TABLES: &'static [&'static str] = &["bookings_v1"];
//!     const SCHEMA: &'static [&'static str] =
//!         &["CREATE TABLE bookings_v1 (room_id text PRIMARY KEY, bookings bigint NOT NULL)"];
//!     const EVENT_STORES: &'static [&'static str] = &["room"];
//!     type Messages = RoomBooked;
//!
//!     async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<RoomBooked>]) -> Result<(), HandleError> {
//!         for booked in batch {
//!             let count = "INSERT INTO bookings_v1 VALUES ($1, 1) \
//!                          ON CONFLICT (room_id) DO UPDATE SET bookings = bookings_v1.bookings + 1";
//!             statement::execute(tx, count, [booked.key.clone().into()]).await?;
//!         }
//!         Ok(())
//!     }
//! }
//! ```

pub mod admin;
mod batch;
mod commit;
mod decode;
pub(crate) mod definition;
pub(crate) mod follow;
mod progress;
pub(crate) mod runner;
pub(crate) mod source;
mod status;
mod stop;
pub(crate) mod table;
pub mod testing;
mod versions;

use sea_orm::DatabaseTransaction;

use crate::inbound::handler::HandleError;
use crate::wire::envelope::Envelope;
use crate::wire::message::Messages;
pub(crate) use definition::spec;
pub use status::{active, as_of};

/// A read model of events, in tables of its own. [`ServiceBuilder::projection`](crate::ServiceBuilder::projection) runs it.
pub trait Projection: Send + Sync + 'static {
    /// The name, of lower-case letters, digits, and `-`, such as `order-search`.
    const NAME: &'static str;
    /// The version, from 1. Another one has other tables and builds them from the complete history.
    const VERSION: u32;
    /// The tables of this version. Their names contain the version: an earlier one may still be read.
    const TABLES: &'static [&'static str];
    /// The statements that create the tables and their indexes, valid on the service's database.
    const SCHEMA: &'static [&'static str];
    /// The contexts whose events are in an event store, which the owning service serves
    /// ([`history::endpoint`](crate::history::endpoint)). Events of other contexts are read from the stream alone.
    const EVENT_STORES: &'static [&'static str];
    /// The events that change the read model. All events of their contexts are read, so that a gap shows; others are
    /// skipped.
    type Messages: Messages + Send + Sync + 'static;

    /// Writes the effects of events, in order. The transaction also commits the position.
    ///
    /// # Errors
    ///
    /// [`HandleError::Retry`]: the batch is repeated, in halves, and an event that fails alone stops the projection after
    /// the maximum number of attempts. [`HandleError::Reject`] stops it at once. An outage of the database is waited for.
    fn apply(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<Self::Messages>],
    ) -> impl Future<Output = Result<(), HandleError>> + Send;
}
