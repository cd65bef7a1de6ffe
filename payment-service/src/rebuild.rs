//! The copies of accounts, filled again (ADR 10).
//!
//! All three ways write copies as events do, each over an older one only, so they are safe while the service runs and
//! may be repeated or given up half way.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::{Client, Request, jetstream};
use contracts::account::AccountEvent;
use contracts::query::{AccountSnapshotEntry, AccountView, ListAccounts, Page};
use contracts::topology::{EVENTS, PAYMENT_SERVICE, producer};
use contracts::{CustomerId, DecodeError};
use messaging::replay::{Replay, check_complete, last_sequence};
use messaging::{Decode, connection, database};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QuerySelect};
use serde::de::DeserializeOwned;

use crate::config::{Config, Rebuild};
use crate::entity::payment::{Column, Entity, Status};
use crate::migration::Migrator;
use crate::payment::{Account, PaymentMessage};
use crate::{accounts, row};

/// The subjects of account events.
const ACCOUNTS: &str = "account.event.>";
/// How long nats-server may take to answer at first.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the account service may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Accounts asked for at a time: an answer must fit into a message, and an account may have ten addresses.
const PAGE: u64 = 50;

/// Fills the copies as the command line says, and says what came of it.
///
/// # Errors
///
/// Where the database, the broker, or the account service cannot be reached.
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

/// Fills the copies from the stream, read from its start; returns how many events it had.
///
/// # Errors
///
/// Where the stream cannot be read or the database fails; and if the stream has lost its start: then nothing is written.
pub async fn replay(js: &jetstream::Context, db: &DatabaseConnection) -> anyhow::Result<u64> {
    replay_from(js, db, 1).await.context(
        "the copies of accounts are not complete; fill them from account-service: `payment-service rebuild snapshot`, \
         or restore the backup of the database first",
    )
}

/// Fills the copies from a snapshot of the account service and what the stream has behind it; returns how many
/// accounts and events these had.
///
/// # Errors
///
/// Where the account service does not answer, the stream cannot be read, or the database fails.
pub async fn snapshot(client: &Client, js: &jetstream::Context, db: &DatabaseConnection) -> anyhow::Result<u64> {
    // Taken before: what changes while the snapshot is read is behind it.
    let from = last_sequence(js, EVENTS).await? + 1;
    let mut read = 0;
    let mut after = None;
    loop {
        let asked = serde_json::to_vec(&ListAccounts { after, limit: Some(PAGE) })?;
        let page: Option<Page<AccountSnapshotEntry>> = query(client, "account.query.snapshot", asked).await?;
        let Page { items, next } = page.context("the account service knows no snapshot")?;
        read += items.len() as u64;
        accounts::apply(db, items.into_iter().map(account_of)).await?;
        match next {
            Some(next) => after = Some(CustomerId::parse(next).context("reading the cursor of a snapshot")?),
            None => break,
        }
    }
    let behind = replay_from(js, db, from).await;
    Ok(read + behind.context("the copies of accounts lack changes since the snapshot began; run it again")?)
}

/// Fills the copies of some accounts by asking for each; without any named, of those that payments wait for and that
/// are not known. Returns how many there are.
///
/// An account that was deleted is as unknown to the account service as one that never was: no copy tells of it.
///
/// # Errors
///
/// Where the account service does not answer or the database fails.
pub async fn fetch(client: &Client, db: &DatabaseConnection, named: &[CustomerId]) -> anyhow::Result<u64> {
    let customers = if named.is_empty() { missing(db).await? } else { named.iter().cloned().collect() };
    let mut found = Vec::new();
    for customer_id in customers {
        if let Some(account) = ask(client, &customer_id).await? {
            found.push((customer_id, account));
        }
    }
    let read = found.len() as u64;
    accounts::apply(db, found).await?;
    Ok(read)
}

/// Asks the account service for one account; none where it knows of none.
///
/// # Errors
///
/// Where it does not answer, or not with an account.
pub async fn ask(client: &Client, customer_id: &CustomerId) -> anyhow::Result<Option<Account>> {
    let view: Option<AccountView> = query(client, &format!("account.query.get.{customer_id}"), Vec::new()).await?;
    Ok(view.map(|view| Account::known(view.version, &view.details)))
}

async fn replay_from(js: &jetstream::Context, db: &DatabaseConnection, from: u64) -> anyhow::Result<u64> {
    check_complete(js, EVENTS, from).await?;
    let mut replay = Replay::start(js, EVENTS, ACCOUNTS, from, producer).await?;
    let mut read = 0;
    while let Some(batch) = replay.next_batch::<AccountFact>().await? {
        read += batch.len() as u64;
        accounts::apply(db, batch.into_iter().filter_map(|event| event.payload.0)).await?;
    }
    check_complete(js, EVENTS, from).await?;
    Ok(read)
}

/// What an account event says about an account.
struct AccountFact(Option<(CustomerId, Account)>);

impl Decode for AccountFact {
    fn decode(message_type: &str, body: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(match AccountEvent::decode(message_type, body) {
            Ok(AccountEvent::Changed(changed)) => PaymentMessage::AccountChanged(changed).account(),
            Ok(AccountEvent::Deleted(deleted)) => PaymentMessage::AccountDeleted(deleted).account(),
            // A refusal changes nothing, and neither does what only newer programs know of.
            Ok(AccountEvent::Refused(_)) | Err(DecodeError::UnknownType(_)) => None,
            Err(error) => return Err(error.into()),
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
        waiting.into_iter().map(CustomerId::parse).collect::<Result<_, _>>().map_err(row::foreign)?;
    let known = accounts::load(db, &waiting).await?;
    Ok(waiting.into_iter().filter(|customer_id| !known.contains_key(customer_id)).collect())
}

/// Asks over the Services API; none where what is asked about does not exist.
async fn query<T: DeserializeOwned>(client: &Client, subject: &str, body: Vec<u8>) -> anyhow::Result<Option<T>> {
    let request = Request::new().payload(body.into()).timeout(Some(ANSWER));
    let answer = client
        .send_request(subject.to_owned(), request)
        .await
        .with_context(|| format!("asking {subject}; is the account service there?"))?;
    let code = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error-Code"));
    match code.map(async_nats::HeaderValue::as_str) {
        None => Ok(Some(serde_json::from_slice(&answer.payload).with_context(|| format!("reading {subject}"))?)),
        Some("404") => Ok(None),
        Some(code) => bail!("{subject} is answered with an error of code {code}"),
    }
}
