//! Collects the record at the end: streams, API responses, tables, the provider's ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self};
use demo::{Component, Shop, ShopConfig};
use futures::StreamExt;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::breaking::{Breaker, CONSUMERS};
use crate::load::client::Client;
use crate::load::plan::{CUSTOMERS, customer};
use crate::recorded::{Exposure, Kept, Notification, Payment, Recorded, Reservation, Stock, Stored};

/// The time limit for the next message while a stream is read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for the consistency checks to settle at rest.
const INVARIANTS_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for [`LEDGER_CHECK`]: between two comparisons of a large ledger, payment-service pauses for up to five minutes.
const LEDGER_CHECK_TIMEOUT: Duration = Duration::from_secs(600);
const LEDGER_CHECK: &str = "provider-ledger";
/// The duration of the CPU measurement at rest, in seconds.
const IDLE_SECONDS: u64 = 4;
/// The maximum page size of the gateway.
const PAGE: usize = 200;

/// The tables of the projections: the name in the record, the columns of the key, the other columns, and the query.
const READ_MODELS: &[(&str, &[&str], &[&str], &str)] = &[
    (
        "orders",
        &["order_id"],
        &["customer_id", "status", "version", "total_price"],
        "SELECT order_id, customer_id, status, version, total_price FROM order_search_v1",
    ),
    ("products", &["order_id", "product_id"], &[], "SELECT order_id, product_id FROM order_search_products_v1"),
    (
        "sales",
        &["day", "product_id", "currency"],
        &["confirmed_units", "confirmed_amount", "cancelled_units", "cancelled_amount"],
        "SELECT * FROM sales_v1",
    ),
    ("open", &["order_id"], &[], "SELECT order_id FROM sales_orders_v1"),
    (
        "customers",
        &["customer_id"],
        &["orders", "open", "confirmed", "cancelled"],
        "SELECT customer_id, orders, open, confirmed, cancelled FROM customers_v1",
    ),
    ("spent", &["customer_id", "currency"], &["amount"], "SELECT * FROM customers_spent_v1"),
];

/// The databases of the services.
pub struct Tables {
    databases: BTreeMap<Component, DatabaseConnection>,
}

impl Tables {
    /// Opens all databases.
    ///
    /// # Errors
    ///
    /// If a database cannot be opened.
    pub async fn open(config: &ShopConfig) -> anyhow::Result<Self> {
        let mut databases = BTreeMap::new();
        for component in Component::WITH_DATABASE {
            if let Some(url) = config.database_url(component) {
                let database =
                    Database::connect(url).await.with_context(|| format!("opening {component}'s database"))?;
                databases.insert(component, database);
            }
        }
        Ok(Self { databases })
    }

    async fn rows(&self, component: Component, sql: &str) -> anyhow::Result<Vec<QueryResult>> {
        let database = self.databases.get(&component).with_context(|| format!("{component} has no database"))?;
        let statement = Statement::from_string(database.get_database_backend(), sql);
        database.query_all_raw(statement).await.with_context(|| format!("querying {component}'s database: {sql}"))
    }

    /// Returns the number of pending outbox batches, by service.
    ///
    /// # Errors
    ///
    /// If a database query fails.
    pub async fn outbox_pending(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut depths = BTreeMap::new();
        for component in Component::WITH_DATABASE {
            let rows = self.rows(component, "SELECT COUNT(*) AS n FROM outbox_pending").await?;
            let depth: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", "n"))?;
            depths.insert(component.name().to_owned(), u64::try_from(depth).unwrap_or_default());
        }
        Ok(depths)
    }

    /// Returns the number of payments in progress.
    ///
    /// # Errors
    ///
    /// If the database query fails.
    pub async fn payments_under_way(&self) -> anyhow::Result<u64> {
        let sql = "SELECT COUNT(*) AS n FROM payments \
                   WHERE status IN ('awaiting-account', 'capturing', 'voiding', 'refunding')";
        let rows = self.rows(Component::PaymentService, sql).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", "n"))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Returns the orders whose payments need manual action.
    ///
    /// # Errors
    ///
    /// If the database query fails.
    pub async fn alarms(&self) -> anyhow::Result<BTreeSet<String>> {
        let sql = "SELECT order_id FROM payments WHERE alarm_since IS NOT NULL";
        let rows = self.rows(Component::PaymentService, sql).await?;
        rows.iter().map(|row| Ok(row.try_get("", "order_id")?)).collect()
    }

    /// Returns the number of projections that have not applied all events.
    ///
    /// # Errors
    ///
    /// If the database query fails.
    pub async fn projections_behind(&self) -> anyhow::Result<u64> {
        let sql = "SELECT COUNT(*) AS n FROM projections WHERE state <> 'live' OR lag > 0";
        let rows = self.rows(Component::ProjectionService, sql).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", "n"))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Returns the rows of each projection, by key.
    async fn read_models(&self) -> anyhow::Result<BTreeMap<String, BTreeMap<String, Value>>> {
        let mut read_models = BTreeMap::new();
        for (projection, keys, columns, sql) in READ_MODELS {
            let rows = self.rows(Component::ProjectionService, sql).await?;
            let rows = rows.iter().map(|row| {
                let key: Result<Vec<String>, _> = keys.iter().map(|key| row.try_get("", key)).collect();
                let mut texts = serde_json::Map::new();
                for column in *columns {
                    let value = match row.try_get::<i64>("", column) {
                        Ok(number) => number.into(),
                        Err(_) => row.try_get::<String>("", column)?.into(),
                    };
                    texts.insert((*column).to_owned(), value);
                }
                anyhow::Ok((key?.join(" "), Value::Object(texts)))
            });
            read_models.insert((*projection).to_owned(), rows.collect::<anyhow::Result<_>>()?);
        }
        Ok(read_models)
    }

    async fn history(&self) -> anyhow::Result<Vec<Kept>> {
        let sql =
            "SELECT aggregate_id, version, message_id, message_type FROM events ORDER BY aggregate_id, version";
        let rows = self.rows(Component::OrderService, sql).await?;
        rows.iter()
            .map(|row| {
                Ok(Kept {
                    order_id: row.try_get("", "aggregate_id")?,
                    version: row.try_get("", "version")?,
                    message_id: row.try_get::<Uuid>("", "message_id")?.to_string(),
                    message_type: row.try_get("", "message_type")?,
                })
            })
            .collect()
    }

    async fn reservations(&self) -> anyhow::Result<BTreeMap<String, Reservation>> {
        let rows =
            self.rows(Component::InventoryService, "SELECT order_id, status, lines FROM reservations").await?;
        rows.iter()
            .map(|row| {
                let lines: String = row.try_get("", "lines")?;
                let lines: Vec<Value> = serde_json::from_str(&lines).context("reading a reservation")?;
                Ok((
                    row.try_get("", "order_id")?,
                    Reservation {
                        status: row.try_get("", "status")?,
                        lines: lines.iter().filter_map(line).collect(),
                    },
                ))
            })
            .collect()
    }

    async fn payments(&self) -> anyhow::Result<BTreeMap<String, Payment>> {
        let rows = self.rows(Component::PaymentService, "SELECT order_id, status, reference FROM payments").await?;
        rows.iter()
            .map(|row| {
                let payment =
                    Payment { status: row.try_get("", "status")?, reference: row.try_get("", "reference")? };
                Ok((row.try_get("", "order_id")?, payment))
            })
            .collect()
    }

    async fn exposures(&self) -> anyhow::Result<Vec<Exposure>> {
        let rows =
            self.rows(Component::PaymentService, "SELECT customer_id, currency, amount FROM exposures").await?;
        rows.iter()
            .map(|row| {
                Ok(Exposure {
                    customer_id: row.try_get("", "customer_id")?,
                    currency: row.try_get("", "currency")?,
                    amount: row.try_get("", "amount")?,
                })
            })
            .collect()
    }
}

fn line(line: &Value) -> Option<(String, u64)> {
    Some((line["productId"].as_str()?.to_owned(), line["quantity"].as_u64()?))
}

/// Collects the record, except for the campaign's own data: exchanges, and processes that ended.
///
/// # Errors
///
/// If a part of the shop is unavailable.
pub async fn collect(breaker: &Breaker, client: &Client, tables: &Tables) -> anyhow::Result<Recorded> {
    let js = &breaker.messages.jetstream();
    let (mut messages, missed) = breaker.archive.take().await?;
    let place = |message: &Stored| (message.stream.clone(), message.sequence, message.id().to_owned());
    let copied: BTreeSet<_> = messages.iter().map(place).collect();
    for stream in ["COMMANDS", "EVENTS", "TIMERS"] {
        let held = read(js, stream).await?;
        messages.extend(held.into_iter().filter(|message| !copied.contains(&place(message))));
    }
    let by = |items: Vec<Value>, name: &str| -> BTreeMap<String, Value> {
        items.into_iter().map(|item| (item[name].as_str().unwrap_or_default().to_owned(), item)).collect()
    };
    let products = by(pages(client, "/products", "cursor").await?, "productId");
    let products = products
        .into_iter()
        .map(|(id, product)| Ok((id, serde_json::from_value(product).context("reading a product")?)))
        .collect::<anyhow::Result<BTreeMap<String, Stock>>>()?;
    let customers: Vec<String> = (0..CUSTOMERS).map(customer).chain(["NOBODY".to_owned()]).collect();
    let (mut accounts, mut notifications) = (BTreeMap::new(), Vec::new());
    for customer_id in customers {
        let account = client.query(&format!("/accounts/{customer_id}")).await;
        if account.status == 200 {
            accounts.insert(customer_id.clone(), account.answer);
        }
        for recorded in pages(client, &format!("/customers/{customer_id}/notifications"), "after").await? {
            notifications.push(serde_json::from_value::<Notification>(recorded).context("reading a notification")?);
        }
    }
    Ok(Recorded {
        messages,
        missed,
        dead_letters: read(js, "DEAD_LETTERS").await?,
        orders: by(pages(client, "/orders", "cursor").await?, "orderId"),
        products,
        accounts,
        notifications,
        history: tables.history().await?,
        reservations: tables.reservations().await?,
        payments: tables.payments().await?,
        exposures: tables.exposures().await?,
        read_models: tables.read_models().await?,
        ledger: ledger(breaker.shop.config()).await?,
        outbox_pending: tables.outbox_pending().await?,
        unsettled: unsettled(js).await?,
        ..Recorded::default()
    })
}

/// Returns the response of `GET /invariants`, once every check passes or the time is up.
pub async fn settled_invariants(client: &Client) -> Value {
    let start = Instant::now();
    loop {
        let answer = client.query("/invariants").await.answer;
        let checks = answer["checks"].as_array().map_or(&[][..], Vec::as_slice);
        let unsettled: Vec<&Value> = checks.iter().filter(|check| check["status"] != "pass").collect();
        let is_only_ledger = !unsettled.is_empty() && unsettled.iter().all(|check| check["name"] == LEDGER_CHECK);
        let limit = if is_only_ledger { LEDGER_CHECK_TIMEOUT } else { INVARIANTS_TIMEOUT };
        if (unsettled.is_empty() && !checks.is_empty()) || start.elapsed() > limit {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Returns the CPU usage of each service, in percent of a core.
pub async fn cpu_at_rest(shop: &Shop) -> BTreeMap<String, f64> {
    let processes =
        || Component::SERVICES.into_iter().filter_map(|component| Some((component, shop.process(component)?)));
    let before: BTreeMap<Component, u64> =
        processes().filter_map(|(component, id)| Some((component, ticks(id)?))).collect();
    tokio::time::sleep(Duration::from_secs(IDLE_SECONDS)).await;
    let used = processes()
        .filter_map(|(component, id)| Some((component, ticks(id)?.checked_sub(*before.get(&component)?)?)));
    // The kernel counts a hundred ticks per second.
    used.map(|(component, ticks)| (component.name().to_owned(), ticks as f64 / IDLE_SECONDS as f64)).collect()
}

/// Returns the CPU time of a process so far, in ticks of the kernel.
fn ticks(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Returns the number of pending and unacknowledged messages, by consumer.
///
/// # Errors
///
/// If a stream or a consumer cannot be read.
pub async fn unsettled(js: &jetstream::Context) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut unsettled = BTreeMap::new();
    for (stream, consumer) in CONSUMERS {
        let handle = js.get_stream(stream).await.with_context(|| format!("reading {stream}"))?;
        let info =
            handle.consumer_info(consumer).await.with_context(|| format!("reading {consumer} of {stream}"))?;
        let left = info.num_pending + info.num_ack_pending as u64;
        unsettled.insert(format!("{consumer} of {stream}"), left);
    }
    Ok(unsettled)
}

/// The time limit for reading the provider's ledger.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn ledger(config: &ShopConfig) -> anyhow::Result<Vec<Value>> {
    let url = format!("{}/ledger", config.http_url(Component::PaymentProvider));
    let ledger: Value = choreography::http::client(LEDGER_TIMEOUT)?
        .get(url)
        .send()
        .await?
        .json()
        .await
        .context("reading the provider's ledger")?;
    Ok(ledger["entries"].as_array().cloned().unwrap_or_default())
}

/// Reads all pages of a list.
async fn pages(client: &Client, path: &str, cursor: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let page = client.query(&format!("{path}?limit={PAGE}{next}")).await;
        if page.status != 200 {
            bail!("{path} had the response {}: {}", page.status, page.answer);
        }
        items.extend(page.answer["items"].as_array().cloned().unwrap_or_default());
        match page.answer["next"].as_str() {
            Some(value) => next = format!("&{cursor}={value}"),
            None => return Ok(items),
        }
    }
}

/// Reads a stream from its first message to its current last one.
async fn read(js: &jetstream::Context, name: &str) -> anyhow::Result<Vec<Stored>> {
    let stream = js.get_stream(name).await.with_context(|| format!("reading {name}"))?;
    let mut read = Vec::new();
    if stream.cached_info().state.messages == 0 {
        return Ok(read);
    }
    let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.context("reading a stream")?;
    let mut messages = consumer.messages().await.context("reading a stream")?;
    loop {
        let next = tokio::time::timeout(READ_TIMEOUT, messages.next()).await;
        let message = next.with_context(|| format!("reading {name}"))?.context("the stream ended")??;
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let (sequence, left) = (info.stream_sequence, info.pending);
        let headers = message.headers.iter().flat_map(async_nats::HeaderMap::iter);
        let headers =
            headers.filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string()))).collect();
        read.push(Stored {
            stream: name.to_owned(),
            sequence,
            subject: message.subject.to_string(),
            headers,
            body: serde_json::from_slice(&message.payload).unwrap_or_default(),
        });
        if left == 0 {
            return Ok(read);
        }
    }
}
