//! Connections that can be cut from inside a request: to the client it looks as if the provider had died.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connections that are open, by the client's address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<HashMap<SocketAddr, Arc<AtomicBool>>>>,
}

impl Connections {
    /// Cuts a connection: nothing more is written to it, the answer to the request under way included.
    pub(crate) fn cut(&self, client: &RemoteAddr) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cut) = client.as_socket_addr().and_then(|address| open.get(address)) {
            cut.store(true, Ordering::Release);
        }
    }

    fn opened(&self, client: SocketAddr) -> Arc<AtomicBool> {
        let cut = Arc::<AtomicBool>::default();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(client, cut.clone());
        cut
    }

    fn closed(&self, client: SocketAddr) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
    }
}

/// Accepts connections and registers them.
pub(crate) struct SeverableAcceptor<A> {
    inner: A,
    connections: Connections,
}

impl<A> SeverableAcceptor<A> {
    pub(crate) fn new(inner: A, connections: Connections) -> Self {
        Self { inner, connections }
    }
}

impl<A: Acceptor> Acceptor for SeverableAcceptor<A> {
    type Io = Severable<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (inner, local, remote, scheme) = self.inner.accept().await?;
        let client = remote.as_socket_addr().copied();
        let cut = client.map(|client| self.connections.opened(client)).unwrap_or_default();
        Ok((Severable { inner, cut, client, connections: self.connections.clone() }, local, remote, scheme))
    }
}

/// A connection that fails to write once it is cut; the server then closes it.
pub(crate) struct Severable<I> {
    inner: I,
    cut: Arc<AtomicBool>,
    client: Option<SocketAddr>,
    connections: Connections,
}

impl<I> Severable<I> {
    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<I> Drop for Severable<I> {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.connections.closed(client);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Severable<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Severable<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
