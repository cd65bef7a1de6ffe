//! The connection of one client.

use std::sync::Arc;
use std::time::Duration;

use choreography::database::answered;
use contracts::CustomerId;
use futures::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use sea_orm::DatabaseConnection;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::queries;

/// The number of notifications per read.
const PAGE: u64 = 100;
/// The interval of pings, which keep proxies from closing the connection. Each ping also reads the table.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// The time limit without any frame from the client, pongs included; after it the connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit of a write; after it the connection is closed. The client may resume from its last sequence.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The state of a client's connection.
pub(super) struct Connection {
    pub(super) db: DatabaseConnection,
    pub(super) readers: Arc<Semaphore>,
    pub(super) customer_id: CustomerId,
    /// The sequence of the last notification that was sent.
    pub(super) position: i64,
}

/// The reason for the end of a connection.
enum End {
    /// The client closed the connection, is unreachable, or does not read.
    Gone,
    /// The service closes the connection.
    Close(CloseCode, &'static str),
}

impl Connection {
    /// Pushes new notifications until either side closes the connection.
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
            // If this fails, the client sees the end of the connection, which has the same meaning.
            drop(tokio::time::timeout(Duration::from_secs(1), close).await);
        }
    }

    async fn push(&mut self, socket: &mut WebSocketStream, mut notified: watch::Receiver<()>) -> End {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut received = Instant::now();
        loop {
            if let Err(end) = self.catch_up(socket).await {
                return end;
            }
            // Waits for new notifications.
            loop {
                tokio::select! {
                    incoming = socket.next() => match incoming {
                        // Mostly pongs. The library replies to pings; other messages are ignored.
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                        Some(Ok(_)) => received = Instant::now(),
                    },
                    _ = ping.tick() => {
                        if received.elapsed() > IDLE_TIMEOUT {
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

    /// Sends all notifications after the position.
    async fn catch_up(&mut self, socket: &mut WebSocketStream) -> Result<(), End> {
        loop {
            let page = {
                let Ok(_reading) = self.readers.acquire().await else { return Err(End::Gone) };
                answered(queries::page_after(&self.db, &self.customer_id, self.position, PAGE)).await
            };
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the notifications of a connection; retrying");
                    return Ok(());
                }
            };
            let full = rows.len() as u64 == PAGE;
            for row in rows {
                let sequence = row.sequence;
                let text = queries::view(row).and_then(|view| Ok(serde_json::to_string(&view)?));
                let text = text.map_err(|error| {
                    tracing::error!(sequence, %error, "cannot serialise a notification; closing the connection");
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
