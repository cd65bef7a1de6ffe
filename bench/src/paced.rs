//! Orders at a fixed rate, whatever becomes of them.
//!
//! Every time begins when the order was due, not when it could be sent: where the shop falls behind, that shows.

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

/// How long orders may take to come to their end once no more are placed.
const DRAINS_WITHIN: Duration = Duration::from_secs(120);

/// What came of orders at a fixed rate.
pub struct Paced {
    /// From when each was due until it was accepted.
    pub accepted: Latencies,
    /// From when each was due until its last event was in the stream of events and read from there.
    pub ended: Latencies,
    /// Ends of orders that had come to it before.
    pub repeated: u64,
    /// Orders that were placed, those before the measured time included.
    pub placed: u64,
}

/// An order on a connection, with the time it was due.
type Due = (u64, Instant);

/// Places orders through the gateway at a fixed rate, the first under a number.
///
/// # Errors
///
/// Where an order is refused, or does not come to its end.
pub async fn drive(stage: &Stage, first: u64, rate: f64, span: Span, connections: u64) -> anyhow::Result<Paced> {
    let mut ends = stage.follow().await?;
    let url = stage.shop.config().http_url(Component::ApiGateway);
    let open = try_join_all((0..connections).map(|_| Connection::open(&url))).await?;
    let begin = Instant::now() + span.warm_up();
    let mut times = pace(rate, span.warm_up() + span.length())?;
    let (work, waiting) = mpsc::channel::<Due>(1_000_000);
    let waiting = Mutex::new(waiting);
    let (tell, mut answers) = mpsc::channel(1024);
    let orders = stage.orders;
    let clients = try_join_all(open.into_iter().map(|mut connection| {
        let (waiting, tell) = (&waiting, tell.clone());
        async move {
            while let Some((number, due)) = next(waiting).await {
                connection.place(Bytes::from(serde_json::to_vec(&orders.details(number)?)?)).await?;
                tell.send(due).await.context("the measurement has ended")?;
            }
            anyhow::Ok(())
        }
    }));
    drop(tell);
    let keep = async move {
        let mut work = Some(work);
        let (mut ledger, mut dues) = (Ledger::starting_at(first), Vec::new());
        let mut paced = Paced {
            accepted: Latencies::new("POST to 202")?,
            ended: Latencies::new("POST to the end")?,
            repeated: 0,
            placed: 0,
        };
        let mut last = Instant::now();
        while work.is_some() || ledger.under_way() > 0 {
            tokio::select! {
                due = times.recv(), if work.is_some() => match (due, &work) {
                    (Some(due), Some(work)) => {
                        dues.push(due);
                        work.try_send((ledger.place(), due)).context("the gateway is hopelessly behind")?;
                    }
                    _ => work = None,
                },
                Some(due) = answers.recv() => if due >= begin { paced.accepted.add(due.elapsed()) },
                message = ends.next() => {
                    let message = message.context("no more events")??;
                    let ended = orders.number_of(&message.subject).and_then(|number| ledger.finish(number));
                    if let Some(due) = ended.and_then(|index| dues.get(index)).filter(|due| **due >= begin) {
                        paced.ended.add(due.elapsed());
                    }
                    last = Instant::now();
                }
                () = tokio::time::sleep(DRAINS_WITHIN) => bail!("{} orders have not come to their end", ledger.under_way()),
            }
            if work.is_none() && last.elapsed() > DRAINS_WITHIN {
                bail!("{} orders have not come to their end", ledger.under_way());
            }
        }
        // Answers may come behind the ends.
        while let Some(due) = answers.recv().await {
            if due >= begin {
                paced.accepted.add(due.elapsed());
            }
        }
        (paced.repeated, paced.placed) = (ledger.repeated, ledger.placed);
        Ok(paced)
    };
    let (_, paced) = tokio::try_join!(clients, keep)?;
    Ok(paced)
}

async fn next(waiting: &Mutex<mpsc::Receiver<Due>>) -> Option<Due> {
    waiting.lock().await.recv().await
}
