//! The rebuild of the copies of accounts (ADR 10).
//!
//! All three ways write copies as events do: only a newer version overwrites a copy. So they are safe while the service
//! runs, and may be repeated or interrupted.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, jetstream};
use choreography::query::{AskError, ask};
use choreography::replay::{Replay, check_complete, last_sequence};
use choreography::{DecodeError, MessageInfo, Messages, connection, database, statement};
use contracts::CustomerId;
use contracts::account::AccountEvent;
use contracts::query::{AccountSnapshotEntry, AccountView, ListAccounts, Page};
use contracts::topology::{EVENTS, PAYMENT_SERVICE};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QuerySelect};
use serde::de::DeserializeOwned;

use crate::accounts;
use crate::config::{Config, Rebuild};
use crate::entity::payment::{Column, Entity, Status};
use crate::migration::Migrator;
use crate::payment::Account;

/// The subjects of account events.
const ACCOUNTS: &str = "account.event.>";
/// The time limit for the connection to nats-server.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a reply of the account service.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Accounts per page: a page must fit into a message, and an account may have ten addresses.
const PAGE: u64 = 50;

/// Executes `rebuild` and logs the number of accounts and events read.
///
/// # Errors
///
/// If the database, the broker, or the account service cannot be reached.
pub async fn run(config: &Config, from: &Rebuild) -> anyhow::Result<()> {
    let db = database::open::<Migrator>(&config.service.database_url(PAYMENT_SERVICE)).await?;
    let (client, _) = connection::establish(&config.service.nats, PAYMENT_SERVICE, CONNECT_TIMEOUT).await?;
    let js = connection::jetstream(&client);
    let read = match from {
        Rebuild::Replay => replay(&js, &db).await?,
        Rebuild::Snapshot => snapshot(&client, &js, &db).await?,
        Rebuild::Fetch { customer_ids } => fetch(&client, &db, customer_ids).await?,
    };
    tracing::info!(read, "the copies of accounts are up to date");
    Ok(db.close().await?)
}

/// Rebuilds the copies from the stream, read from its start; returns the number of events.
///
/// # Errors
///
/// If the stream cannot be read or the database fails; also if the stream has lost its start: then nothing is written.
pub async fn replay(js: &jetstream::Context, db: &DatabaseConnection) -> anyhow::Result<u64> {
    replay_from(js, db, 1).await.context(
        "the copies of accounts are not complete; rebuild them with `payment-service rebuild snapshot`, or restore the \
        backup of the database first",
    )
}

/// Rebuilds the copies from a snapshot of the account service and the later events of the stream; returns the number of
/// accounts and events.
///
/// # Errors
///
/// If the account service does not reply, the stream cannot be read, or the database fails.
pub async fn snapshot(client: &Client, js: &jetstream::Context, db: &DatabaseConnection) -> anyhow::Result<u64> {
    // Read before the snapshot: later changes have higher sequences.
    let from = last_sequence(js, EVENTS).await? + 1;
    let mut read = 0;
    let mut after = None;
    loop {
        let request = serde_json::to_vec(&ListAccounts { after, limit: Some(PAGE) })?;
        let page: Option<Page<AccountSnapshotEntry>> = query(client, "account.query.snapshot", request).await?;
        let Page { items, next } = page.context("account-service has no snapshot")?;
        read += items.len() as u64;
        accounts::apply(db, items.into_iter().map(account_of)).await?;
        match next {
            Some(next) => after = Some(CustomerId::parse(next).context("reading the cursor of a snapshot")?),
            None => break,
        }
    }
    let later = replay_from(js, db, from).await;
    Ok(read + later.context("the copies of accounts lack changes since the snapshot began; run it again")?)
}

/// Queries the given accounts one by one; without any, the accounts that payments wait for and that have no copy.
/// Returns the number of accounts found.
///
/// The account service replies "not found" for a deleted account, too: its deletion is not copied.
///
/// # Errors
///
/// If the account service does not reply or the database fails.
pub async fn fetch(client: &Client, db: &DatabaseConnection, requested: &[CustomerId]) -> anyhow::Result<u64> {
    let customers = if requested.is_empty() { missing(db).await? } else { requested.iter().cloned().collect() };
    let mut found = Vec::new();
    for customer_id in customers {
        if let Some(account) = query_account(client, &customer_id).await? {
            found.push((customer_id, account));
        }
    }
    let read = found.len() as u64;
    accounts::apply(db, found).await?;
    Ok(read)
}

/// Queries the account service for one account; `None` if it does not exist.
///
/// # Errors
///
/// If the account service does not reply, or not with an account.
pub async fn query_account(client: &Client, customer_id: &CustomerId) -> anyhow::Result<Option<Account>> {
    let view: Option<AccountView> = query(client, &format!("account.query.get.{customer_id}"), Vec::new()).await?;
    Ok(view.map(|view| Account::known(view.version, &view.details)))
}

async fn replay_from(js: &jetstream::Context, db: &DatabaseConnection, from: u64) -> anyhow::Result<u64> {
    check_complete(js, EVENTS, from).await?;
    let mut replay = Replay::start(js, EVENTS, ACCOUNTS, from).await?;
    let mut read = 0;
    while let Some(batch) = replay.next_batch::<AccountFact>().await? {
        read += batch.len() as u64;
        accounts::apply(db, batch.into_iter().filter_map(|event| event.payload.0)).await?;
    }
    check_complete(js, EVENTS, from).await?;
    Ok(read)
}

/// The account of an account event; `None` for a refusal.
struct AccountFact(Option<(CustomerId, Account)>);

impl Messages for AccountFact {
    const MESSAGES: &'static [MessageInfo] = AccountEvent::MESSAGES;

    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(match AccountEvent::decode(message_type, body) {
            Ok(AccountEvent::Changed(changed)) => {
                Some((changed.customer_id, Account::known(changed.version, &changed.details)))
            }
            Ok(AccountEvent::Deleted(deleted)) => Some((deleted.customer_id, Account::deleted(deleted.version))),
            // A refusal changes nothing, and neither does an event type of a newer release.
            Ok(AccountEvent::Refused(_)) | Err(DecodeError::UnknownType(_)) => None,
            Err(error) => return Err(error),
        }))
    }
}

fn account_of(entry: AccountSnapshotEntry) -> (CustomerId, Account) {
    let account = match &entry.details {
        Some(details) if !entry.deleted => Account::known(entry.version, details),
        _ => Account::deleted(entry.version),
    };
    (entry.customer_id, account)
}

/// The customers of payments that wait for an account.
async fn missing(db: &DatabaseConnection) -> anyhow::Result<BTreeSet<CustomerId>> {
    let waiting: Vec<String> = Entity::find()
        .select_only()
        .column(Column::CustomerId)
        .distinct()
        .filter(Column::Status.is_in([Status::Pending, Status::AwaitingAccount]))
        .filter(Column::CustomerId.is_not_null())
        .into_tuple()
        .all(db)
        .await?;
    let waiting: BTreeSet<CustomerId> =
        waiting.into_iter().map(CustomerId::parse).collect::<Result<_, _>>().map_err(statement::invalid_row)?;
    let known = accounts::load(db, &waiting).await?;
    Ok(waiting.into_iter().filter(|customer_id| !known.contains_key(customer_id)).collect())
}

/// Queries a service; `None` if the reply is "not found".
async fn query<T: DeserializeOwned>(client: &Client, subject: &str, body: Vec<u8>) -> anyhow::Result<Option<T>> {
    match ask(client, subject.to_owned(), body.into(), REPLY_TIMEOUT).await {
        Ok(reply) => {
            Ok(Some(serde_json::from_slice(&reply).with_context(|| format!("reading the reply to {subject}"))?))
        }
        Err(AskError::NotFound(_)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("querying {subject}; is account-service running?")),
    }
}
