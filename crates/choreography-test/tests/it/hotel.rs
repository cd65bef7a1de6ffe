//! Two services for tests: bookings, and the bills for them.

use std::time::Duration;

use choreography::{
    Command, Envelope, Event, HandleError, Handler, Messages, Outgoing, Timer, clock, envelope, migration,
};
use sea_orm::DatabaseTransaction;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};

/// How long after a booking its bill is due.
pub(crate) const DUE: Duration = Duration::from_secs(3600);

/// Book a room.
#[derive(Debug, Clone, Serialize, Deserialize, Command)]
#[message(context = "booking", name = "book", version = 1, key = room, producer = "front-desk")]
pub(crate) struct Book {
    pub(crate) room: String,
    pub(crate) nights: u32,
}

/// A room is booked.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "booking", name = "booked", version = 1, key = room, producer = "booking-service")]
pub(crate) struct Booked {
    pub(crate) room: String,
    pub(crate) nights: u32,
    /// When it was booked, RFC 3339.
    pub(crate) at: String,
}

/// A bill was paid.
#[derive(Debug, Clone, Serialize, Deserialize, Command)]
#[message(context = "billing", name = "pay", version = 1, key = room, producer = "front-desk")]
pub(crate) struct Pay {
    pub(crate) room: String,
}

/// A bill is due.
#[derive(Debug, Clone, Serialize, Deserialize, Timer)]
#[message(context = "billing", name = "due", version = 1, key = room, producer = "billing-service")]
pub(crate) struct Due {
    pub(crate) room: String,
}

/// A bill was not paid in time.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "billing", name = "overdue", version = 1, key = room, producer = "billing-service")]
pub(crate) struct Overdue {
    pub(crate) room: String,
}

/// Books rooms. The same command emits an event each time, so only the inbox prevents a second one.
pub(crate) struct Bookings;

impl Handler for Bookings {
    type Message = Book;

    async fn handle(
        &self,
        _tx: &DatabaseTransaction,
        batch: &[&Envelope<Book>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let book = |message: &&Envelope<Book>| {
            let Book { room, nights } = message.payload.clone();
            match nights {
                0 => Err(HandleError::Reject("a booking has at least one night".to_owned())),
                1..=30 => {
                    let at = envelope::rfc3339(clock::now());
                    Ok(message.emit_change(&Booked { room, nights, at }, 1)?)
                }
                _ => Err(HandleError::Retry(anyhow::anyhow!("the calendar ends after 30 nights"))),
            }
        };
        batch.iter().map(book).collect()
    }
}

#[derive(Debug, Messages)]
pub(crate) enum BillingMessage {
    Booked(Booked),
    Pay(Pay),
    Due(Due),
}

/// Bills bookings.
pub(crate) struct Billing;

impl Handler for Billing {
    type Message = BillingMessage;

    async fn handle(
        &self,
        _tx: &DatabaseTransaction,
        batch: &[&Envelope<BillingMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let bill = |message: &&Envelope<BillingMessage>| {
            Ok(match &message.payload {
                BillingMessage::Booked(Booked { room, .. }) => {
                    message.schedule(&Due { room: room.clone() }, None, clock::now() + DUE)?
                }
                BillingMessage::Pay(Pay { room }) => message.cancel(&Due { room: room.clone() }, None)?,
                BillingMessage::Due(Due { room }) => message.emit(&Overdue { room: room.clone() })?,
            })
        };
        batch.iter().map(bill).collect()
    }
}

/// The library's tables.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migration::library()
    }
}
