//! Asks the services and the streams, in the order that comparing them needs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{ErrorCode, consumer};
use contracts::query::{CompareAllocations, NotificationBalance, OrderBalance, PaymentBalance, StockBalance};
use contracts::topology::{
    COMMANDS, DEAD_LETTERS, EVENTS, INVENTORY_SERVICE, NOTIFICATION_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE, TIMERS,
};
use futures::TryStreamExt;
use futures::future::join_all;
use messaging::vitals::{self, Vitals};
use messaging::{Topology, clock};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::Operator;

/// How long a service may take to answer: two in succession stay below the age of a result that others may see.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1200);
/// What is said once about one order.
const SAID_ONCE: [&str; 11] = [
    "order.event.placed",
    "order.event.awaiting-stock",
    "order.event.reserved",
    "order.event.confirmed",
    "order.event.cancelled",
    "inventory.event.reserved",
    "inventory.event.backordered",
    "inventory.event.released",
    "payment.event.captured",
    "payment.event.declined",
    "payment.event.refunded",
];
/// So many dead letters are named one by one.
const MOST_LETTERS: u64 = 1000;

/// What was answered, or why not.
pub(super) type Answer<T> = Result<T, String>;

/// Everything that was answered.
#[derive(Debug)]
pub(super) struct Observed {
    /// Of each service that listens to a stream.
    pub(super) vitals: BTreeMap<String, Answer<Vitals>>,
    pub(super) orders: Answer<OrderBalance>,
    pub(super) stock: Answer<StockBalance>,
    pub(super) payments: Answer<PaymentBalance>,
    pub(super) told: Answer<NotificationBalance>,
    /// How far the services are, as of the end.
    pub(super) lags: Answer<Vec<Lag>>,
    pub(super) letters: Answer<Letters>,
    /// When the first question was asked.
    pub(super) at: OffsetDateTime,
    /// Whether nothing was under way from before the first question until after the last answer.
    pub(super) quiet: bool,
}

impl Observed {
    /// What is known without a connection.
    fn nothing() -> Self {
        let why = || "nats-server is away".to_owned();
        Self {
            vitals: BTreeMap::from([("the services".to_owned(), Err(why()))]),
            orders: Err(why()),
            stock: Err(why()),
            payments: Err(why()),
            told: Err(why()),
            lags: Err(why()),
            letters: Err(why()),
            at: clock::now(),
            quiet: false,
        }
    }
}

/// How far a service is in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) service: String,
    pub(super) stream: String,
    pub(super) pending: u64,
    pub(super) unacknowledged: usize,
    /// Up to where everything is acknowledged.
    pub(super) floor: u64,
    pub(super) delivered: u64,
    /// How many deliveries there have been, repeated ones included.
    pub(super) deliveries: u64,
    /// The first message that the stream still has.
    pub(super) first: u64,
    /// The last message of the stream.
    pub(super) last: u64,
    /// Whether the consumer, or the stream, does not exist.
    pub(super) missing: bool,
}

/// Dead letters.
#[derive(Debug, Clone, Default)]
pub(super) struct Letters {
    pub(super) count: u64,
    /// Their subjects, and how many each has, where they are not too many.
    pub(super) subjects: Vec<(String, usize)>,
}

/// Asks everything; nothing where nobody could answer.
pub(super) async fn observe(operator: &Operator, topology: &Topology) -> Observed {
    if !operator.is_connected() {
        return Observed::nothing();
    }
    let at = clock::now();
    let before = lags(operator, topology).await;
    // What is confirmed only grows and was reserved and captured before: stock and payments are asked after orders.
    let in_succession = async {
        let orders: Answer<OrderBalance> = balance(operator, ORDER_SERVICE, "order").await;
        let (stock, payments) =
            tokio::join!(stock(operator, &orders), balance(operator, PAYMENT_SERVICE, "payment"));
        (orders, stock, payments)
    };
    let ((orders, stock, payments), told, vitals, letters) = tokio::join!(
        in_succession,
        balance(operator, NOTIFICATION_SERVICE, "notification"),
        all_vitals(operator, topology),
        letters(operator),
    );
    let after = lags(operator, topology).await;
    let nothing_unsaid = vitals.values().all(|vitals| vitals.as_ref().is_ok_and(|vitals| vitals.outbox_depth == 0));
    let handled = |lags: &[Lag]| lags.iter().all(|lag| lag.pending == 0 && lag.unacknowledged == 0);
    let quiet = nothing_unsaid
        && matches!((&before, &after), (Ok(before), Ok(after)) if handled(before) && before == after);
    Observed { vitals, orders, stock, payments, told, lags: after, letters, at, quiet }
}

async fn balance<T: DeserializeOwned>(operator: &Operator, service: &str, context: &str) -> Answer<T> {
    ask(operator, service, format!("{context}.query.balance"), Vec::new()).await
}

/// Asks for the balance of the stock, with the reservations of the orders that order-service has named.
async fn stock(operator: &Operator, orders: &Answer<OrderBalance>) -> Answer<StockBalance> {
    let allocations = orders.as_ref().ok().and_then(|orders| orders.allocations.as_ref());
    let order_ids = allocations.into_iter().flat_map(|allocations| {
        let confirmed = allocations.newest_confirmed.iter().map(|allocation| &allocation.order_id);
        confirmed.chain(&allocations.newest_cancelled).cloned()
    });
    let request = CompareAllocations { order_ids: order_ids.collect() };
    let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    ask(operator, INVENTORY_SERVICE, "inventory.query.balance".to_owned(), body).await
}

async fn ask<T: DeserializeOwned>(operator: &Operator, service: &str, subject: String, body: Vec<u8>) -> Answer<T> {
    let answer =
        operator.ask(service, subject, body.into(), ANSWER_TIMEOUT).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| format!("the answer of {service} cannot be read: {error}"))
}

async fn all_vitals(operator: &Operator, topology: &Topology) -> BTreeMap<String, Answer<Vitals>> {
    let mut services: Vec<&str> = topology.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    let request = vitals::Request { said_once: SAID_ONCE.map(str::to_owned).into() };
    let asked = services.into_iter().map(|service| {
        let body = serde_json::to_vec(&request).map_err(|error| error.to_string());
        async move {
            let answer = match body {
                Ok(body) => ask(operator, service, vitals::subject(service), body).await,
                Err(error) => Err(error),
            };
            (service.to_owned(), answer)
        }
    });
    join_all(asked).await.into_iter().collect()
}

async fn lags(operator: &Operator, topology: &Topology) -> Answer<Vec<Lag>> {
    let looking = async {
        let mut lags = Vec::new();
        for name in [COMMANDS, EVENTS, TIMERS] {
            let looking = || format!("looking at the stream {name}");
            let (state, infos) = match operator.js().get_stream(name).await {
                Ok(stream) => {
                    let state = stream.cached_info().state.clone();
                    let infos: Vec<consumer::Info> =
                        stream.consumers().try_collect().await.with_context(looking)?;
                    (Some(state), infos)
                }
                Err(error) if is_absent(&error) => (None, Vec::new()),
                Err(error) => return Err(error).with_context(looking),
            };
            let (first, last) = state.map_or((0, 0), |state| (state.first_sequence, state.last_sequence));
            for spec in topology.consumers.iter().filter(|spec| spec.stream == name) {
                let info = infos.iter().find(|info| info.name == spec.name);
                lags.push(Lag {
                    service: spec.name.clone(),
                    stream: name.to_owned(),
                    pending: info.map_or(0, |info| info.num_pending),
                    unacknowledged: info.map_or(0, |info| info.num_ack_pending),
                    floor: info.map_or(0, |info| info.ack_floor.stream_sequence),
                    delivered: info.map_or(0, |info| info.delivered.stream_sequence),
                    deliveries: info.map_or(0, |info| info.delivered.consumer_sequence),
                    first,
                    last,
                    missing: info.is_none(),
                });
            }
        }
        anyhow::Ok(lags)
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, looking).await {
        Ok(lags) => lags.map_err(|error| format!("{error:#}")),
        Err(_) => Err("nats-server does not answer in time".to_owned()),
    }
}

/// Returns whether a stream does not exist, which is certain, as opposed to a server that does not answer.
fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(ref why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

async fn letters(operator: &Operator) -> Answer<Letters> {
    let looking = async {
        let stream = operator.js().get_stream(DEAD_LETTERS).await?;
        if stream.cached_info().state.messages == 0 {
            return anyhow::Ok(Letters::default());
        }
        // Those that were discarded stay in the same stream.
        let subjects: Vec<(String, usize)> =
            stream.info_with_subjects("dead-letter.>").await?.try_collect().await?;
        let count = subjects.iter().map(|(_, count)| *count as u64).sum();
        let subjects = if count > MOST_LETTERS { Vec::new() } else { subjects };
        Ok(Letters { count, subjects })
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, looking).await {
        Ok(letters) => letters.map_err(|error| format!("the dead letters: {error:#}")),
        Err(_) => Err("nats-server does not answer in time".to_owned()),
    }
}
