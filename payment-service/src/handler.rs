//! From messages to the book and back: load, decide, save.

use anyhow::{Context, bail};
use contracts::DecodeError;
use contracts::account::AccountEvent;
use contracts::inventory::InventoryEvent;
use contracts::order::OrderEvent;
use messaging::{Decode, Envelope, HandleError, Handler, Outgoing};
use sea_orm::DatabaseTransaction;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::accounts;
use crate::payment::{Decided, PaymentMessage, Policy};
use crate::slice::Slice;

impl Decode for PaymentMessage {
    fn decode(message_type: &str, body: &[u8]) -> anyhow::Result<Self> {
        match OrderEvent::decode(message_type, body) {
            Ok(OrderEvent::Placed(order)) => return Ok(Self::Placed(order)),
            Ok(OrderEvent::Cancelled(order)) => return Ok(Self::Cancelled(order)),
            Ok(_) => bail!("{message_type} is nothing that payments depend on"),
            Err(DecodeError::UnknownType(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match InventoryEvent::decode(message_type, body) {
            Ok(InventoryEvent::Reserved(stock)) => return Ok(Self::Reserved(stock)),
            Ok(_) => bail!("{message_type} is nothing that payments depend on"),
            Err(DecodeError::UnknownType(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match AccountEvent::decode(message_type, body)? {
            AccountEvent::Changed(account) => Ok(Self::AccountChanged(account)),
            AccountEvent::Deleted(account) => Ok(Self::AccountDeleted(account)),
            AccountEvent::Refused(_) => bail!("{message_type} is nothing that payments depend on"),
        }
    }
}

/// Tells batches of messages to the book, and wakes the workers.
#[derive(Debug, Clone)]
pub struct PaymentHandler {
    /// How long to wait for what.
    pub policy: Policy,
    /// The time, for due dates and expired cards.
    pub clock: fn() -> OffsetDateTime,
    /// What the workers listen to.
    pub wake: watch::Sender<()>,
}

impl Handler for PaymentHandler {
    type Message = PaymentMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<PaymentMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        // First, so that orders are decided by the newest that is known.
        accounts::apply(tx, batch.iter().filter_map(|message| message.payload.account())).await?;
        let now = (self.clock)();
        let mut slice = Slice::load(tx, batch, now).await?;
        let mut outgoing = Vec::new();
        for message in batch {
            if let Some(decided) = slice.book.hear(&message.payload, &message.cause(), now, &self.policy) {
                outgoing.push(outgoing_of(decided).map_err(HandleError::Retry)?);
            }
        }
        slice.save(tx).await?;
        Ok(outgoing)
    }

    fn committed(&self) {
        self.wake.send_replace(());
    }
}

/// Makes the message an event travels as.
///
/// # Errors
///
/// Where it cannot be written as JSON.
pub(crate) fn outgoing_of(decided: Decided) -> anyhow::Result<Outgoing> {
    let Decided { event, version, cause } = decided;
    let body = serde_json::to_vec(&event).with_context(|| format!("writing {}", event.message_type()))?;
    Ok(Outgoing::new(cause, event.subject(), event.message_type(), event.key(), Some(version), body))
}
