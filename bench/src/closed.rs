//! Orders through the gateway, one at a time on each of many connections: as fast as it answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::pull;
use bytes::Bytes;
use demo::Component;
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::drive::{Round, used};
use crate::http::Connection;
use crate::latencies::Latencies;
use crate::ledger::Ledger;
use crate::options::Span;
use crate::orders::Orders;
use crate::stage::Stage;
use crate::usage::{self, Processes};

/// How long orders may take to come to their end once no more are placed.
const DRAINS_WITHIN: Duration = Duration::from_secs(120);

/// The longest time until an order that was refused is sent again.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What clients do until a time, all of them on one thread.
struct Clients<'a> {
    orders: &'a Orders,
    ledger: &'a RefCell<Ledger>,
    /// How many orders may be on their way; none where only the answers count.
    window: Option<u64>,
    measuring: Cell<bool>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    latencies: RefCell<Latencies>,
    until: Instant,
}

/// What came of one round of requests.
pub struct Answered {
    /// Orders that were accepted while it was measured.
    pub accepted: u64,
    /// Answers 503, from the first request on; each order was sent again.
    pub refused: u64,
    /// How long that was.
    pub length: Duration,
    /// How long each answer took.
    pub latencies: Latencies,
}

/// Places orders through the gateway for a while and waits until the last has come to its end.
///
/// # Errors
///
/// Where an order is refused, or does not come to its end.
pub async fn drive(
    stage: &mut Stage,
    span: Span,
    connections: u64,
    processes: &Processes,
) -> anyhow::Result<(Round, Answered)> {
    let messages = stage.messages().await?;
    let ledger = Rc::new(RefCell::new(Ledger::starting_at(stage.next)));
    let ends = stage.follow().await?;
    let ends_received = hear(ends, stage.orders, ledger.clone());
    let url = stage.shop.config().http_url(Component::ApiGateway);
    let measuring = measure(&url, stage.orders, &ledger, span, connections, Some(stage.window), processes);
    tokio::pin!(ends_received);
    let (answered, finished, used) = tokio::select! {
        measured = measuring => measured?,
        received = &mut ends_received => bail!("the connection is closed: {received:?}"),
    };
    let start = Instant::now();
    while ledger.borrow().under_way() > 0 {
        if start.elapsed() > DRAINS_WITHIN {
            bail!("{} orders have not come to their end", ledger.borrow().under_way());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            received = &mut ends_received => bail!("the connection is closed: {received:?}"),
        }
    }
    let (placed, repeated) = (ledger.borrow().placed, ledger.borrow().repeated);
    stage.next += placed;
    let messages = stage.messages().await? - messages;
    let round = Round { orders: finished, length: answered.length, placed, repeated, messages, used };
    Ok((round, answered))
}

/// Places orders on whatever says 202 to them, and returns how many were accepted in which time.
///
/// # Errors
///
/// Where an order is refused.
pub async fn saturate(
    url: &str,
    orders: Orders,
    first: u64,
    span: Span,
    connections: u64,
    processes: &Processes,
) -> anyhow::Result<(Answered, std::collections::BTreeMap<String, usage::Usage>, u64)> {
    let ledger = Rc::new(RefCell::new(Ledger::starting_at(first)));
    let (answered, _, used) = measure(url, orders, &ledger, span, connections, None, processes).await?;
    let placed = ledger.borrow().placed;
    Ok((answered, used, placed))
}

type Measured = (Answered, u64, std::collections::BTreeMap<String, usage::Usage>);

async fn measure(
    url: &str,
    orders: Orders,
    ledger: &RefCell<Ledger>,
    span: Span,
    connections: u64,
    window: Option<u64>,
    processes: &Processes,
) -> anyhow::Result<Measured> {
    let open = try_join_all((0..connections).map(|_| Connection::open(url))).await?;
    let start = Instant::now();
    let clients = Clients {
        orders: &orders,
        ledger,
        window,
        measuring: Cell::new(false),
        accepted: Cell::new(0),
        refused: Cell::new(0),
        latencies: RefCell::new(Latencies::new("POST to 202")?),
        until: start + span.warm_up() + span.length(),
    };
    let at_work = try_join_all(open.into_iter().map(|connection| clients.work(connection)));
    let watch = async {
        tokio::time::sleep(span.warm_up()).await;
        let (begin, finished, before) = (Instant::now(), ledger.borrow().finished, usage::of_all(processes)?);
        clients.measuring.set(true);
        tokio::time::sleep_until(clients.until).await;
        clients.measuring.set(false);
        let finished = ledger.borrow().finished - finished;
        anyhow::Ok((begin.elapsed(), finished, used(&before, &usage::of_all(processes)?)))
    };
    let (_, (length, finished, used)) = tokio::try_join!(at_work, watch)?;
    let (accepted, refused) = (clients.accepted.get(), clients.refused.get());
    let answered = Answered { accepted, refused, length, latencies: clients.latencies.into_inner() };
    Ok((answered, finished, used))
}

impl Clients<'_> {
    async fn work(&self, mut connection: Connection) -> anyhow::Result<()> {
        while Instant::now() < self.until {
            if self.window.is_some_and(|window| self.ledger.borrow().under_way() >= window) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let number = self.ledger.borrow_mut().place();
            let body = Bytes::from(serde_json::to_vec(&self.orders.details(number)?)?);
            let start = Instant::now();
            while let Some(wait) = connection.try_place(body.clone()).await? {
                self.refused.set(self.refused.get() + 1);
                tokio::time::sleep(wait.min(MAX_WAIT)).await;
            }
            if self.measuring.get() {
                self.accepted.set(self.accepted.get() + 1);
                self.latencies.borrow_mut().add(start.elapsed());
            }
        }
        Ok(())
    }
}

/// Notes every end of an order.
async fn hear(ends: pull::Stream, orders: Orders, ledger: Rc<RefCell<Ledger>>) -> anyhow::Result<()> {
    let mut ends = ends.ready_chunks(256);
    loop {
        let messages = ends.next().await.context("no more events")?;
        let mut ledger = ledger.borrow_mut();
        for message in messages {
            if let Some(number) = orders.number_of(&message?.subject) {
                ledger.finish(number);
            }
        }
    }
}
