//! A handler out of a function on one message.

use std::marker::PhantomData;

use sea_orm::DatabaseTransaction;

use crate::inbound::handler::{HandleError, Handler};
use crate::wire::envelope::{Envelope, Outgoing};
use crate::wire::message::Messages;

/// Makes a [`Handler`] out of an `async fn` that handles one message.
///
/// The function runs once per message of a batch, in order, within the transaction of the batch. That is the plain way;
/// it costs its statements once per message. A [`Handler`] that loads and saves per batch costs them once per batch.
///
/// ```
/// use choreography::{Command, Envelope, Event, HandleError, Outgoing, each};
/// use sea_orm::DatabaseTransaction;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Command)]
/// #[message(context = "room", name = "book", version = 1, key = room_id, producer = "front-desk")]
/// struct BookRoom {
///     room_id: String,
/// }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[message(context = "room", name = "booked", version = 1, key = room_id, producer = "room-service")]
/// struct RoomBooked {
///     room_id: String,
/// }
///
/// async fn book(_tx: &DatabaseTransaction, command: &Envelope<BookRoom>) -> Result<Vec<Outgoing>, HandleError> {
///     let booked = RoomBooked { room_id: command.payload.room_id.clone() };
///     Ok(vec![command.emit(&booked)?])
/// }
///
/// let handler = each(book);
/// ```
#[must_use]
pub fn each<M, F>(function: F) -> Each<M, F>
where
    M: Messages + Send + Sync + 'static,
    F: for<'a> HandleOne<'a, M>,
{
    Each { function, message: PhantomData }
}

/// The handler that [`each`] makes.
pub struct Each<M, F> {
    function: F,
    message: PhantomData<fn() -> M>,
}

impl<M, F: Clone> Clone for Each<M, F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), message: PhantomData }
    }
}

/// A function that handles one message. Implemented by each `async fn` with these parameters.
pub trait HandleOne<'a, M: 'a>: Send + Sync + 'static {
    /// Handles a message in the transaction of its batch.
    fn handle(
        &self,
        tx: &'a DatabaseTransaction,
        message: &'a Envelope<M>,
    ) -> impl Future<Output = Result<Vec<Outgoing>, HandleError>> + Send + 'a;
}

impl<'a, M, F, R> HandleOne<'a, M> for F
where
    M: 'a,
    F: Fn(&'a DatabaseTransaction, &'a Envelope<M>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<Outgoing>, HandleError>> + Send + 'a,
{
    fn handle(
        &self,
        tx: &'a DatabaseTransaction,
        message: &'a Envelope<M>,
    ) -> impl Future<Output = Result<Vec<Outgoing>, HandleError>> + Send + 'a {
        self(tx, message)
    }
}

impl<M, F> Handler for Each<M, F>
where
    M: Messages + Send + Sync + 'static,
    F: for<'a> HandleOne<'a, M>,
{
    type Message = M;

    async fn handle(&self, tx: &DatabaseTransaction, batch: &[&Envelope<M>]) -> Result<Vec<Outgoing>, HandleError> {
        let mut outgoing = Vec::with_capacity(batch.len());
        for message in batch {
            outgoing.extend(self.function.handle(tx, message).await?);
        }
        Ok(outgoing)
    }
}
