//! One connection as bytes: closed if its client does not read, or if a request ends it without a response.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::places::{COUNTED, Place};

/// How many times the write limit a client may be behind in total, if it makes some progress.
const MAX_LAG_FACTOR: u32 = 4;

/// A request's connection, among the extensions of the request.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    ended: Arc<AtomicBool>,
}

impl Connection {
    /// Ends the connection: nothing more is written to it, including the response to the current request.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// The stream of a connection: it occupies a place, and writing fails if the client has read nothing for too long.
pub(super) struct Stream {
    inner: TcpStream,
    connection: Connection,
    limit: Duration,
    /// Set while bytes wait for the client.
    behind: Option<Behind>,
    _place: Place,
}

struct Behind {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

impl Stream {
    pub(super) fn new(inner: TcpStream, connection: Connection, limit: Duration, place: Place) -> Self {
        Self { inner, connection, limit, behind: None, _place: place }
    }

    /// Takes the result of a write; if it is pending for too long, returns an error.
    fn written(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(count)) => {
                if let Some(Behind { since, until }) = &mut self.behind {
                    let last = *since + self.limit * MAX_LAG_FACTOR;
                    until.as_mut().reset((Instant::now() + self.limit).min(last));
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let limit = self.limit;
                let behind = self.behind.get_or_insert_with(|| Behind {
                    since: Instant::now(),
                    until: Box::pin(tokio::time::sleep(limit)),
                });
                std::task::ready!(behind.until.as_mut().poll(context));
                self.connection.end();
                COUNTED.cut_off.inc();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        let ended = self.connection.ended.load(Ordering::Acquire);
        if ended { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Everything was written when this is called: the client is no longer behind.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
