//! A TCP proxy between a client and a server, which can close connections or stall them.
//!
//! Bytes are delayed and never lost, as on a network that recovers: a TCP connection cannot lose bytes and continue.

use std::sync::Arc;

use anyhow::Context;
use choreography::listener::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The bytes that a proxy forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPolicy {
    /// Forwards everything.
    Open,
    /// Closes all connections, new ones included.
    Closed,
    /// Forwards nothing; connections stay open.
    Stalled,
    /// Forwards only bytes from the server.
    ToServerStalled,
    /// Forwards only bytes from the client.
    ToClientStalled,
}

/// A proxy on a port of 127.0.0.1. It closes all connections on drop.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    policy: watch::Sender<LinkPolicy>,
    end: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Starts a proxy from a free port to `target`, a port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for a proxy")?;
        let port = listener.local_addr().context("listening for a proxy")?.port();
        let (policy, watched) = watch::channel(LinkPolicy::Open);
        let end = CancellationToken::new();
        let ended = end.clone();
        let mut acceptor = Acceptor::new(listener, None);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    // Each connection needs a second one to the target; without descriptors for both it is closed.
                    accepted = acceptor.accept() => if !accepted.is_last {
                        tokio::spawn(connect(accepted.stream, target, watched.clone(), ended.clone()));
                    },
                }
            }
        });
        Ok(Self { port, policy, end })
    }

    /// Returns the port on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the link policy.
    pub fn set(&self, policy: LinkPolicy) {
        self.policy.send_replace(policy);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Forwards one connection until one side or the proxy closes it.
async fn connect(client: TcpStream, target: u16, policy: watch::Receiver<LinkPolicy>, end: CancellationToken) {
    if *policy.borrow() == LinkPolicy::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // Small messages are sent at once, as without a proxy. If the option fails, they are only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let closed = Arc::new(CancellationToken::new());
    let forward = |from, to, direction| {
        let (policy, closed) = (policy.clone(), closed.clone());
        async move {
            forward(from, to, direction, policy, &closed).await;
            closed.cancel();
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        _ = futures::future::join(
            forward(from_client, to_server, Direction::ToServer),
            forward(from_server, to_client, Direction::ToClient),
        ) => {}
    }
}

async fn forward(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    direction: Direction,
    mut policy: watch::Receiver<LinkPolicy>,
    closed: &CancellationToken,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *policy.borrow_and_update();
        if now == LinkPolicy::Closed {
            return;
        }
        tokio::select! {
            () = closed.cancelled() => return,
            changed = policy.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer), if passes(now, direction) => {
                let Ok(read @ 1..) = read else { return };
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn passes(policy: LinkPolicy, direction: Direction) -> bool {
    match policy {
        LinkPolicy::Open => true,
        LinkPolicy::Closed | LinkPolicy::Stalled => false,
        LinkPolicy::ToServerStalled => direction == Direction::ToClient,
        LinkPolicy::ToClientStalled => direction == Direction::ToServer,
    }
}
