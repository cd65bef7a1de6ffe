//! The message handler: load the customers, write notifications, save.

use std::collections::BTreeSet;

use choreography::envelope::unix_millis;
use choreography::statement::invalid_row;
use choreography::{Envelope, HandleError, Handler, Outgoing, Tracked, clock, statement};
use contracts::CustomerId;
use contracts::declaration::{NotifiableEvent, NotificationMessage};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict, SimpleExpr};
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use tokio::sync::watch;

use crate::entity::{counter, customer, notification};
use crate::notice::{Contact, Customer, Notice};

/// The failure of mails to a customer whose account was deleted.
const ACCOUNT_DELETED: &str = "the account was deleted";

/// Writes one notification per event.
#[derive(Debug, Clone)]
pub struct NotificationHandler {
    committed: watch::Sender<()>,
}

impl NotificationHandler {
    /// Makes a handler that signals each commit through `committed`.
    #[must_use]
    pub fn new(committed: watch::Sender<()>) -> Self {
        Self { committed }
    }
}

impl Handler for NotificationHandler {
    type Message = NotificationMessage;

    /// The first statement locks the counter, so that the batches of several instances are serial: no other batch
    /// changes a customer between this read and the commit.
    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<NotificationMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let notified =
            batch.iter().filter(|message| matches!(message.payload, NotificationMessage::Notify(_))).count();
        let first =
            counter::take(tx, i64::try_from(notified).map_err(|error| HandleError::Retry(error.into()))?).await?;
        let now = unix_millis(clock::now());
        let mut customers = load(tx, batch).await?;
        let mut notices = Vec::with_capacity(notified);
        for message in batch {
            let customer_id = message.payload.customer_id();
            match &message.payload {
                NotificationMessage::Account(message) => {
                    customers.get_or_insert_with(customer_id.clone(), Customer::default).apply(message);
                }
                NotificationMessage::Notify(notified) => {
                    let name = customers.get(customer_id).and_then(Customer::name);
                    notices.push((message, notified, Notice::write(notified, name)));
                }
            }
        }
        save(tx, &customers, now).await?;
        let rows = (first..).zip(notices).map(|(sequence, (message, notified, notice))| {
            let contact = customers.get(notified.customer_id()).map(|customer| &customer.contact);
            row(sequence, message, notified, notice, contact.unwrap_or(&Contact::Unknown), now)
        });
        let skip_repeated = OnConflict::column(notification::Column::EventId).do_nothing().to_owned();
        statement::insert(tx, rows.collect(), Some(skip_repeated)).await?;
        Ok(vec![])
    }

    fn committed(&self) {
        self.committed.send_replace(());
    }
}

fn row(
    sequence: i64,
    message: &Envelope<NotificationMessage>,
    notified: &NotifiableEvent,
    notice: Notice,
    contact: &Contact,
    now: i64,
) -> notification::ActiveModel {
    let (next_attempt_at, failed_at) = match contact {
        Contact::Unknown => (None, None),
        Contact::Known { .. } => (Some(now), None),
        Contact::Deleted => (None, Some(now)),
    };
    notification::ActiveModel {
        sequence: Set(sequence),
        event_id: Set(message.id),
        customer_id: Set(notified.customer_id().to_string()),
        order_id: Set(notified.order_id().to_string()),
        message_type: Set(message.message_type.clone()),
        subject: Set(notice.subject),
        text: Set(notice.text),
        created_at: Set(now),
        delivered_at: Set(None),
        attempts: Set(0),
        next_attempt_at: Set(next_attempt_at),
        failed_at: Set(failed_at),
        failure: Set(failed_at.map(|_| ACCOUNT_DELETED.to_owned())),
    }
}

async fn load(
    tx: &DatabaseTransaction,
    batch: &[&Envelope<NotificationMessage>],
) -> Result<Tracked<CustomerId, Customer>, DbErr> {
    let ids: BTreeSet<&str> = batch.iter().map(|message| message.payload.customer_id().as_str()).collect();
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let rows = statement::select_in::<customer::Entity, _>(tx, customer::Column::CustomerId, &ids).await?;
    let customers = rows.into_iter().map(|row| {
        let customer_id = CustomerId::parse(row.customer_id).map_err(invalid_row)?;
        let contact = match (row.deleted, row.name, row.email) {
            (false, Some(name), Some(email)) => Contact::Known { name, email },
            _ => Contact::Deleted,
        };
        Ok((customer_id, Customer { version: row.version, contact }))
    });
    customers.collect()
}

/// Writes the changed customers and updates their unsent mails: mails of a customer with an address become due, mails
/// of a deleted one are abandoned.
async fn save(tx: &DatabaseTransaction, customers: &Tracked<CustomerId, Customer>, now: i64) -> Result<(), DbErr> {
    let (mut rows, mut known, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for (customer_id, customer) in customers.changed() {
        let customer_id = customer_id.to_string();
        let (name, email) = match &customer.contact {
            Contact::Known { name, email } => {
                known.push(customer_id.clone());
                (Some(name.clone()), Some(email.clone()))
            }
            Contact::Unknown | Contact::Deleted => {
                deleted.push(customer_id.clone());
                (None, None)
            }
        };
        rows.push(customer::ActiveModel {
            customer_id: Set(customer_id),
            version: Set(customer.version),
            deleted: Set(email.is_none()),
            name: Set(name),
            email: Set(email),
        });
    }
    statement::upsert(tx, rows).await?;

    use notification::Column as Notification;
    let due = [(Notification::NextAttemptAt, Expr::value(now))];
    set_unsent(tx, &known, &due, Notification::NextAttemptAt.is_null()).await?;
    let abandoned = [
        (Notification::NextAttemptAt, Expr::value(None::<i64>)),
        (Notification::FailedAt, Expr::value(now)),
        (Notification::Failure, Expr::value(ACCOUNT_DELETED)),
    ];
    set_unsent(tx, &deleted, &abandoned, Expr::value(true)).await
}

/// Sets columns of mails to customers that are neither delivered nor abandoned, if a condition is true.
async fn set_unsent(
    tx: &DatabaseTransaction,
    customer_ids: &[String],
    values: &[(notification::Column, SimpleExpr)],
    condition: SimpleExpr,
) -> Result<(), DbErr> {
    use notification::Column as Notification;
    for chunk in statement::padded_chunks(customer_ids) {
        let mut update = notification::Entity::update_many()
            .filter(Notification::CustomerId.is_in(chunk))
            .filter(Notification::DeliveredAt.is_null())
            .filter(Notification::FailedAt.is_null())
            .filter(condition.clone());
        for (column, value) in values {
            update = update.col_expr(*column, value.clone());
        }
        update.exec(tx).await?;
    }
    Ok(())
}
