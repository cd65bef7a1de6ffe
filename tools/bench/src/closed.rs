//! Closed-loop load through the gateway: many connections with one request at a time each.

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

/// How long orders in flight may take to complete once no more are placed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

/// The maximum wait before a refused order is sent again.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The clients that place orders until a deadline, all on one thread.
struct Clients<'a> {
    orders: &'a Orders,
    ledger: &'a RefCell<Ledger>,
    /// The maximum number of orders in flight; `None` if only the responses are measured.
    window: Option<u64>,
    measuring: Cell<bool>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    latencies: RefCell<Latencies>,
    until: Instant,
}

/// The responses of one round of requests.
pub struct Responses {
    /// The number of orders accepted in the measured time.
    pub accepted: u64,
    /// The number of 503 responses, warm-up included; each refused order was sent again.
    pub refused: u64,
    /// The measured time.
    pub length: Duration,
    /// The response times.
    pub latencies: Latencies,
}

/// Places orders through the gateway for a time span, and waits until all are completed.
///
/// # Errors
///
/// If an order is refused with another status than 503, or not completed.
pub async fn drive(
    stage: &mut Stage,
    span: Span,
    connections: u64,
    processes: &Processes,
) -> anyhow::Result<(Round, Responses)> {
    let messages = stage.messages().await?;
    let ledger = Rc::new(RefCell::new(Ledger::starting_at(stage.next)));
    let ends = stage.follow().await?;
    let ends_received = consume(ends, stage.orders, ledger.clone());
    let url = stage.shop.config().http_url(Component::ApiGateway);
    let measuring = measure(&url, stage.orders, &ledger, span, connections, Some(stage.window), processes);
    tokio::pin!(ends_received);
    let (responses, finished, used) = tokio::select! {
        measured = measuring => measured?,
        received = &mut ends_received => bail!("the connection is closed: {received:?}"),
    };
    let start = Instant::now();
    while ledger.borrow().in_flight() > 0 {
        if start.elapsed() > DRAIN_TIMEOUT {
            bail!("{} orders are not completed", ledger.borrow().in_flight());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            received = &mut ends_received => bail!("the connection is closed: {received:?}"),
        }
    }
    let (placed, repeated) = (ledger.borrow().placed, ledger.borrow().repeated);
    stage.next += placed;
    let messages = stage.messages().await? - messages;
    let round = Round { orders: finished, length: responses.length, placed, repeated, messages, used };
    Ok((round, responses))
}

/// Places orders at any server that accepts them with 202, and returns its responses.
///
/// # Errors
///
/// If an order is refused with another status than 503.
pub async fn saturate(
    url: &str,
    orders: Orders,
    first: u64,
    span: Span,
    connections: u64,
    processes: &Processes,
) -> anyhow::Result<(Responses, std::collections::BTreeMap<String, usage::Usage>, u64)> {
    let ledger = Rc::new(RefCell::new(Ledger::starting_at(first)));
    let (responses, _, used) = measure(url, orders, &ledger, span, connections, None, processes).await?;
    let placed = ledger.borrow().placed;
    Ok((responses, used, placed))
}

type Measured = (Responses, u64, std::collections::BTreeMap<String, usage::Usage>);

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
    let load = try_join_all(open.into_iter().map(|connection| clients.place_orders(connection)));
    let watch = async {
        tokio::time::sleep(span.warm_up()).await;
        let (begin, finished, before) = (Instant::now(), ledger.borrow().finished, usage::of_all(processes)?);
        clients.measuring.set(true);
        tokio::time::sleep_until(clients.until).await;
        clients.measuring.set(false);
        let finished = ledger.borrow().finished - finished;
        anyhow::Ok((begin.elapsed(), finished, used(&before, &usage::of_all(processes)?)))
    };
    let (_, (length, finished, used)) = tokio::try_join!(load, watch)?;
    let (accepted, refused) = (clients.accepted.get(), clients.refused.get());
    let responses = Responses { accepted, refused, length, latencies: clients.latencies.into_inner() };
    Ok((responses, finished, used))
}

impl Clients<'_> {
    async fn place_orders(&self, mut connection: Connection) -> anyhow::Result<()> {
        while Instant::now() < self.until {
            if self.window.is_some_and(|window| self.ledger.borrow().in_flight() >= window) {
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

/// Records the last event of every order in the ledger.
async fn consume(ends: pull::Stream, orders: Orders, ledger: Rc<RefCell<Ledger>>) -> anyhow::Result<()> {
    let mut ends = ends.ready_chunks(256);
    loop {
        let messages = ends.next().await.context("the consumer has ended")?;
        let mut ledger = ledger.borrow_mut();
        for message in messages {
            if let Some(number) = orders.number_of(&message?.subject) {
                ledger.finish(number);
            }
        }
    }
}
