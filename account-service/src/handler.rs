//! The message handler: load the accounts, decide, save.

use std::collections::BTreeSet;

use choreography::envelope::unix_millis;
use choreography::statement::invalid_row;
use choreography::{EncodeError, Envelope, HandleError, Handler, Outgoing, Tracked, clock, effects, statement};
use contracts::CustomerId;
use contracts::account::{AccountCommand, AccountEvent};
use sea_orm::ActiveValue::Set;
use sea_orm::{DatabaseTransaction, DbErr};

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
        let mut accounts = load(tx, &batch).await?;
        let mut outgoing = Vec::with_capacity(batch.len());
        for message in &batch {
            let command = &message.payload;
            let account = accounts.get_or_insert_with(customer_id(command).clone(), Account::default);
            if let Some(event) = decide(account, command) {
                *account = evolve(std::mem::take(account), &event);
                outgoing.push(outgoing_of(&event, message)?);
            }
        }
        let now = unix_millis(clock::now());
        accounts.save(tx, |customer_id, account| row_of(customer_id, account, now)).await?;
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
    match event {
        AccountEvent::Changed(changed) => message.emit_change(event, changed.version),
        AccountEvent::Deleted(deleted) => message.emit_change(event, deleted.version),
        AccountEvent::Refused(_) => message.emit(event),
    }
}

/// Loads the accounts of a batch and locks their rows, in the order of ids, until the transaction ends: two instances on
/// one database cannot both change the same version. If both create an account, the slower one violates the primary
/// key, and its messages are retried.
async fn load(
    tx: &DatabaseTransaction,
    batch: &[&Envelope<AccountCommand>],
) -> Result<Tracked<CustomerId, Account>, DbErr> {
    let ids: BTreeSet<&CustomerId> = batch.iter().map(|message| customer_id(&message.payload)).collect();
    let ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
    let rows = statement::select_for_update::<Entity, _>(tx, Column::CustomerId, &ids).await?;
    rows.into_iter().map(account_of).collect()
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
