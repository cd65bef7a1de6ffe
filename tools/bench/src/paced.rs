//! Open-loop load through the gateway: orders at a fixed rate, whether or not earlier ones are completed.
//!
//! Each latency begins when the order was due, not when it was sent, so that delays of the shop are included.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use demo::Component;
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::sync::{Mutex, mpsc};

use crate::http::Connection;
use crate::latencies::Latencies;
use crate::ledger::Ledger;
use crate::options::Span;
use crate::pacer::pace;
use crate::stage::Stage;

/// How long orders in flight may take to complete once no more are placed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

/// The result of a run at a fixed rate.
pub struct Paced {
    /// The latencies from the due time of an order to its acceptance.
    pub accepted: Latencies,
    /// The latencies from the due time of an order to the delivery of its last event from the stream.
    pub ended: Latencies,
    /// The number of orders that were completed again.
    pub repeated: u64,
    /// The number of placed orders, warm-up included.
    pub placed: u64,
}

/// The number of an order, and its due time.
type Due = (u64, Instant);

/// The number of connections of [`during`].
pub(crate) const CONNECTIONS: u64 = 16;
/// The duration of each round of [`during`], and of orders before it.
pub(crate) const SPAN: Span = Span { warm_up: 0.0, seconds: 5.0, rounds: 1 };

/// Places orders at a fixed rate for as long as some work takes; `first` is the number of the first order.
///
/// # Errors
///
/// As [`drive`], and those of the work.
pub async fn during<T>(
    stage: &Stage,
    first: u64,
    rate: f64,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Paced)> {
    tokio::pin!(work);
    let mut all: Option<Paced> = None;
    loop {
        let placed = all.as_ref().map_or(0, |all| all.placed);
        let round = drive(stage, first + placed, rate, SPAN, CONNECTIONS);
        tokio::pin!(round);
        let (done, round) = tokio::select! {
            done = &mut work => (Some(done?), round.await?),
            round = &mut round => (None, round?),
        };
        let sum = match all.take() {
            None => round,
            Some(mut sum) => {
                sum.accepted.merge(&round.accepted)?;
                sum.ended.merge(&round.ended)?;
                (sum.repeated, sum.placed) = (sum.repeated + round.repeated, sum.placed + round.placed);
                sum
            }
        };
        match done {
            Some(done) => return Ok((done, sum)),
            None => all = Some(sum),
        }
    }
}

/// Places orders through the gateway at a fixed rate; `first` is the number of the first order.
///
/// # Errors
///
/// If an order is refused, or not completed.
pub async fn drive(stage: &Stage, first: u64, rate: f64, span: Span, connections: u64) -> anyhow::Result<Paced> {
    let mut ends = stage.follow().await?;
    let url = stage.shop.config().http_url(Component::ApiGateway);
    let open = try_join_all((0..connections).map(|_| Connection::open(&url))).await?;
    let begin = Instant::now() + span.warm_up();
    let mut times = pace(rate, span.warm_up() + span.length())?;
    let (work, waiting) = mpsc::channel::<Due>(1_000_000);
    let waiting = Mutex::new(waiting);
    let (report, mut responses) = mpsc::channel(1024);
    let orders = stage.orders;
    let clients = try_join_all(open.into_iter().map(|mut connection| {
        let (waiting, report) = (&waiting, report.clone());
        async move {
            while let Some((number, due)) = next(waiting).await {
                connection.place(Bytes::from(serde_json::to_vec(&orders.details(number)?)?)).await?;
                report.send(due).await.context("the measurement has ended")?;
            }
            anyhow::Ok(())
        }
    }));
    drop(report);
    let measure = async move {
        let mut work = Some(work);
        let (mut ledger, mut dues) = (Ledger::starting_at(first), Vec::new());
        let mut paced = Paced {
            accepted: Latencies::new("POST to 202")?,
            ended: Latencies::new("POST to the end")?,
            repeated: 0,
            placed: 0,
        };
        let mut last = Instant::now();
        while work.is_some() || ledger.in_flight() > 0 {
            tokio::select! {
                due = times.recv(), if work.is_some() => match (due, &work) {
                    (Some(due), Some(work)) => {
                        dues.push(due);
                        work.try_send((ledger.place(), due)).context("too many orders wait for a connection")?;
                    }
                    _ => work = None,
                },
                Some(due) = responses.recv() => if due >= begin { paced.accepted.add(due.elapsed()) },
                message = ends.next() => {
                    let message = message.context("the consumer has ended")??;
                    let ended = orders.number_of(&message.subject).and_then(|number| ledger.finish(number));
                    if let Some(due) = ended.and_then(|index| dues.get(index)).filter(|due| **due >= begin) {
                        paced.ended.add(due.elapsed());
                    }
                    last = Instant::now();
                }
                () = tokio::time::sleep(DRAIN_TIMEOUT) => bail!("{} orders are not completed", ledger.in_flight()),
            }
            if work.is_none() && last.elapsed() > DRAIN_TIMEOUT {
                bail!("{} orders are not completed", ledger.in_flight());
            }
        }
        // Responses may arrive after the last events.
        while let Some(due) = responses.recv().await {
            if due >= begin {
                paced.accepted.add(due.elapsed());
            }
        }
        (paced.repeated, paced.placed) = (ledger.repeated, ledger.placed);
        Ok(paced)
    };
    let (_, paced) = tokio::try_join!(clients, measure)?;
    Ok(paced)
}

async fn next(waiting: &Mutex<mpsc::Receiver<Due>>) -> Option<Due> {
    waiting.lock().await.recv().await
}
