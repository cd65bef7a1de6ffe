//! The message handler: load the accounts, decide, save.

use std::collections::BTreeMap;

use choreography::envelope::unix_millis;
use choreography::{EncodeError, Envelope, HandleError, Handler, Outgoing, clock, effects, statement};
use contracts::CustomerId;
use contracts::account::{AccountCommand, AccountEvent};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::account::{Account, decide, evolve};
use crate::entity::account::{ActiveModel, Column, Entity, Model};

/// Handles batches of commands.
#[derive(Debug, Clone, Copy)]
pub struct AccountHandler;

impl Handler for AccountHandler {
    type Message = AccountCommand;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<AccountCommand>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let batch = effects::without_repeated(tx, batch, creates).await?;
        let mut accounts = Accounts::load(tx, &batch).await?;
        let mut outgoing = Vec::with_capacity(batch.len());
        for message in &batch {
            if let Some(event) = accounts.decide(&message.payload) {
                outgoing.push(outgoing_of(&event, message)?);
            }
        }
        accounts.save(tx, unix_millis(clock::now())).await?;
        Ok(outgoing)
    }
}

/// Returns the id of the customer whose account a command concerns.
fn customer_id(command: &AccountCommand) -> &CustomerId {
    match command {
        AccountCommand::Create(create) => &create.customer_id,
        AccountCommand::Update(update) => &update.customer_id,
        AccountCommand::Delete(delete) => &delete.customer_id,
    }
}

/// Returns whether a command creates an account. A repeated one could create again an account that was deleted
/// meanwhile; other commands have an expected version.
fn creates(command: &AccountCommand) -> bool {
    matches!(command, AccountCommand::Create(_))
}

/// Returns the outgoing message of an event. A refusal changes nothing, so it has no version.
fn outgoing_of(event: &AccountEvent, message: &Envelope<AccountCommand>) -> Result<Outgoing, EncodeError> {
    let version = match event {
        AccountEvent::Changed(changed) => Some(changed.version),
        AccountEvent::Deleted(deleted) => Some(deleted.version),
        AccountEvent::Refused(_) => None,
    };
    message.emit(event, version)
}

/// The accounts that a batch affects.
struct Accounts {
    /// The loaded state.
    before: BTreeMap<CustomerId, Account>,
    /// The current state.
    now: BTreeMap<CustomerId, Account>,
}

impl Accounts {
    /// Loads the accounts and locks their rows, in the order of ids, until the transaction ends: two instances on one
    /// database cannot both change the same version. If both create an account, the slower one violates the primary
    /// key, and its messages are retried.
    async fn load(tx: &DatabaseTransaction, batch: &[&Envelope<AccountCommand>]) -> Result<Self, DbErr> {
        let mut before: BTreeMap<CustomerId, Account> =
            batch.iter().map(|message| (customer_id(&message.payload).clone(), Account::Unknown)).collect();
        let ids: Vec<String> = before.keys().map(ToString::to_string).collect();
        for chunk in statement::padded_chunks(&ids) {
            let rows = Entity::find()
                .filter(Column::CustomerId.is_in(chunk))
                .order_by_asc(Column::CustomerId)
                .lock_exclusive()
                .all(tx)
                .await?;
            for row in rows {
                let (customer_id, account) = account_of(row)?;
                before.insert(customer_id, account);
            }
        }
        Ok(Self { now: before.clone(), before })
    }

    fn decide(&mut self, message: &AccountCommand) -> Option<AccountEvent> {
        let account = self.now.entry(customer_id(message).clone()).or_default();
        let event = decide(account, message)?;
        *account = evolve(std::mem::take(account), &event);
        Some(event)
    }

    async fn save(self, tx: &DatabaseTransaction, now: i64) -> Result<(), DbErr> {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (customer_id, account) in &self.now {
            let known = self.before.get(customer_id).unwrap_or(&Account::Unknown);
            if known == account {
                continue;
            }
            let rows = if *known == Account::Unknown { &mut new } else { &mut changed };
            rows.push(row_of(customer_id, account, now)?);
        }
        statement::insert(tx, new, None).await?;
        let columns = [Column::Version, Column::Deleted, Column::Details, Column::UpdatedAt];
        statement::insert(tx, changed, Some(statement::overwrite(&[Column::CustomerId], &columns))).await
    }
}

fn row_of(customer_id: &CustomerId, account: &Account, now: i64) -> Result<ActiveModel, DbErr> {
    let details = match account {
        Account::Open { details, .. } => Some(serde_json::to_string(details).map_err(invalid_row)?),
        Account::Unknown | Account::Deleted { .. } => None,
    };
    Ok(ActiveModel {
        customer_id: Set(customer_id.to_string()),
        version: Set(account.version()),
        deleted: Set(details.is_none()),
        details: Set(details),
        updated_at: Set(now),
    })
}

/// Reads a row.
///
/// # Errors
///
/// [`DbErr::Custom`] if the row is invalid.
pub(crate) fn account_of(row: Model) -> Result<(CustomerId, Account), DbErr> {
    let version = row.version;
    let account = match row.details {
        Some(details) => Account::Open { version, details: serde_json::from_str(&details).map_err(invalid_row)? },
        None => Account::Deleted { version },
    };
    Ok((CustomerId::parse(row.customer_id).map_err(invalid_row)?, account))
}

/// The error of a row that is invalid.
fn invalid_row(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("invalid row: {error}"))
}
