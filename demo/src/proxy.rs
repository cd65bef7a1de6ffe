//! A TCP proxy between a service and a server, which can be cut, or hold back what passes.
//!
//! Bytes are held back and never lost, as on a network that comes back: TCP has no way to lose some and go on.

use std::sync::Arc;

use anyhow::Context;
use messaging::listener::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPolicy {
    /// Everything.
    Open,
    /// Nothing: connections are closed, and new ones as soon as they come.
    Closed,
    /// Nothing, and connections stay open.
    Stalled,
    /// Only what the server says.
    ToServerStalled,
    /// Only what the client says.
    ToClientStalled,
}

/// A proxy that listens on a port of this machine. Dropped, it cuts everything.
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
    /// Listens on a free port and connects whoever comes to `target`, a port of this machine.
    ///
    /// # Errors
    ///
    /// Where there is no port to be had.
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
                    // A connection needs another one behind it: without descriptors for both it is closed.
                    accepted = acceptor.accept() => if !accepted.is_last {
                        tokio::spawn(connect(accepted.stream, target, watched.clone(), ended.clone()));
                    },
                }
            }
        });
        Ok(Self { port, policy, end })
    }

    /// Returns the port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets what passes.
    pub fn set(&self, policy: LinkPolicy) {
        self.policy.send_replace(policy);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Carries one connection until one side closes it, or it is cut.
async fn connect(client: TcpStream, target: u16, policy: watch::Receiver<LinkPolicy>, end: CancellationToken) {
    if *policy.borrow() == LinkPolicy::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // Small messages go at once, as they would without a proxy; without it they are only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let over = Arc::new(CancellationToken::new());
    let carry = |from, to, direction| {
        let (policy, over) = (policy.clone(), over.clone());
        async move {
            carry(from, to, direction, policy, &over).await;
            over.cancel();
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        _ = futures::future::join(
            carry(from_client, to_server, Direction::ToServer),
            carry(from_server, to_client, Direction::ToClient),
        ) => {}
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    direction: Direction,
    mut policy: watch::Receiver<LinkPolicy>,
    over: &CancellationToken,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *policy.borrow_and_update();
        if now == LinkPolicy::Closed {
            return;
        }
        tokio::select! {
            () = over.cancelled() => return,
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
