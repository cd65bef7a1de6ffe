//! The link policies of the proxy.

use std::time::Duration;

use demo::proxy::{LinkPolicy, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT_WAIT: Duration = Duration::from_millis(300);

/// Starts a server that echoes its input in capitals; returns its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = [0; 64];
                while let Ok(count @ 1..) = client.read(&mut received).await {
                    let reply = received[..count].to_ascii_uppercase();
                    if client.write_all(&reply).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Sends bytes and returns the reply, if one comes within [`SHORT_WAIT`].
async fn send(client: &mut TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    client.write_all(bytes).await.ok()?;
    receive(client).await
}

async fn receive(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut received = [0; 64];
    let count = tokio::time::timeout(SHORT_WAIT, client.read(&mut received)).await.ok()?.ok()?;
    Some(received[..count].to_vec())
}

#[tokio::test]
async fn stalled_bytes_arrive_later_and_none_is_lost() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(send(&mut client, b"a").await.unwrap(), b"A");
    for policy in [LinkPolicy::Stalled, LinkPolicy::ToServerStalled, LinkPolicy::ToClientStalled] {
        proxy.set(policy);
        assert_eq!(send(&mut client, b"b").await, None, "{policy:?}");
        proxy.set(LinkPolicy::Open);
        assert_eq!(receive(&mut client).await.unwrap(), b"B", "{policy:?}");
    }
}

#[tokio::test]
async fn a_closed_link_closes_connections_and_new_ones_until_it_is_opened() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(send(&mut client, b"a").await.unwrap(), b"A");
    proxy.set(LinkPolicy::Closed);
    assert_eq!(receive(&mut client).await.unwrap(), b"", "the end of the connection");
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(send(&mut refused, b"b").await.unwrap_or_default(), b"");
    proxy.set(LinkPolicy::Open);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(send(&mut client, b"c").await.unwrap(), b"C");
}
