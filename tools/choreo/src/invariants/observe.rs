//! Queries the services and the streams, in the order that their comparison needs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{ErrorCode, consumer};
use choreography::stats::{self, Stats};
use choreography::{Topology, clock};
use contracts::query::{
    CompareAllocations, NotificationReconciliation, OrderReconciliation, PaymentReconciliation, StockReconciliation,
};
use contracts::topology::{
    COMMANDS, DEAD_LETTERS, EVENTS, INVENTORY_SERVICE, NOTIFICATION_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE, TIMERS,
};
use futures::TryStreamExt;
use futures::future::join_all;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::Operator;

/// The time limit for a reply: two queries in succession stay below the maximum age of a shared result.
const REPLY_TIMEOUT: Duration = Duration::from_millis(1200);
/// The events of which each order has at most one.
const ONCE_PER_ORDER: [&str; 11] = [
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
/// The maximum number of dead letters that are reported individually.
const MAX_DEAD_LETTERS: u64 = 1000;

/// A reply, or why it is missing.
pub(super) type Reply<T> = Result<T, String>;

/// All replies.
#[derive(Debug)]
pub(super) struct Observed {
    /// Of each service that consumes a stream.
    pub(super) stats: BTreeMap<String, Reply<Stats>>,
    pub(super) orders: Reply<OrderReconciliation>,
    pub(super) stock: Reply<StockReconciliation>,
    pub(super) payments: Reply<PaymentReconciliation>,
    pub(super) notifications: Reply<NotificationReconciliation>,
    /// The consumer lags, taken last.
    pub(super) lags: Reply<Vec<Lag>>,
    pub(super) dead_letters: Reply<DeadLetters>,
    /// The time before the first query.
    pub(super) at: OffsetDateTime,
    /// Whether no message was under way from before the first query until after the last reply.
    pub(super) quiet: bool,
}

impl Observed {
    /// The observation without a connection.
    fn nothing() -> Self {
        let why = || "nats-server is unavailable".to_owned();
        Self {
            stats: BTreeMap::from([("the services".to_owned(), Err(why()))]),
            orders: Err(why()),
            stock: Err(why()),
            payments: Err(why()),
            notifications: Err(why()),
            lags: Err(why()),
            dead_letters: Err(why()),
            at: clock::now(),
            quiet: false,
        }
    }
}

/// The lag of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) service: String,
    pub(super) stream: String,
    pub(super) pending: u64,
    pub(super) unacknowledged: usize,
    /// The ack floor: all messages up to this sequence are acknowledged.
    pub(super) floor: u64,
    pub(super) delivered: u64,
    /// The number of deliveries, redeliveries included.
    pub(super) deliveries: u64,
    /// The first sequence in the stream.
    pub(super) first: u64,
    /// The last sequence in the stream.
    pub(super) last: u64,
    /// Whether the consumer, or the stream, does not exist.
    pub(super) missing: bool,
}

/// The dead letters.
#[derive(Debug, Clone, Default)]
pub(super) struct DeadLetters {
    pub(super) count: u64,
    /// The subjects and the number of messages of each, unless there are too many.
    pub(super) subjects: Vec<(String, usize)>,
}

/// Queries everything; if nats-server is unavailable, nothing.
pub(super) async fn observe(operator: &Operator, topology: &Topology) -> Observed {
    if !operator.is_connected() {
        return Observed::nothing();
    }
    let at = clock::now();
    let before = lags(operator, topology).await;
    // Confirmed orders only increase, and were reserved and captured before: stock and payments are queried after
    // orders.
    let in_succession = async {
        let orders: Reply<OrderReconciliation> = reconciliation(operator, ORDER_SERVICE, "order").await;
        let (stock, payments) =
            tokio::join!(stock(operator, &orders), reconciliation(operator, PAYMENT_SERVICE, "payment"));
        (orders, stock, payments)
    };
    let ((orders, stock, payments), notifications, stats, dead_letters) = tokio::join!(
        in_succession,
        reconciliation(operator, NOTIFICATION_SERVICE, "notification"),
        all_stats(operator, topology),
        dead_letters(operator),
    );
    let after = lags(operator, topology).await;
    let outboxes_empty = stats.values().all(|stats| stats.as_ref().is_ok_and(|stats| stats.outbox_depth == 0));
    let handled = |lags: &[Lag]| lags.iter().all(|lag| lag.pending == 0 && lag.unacknowledged == 0);
    let quiet = outboxes_empty
        && matches!((&before, &after), (Ok(before), Ok(after)) if handled(before) && before == after);
    Observed { stats, orders, stock, payments, notifications, lags: after, dead_letters, at, quiet }
}

async fn reconciliation<T: DeserializeOwned>(operator: &Operator, service: &str, context: &str) -> Reply<T> {
    ask(operator, service, format!("{context}.query.reconciliation"), Vec::new()).await
}

/// Queries the reconciliation of the stock, with the reservations of the orders that order-service listed.
async fn stock(operator: &Operator, orders: &Reply<OrderReconciliation>) -> Reply<StockReconciliation> {
    let allocations = orders.as_ref().ok().and_then(|orders| orders.allocations.as_ref());
    let order_ids = allocations.into_iter().flat_map(|allocations| {
        let confirmed = allocations.newest_confirmed.iter().map(|allocation| &allocation.order_id);
        confirmed.chain(&allocations.newest_cancelled).cloned()
    });
    let request = CompareAllocations { order_ids: order_ids.collect() };
    let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    ask(operator, INVENTORY_SERVICE, "inventory.query.reconciliation".to_owned(), body).await
}

async fn ask<T: DeserializeOwned>(operator: &Operator, service: &str, subject: String, body: Vec<u8>) -> Reply<T> {
    let reply =
        operator.ask(service, subject, body.into(), REPLY_TIMEOUT).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&reply).map_err(|error| format!("the reply of {service} cannot be read: {error}"))
}

async fn all_stats(operator: &Operator, topology: &Topology) -> BTreeMap<String, Reply<Stats>> {
    let mut services: Vec<&str> = topology.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    let request = stats::Request { once_per_key: ONCE_PER_ORDER.map(str::to_owned).into() };
    let replies = services.into_iter().map(|service| {
        let body = serde_json::to_vec(&request).map_err(|error| error.to_string());
        async move {
            let reply = match body {
                Ok(body) => ask(operator, service, stats::subject(service), body).await,
                Err(error) => Err(error),
            };
            (service.to_owned(), reply)
        }
    });
    join_all(replies).await.into_iter().collect()
}

async fn lags(operator: &Operator, topology: &Topology) -> Reply<Vec<Lag>> {
    let reading = async {
        let mut lags = Vec::new();
        for name in [COMMANDS, EVENTS, TIMERS] {
            let reading = || format!("reading the stream {name}");
            let (state, infos) = match operator.js().get_stream(name).await {
                Ok(stream) => {
                    let state = stream.cached_info().state.clone();
                    let infos: Vec<consumer::Info> =
                        stream.consumers().try_collect().await.with_context(reading)?;
                    (Some(state), infos)
                }
                Err(error) if is_absent(&error) => (None, Vec::new()),
                Err(error) => return Err(error).with_context(reading),
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
    match tokio::time::timeout(REPLY_TIMEOUT, reading).await {
        Ok(lags) => lags.map_err(|error| format!("{error:#}")),
        Err(_) => Err("nats-server did not reply in time".to_owned()),
    }
}

/// Returns whether the stream certainly does not exist, as opposed to a server that does not reply.
fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(ref why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

async fn dead_letters(operator: &Operator) -> Reply<DeadLetters> {
    let reading = async {
        let stream = operator.js().get_stream(DEAD_LETTERS).await?;
        if stream.cached_info().state.messages == 0 {
            return anyhow::Ok(DeadLetters::default());
        }
        // Copies of deleted dead letters are in the same stream.
        let subjects: Vec<(String, usize)> =
            stream.info_with_subjects("dead-letter.>").await?.try_collect().await?;
        let count = subjects.iter().map(|(_, count)| *count as u64).sum();
        let subjects = if count > MAX_DEAD_LETTERS { Vec::new() } else { subjects };
        Ok(DeadLetters { count, subjects })
    };
    match tokio::time::timeout(REPLY_TIMEOUT, reading).await {
        Ok(dead_letters) => dead_letters.map_err(|error| format!("the dead letters: {error:#}")),
        Err(_) => Err("nats-server did not reply in time".to_owned()),
    }
}
