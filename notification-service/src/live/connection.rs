//! One client's connection.

use std::sync::Arc;
use std::time::Duration;

use contracts::CustomerId;
use futures::{SinkExt, StreamExt};
use messaging::database::answered;
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use sea_orm::DatabaseConnection;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::queries;

/// Notifications read at a time.
const PAGE: u64 = 100;
/// How often a ping is sent, so that nobody in between closes the connection. The table is looked at, too.
const PING: Duration = Duration::from_secs(20);
/// A client of whom nothing was heard for so long, no pong either, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A client that takes nothing for so long is let go; it may come back and go on where it was.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client's place in the table.
pub(super) struct Connection {
    pub(super) db: DatabaseConnection,
    pub(super) readers: Arc<Semaphore>,
    pub(super) customer_id: CustomerId,
    /// The sequence of the last notification that was sent.
    pub(super) position: i64,
}

/// Why a connection ends.
enum End {
    /// The client closed it, is gone, or does not read.
    Gone,
    /// We close it.
    Close(CloseCode, &'static str),
}

impl Connection {
    /// Pushes what is new until either side ends.
    pub(super) async fn run(
        mut self,
        mut socket: WebSocketStream,
        notified: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let end = tokio::select! {
            end = self.push(&mut socket, notified) => end,
            () = shutdown.cancelled() => End::Close(CloseCode::Restart, "the service stops; connect again"),
        };
        if let End::Close(code, why) = end {
            let close = socket.send(Message::Close(Some((code, why.to_owned()))));
            // Where this fails the client sees the connection end, which says the same.
            drop(tokio::time::timeout(Duration::from_secs(1), close).await);
        }
    }

    async fn push(&mut self, socket: &mut WebSocketStream, mut notified: watch::Receiver<()>) -> End {
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut received = Instant::now();
        loop {
            if let Err(end) = self.catch_up(socket).await {
                return end;
            }
            // Until there is something to read again.
            loop {
                tokio::select! {
                    incoming = socket.next() => match incoming {
                        // Pongs above all. Pings are answered below us, and what a client says is of no interest.
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                        Some(Ok(_)) => received = Instant::now(),
                    },
                    _ = ping.tick() => {
                        if received.elapsed() > SILENCE {
                            return End::Gone;
                        }
                        if let Err(end) = send(socket, Message::Ping(vec![])).await {
                            return end;
                        }
                        break;
                    }
                    Ok(()) = notified.changed() => break,
                }
            }
        }
    }

    /// Sends everything behind the position.
    async fn catch_up(&mut self, socket: &mut WebSocketStream) -> Result<(), End> {
        loop {
            let page = {
                let Ok(_reading) = self.readers.acquire().await else { return Err(End::Gone) };
                answered(queries::behind(&self.db, &self.customer_id, self.position, PAGE)).await
            };
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "notifications could not be read for a connection; will try again");
                    return Ok(());
                }
            };
            let full = rows.len() as u64 == PAGE;
            for row in rows {
                let sequence = row.sequence;
                let text = queries::view(row).and_then(|view| Ok(serde_json::to_string(&view)?));
                let text = text.map_err(|error| {
                    tracing::error!(sequence, %error, "a notification cannot be sent");
                    End::Close(CloseCode::Error, "internal error")
                })?;
                send(socket, Message::Text(text)).await?;
                self.position = sequence;
            }
            if !full {
                return Ok(());
            }
        }
    }
}

async fn send(socket: &mut WebSocketStream, message: Message) -> Result<(), End> {
    match tokio::time::timeout(WRITE_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}
