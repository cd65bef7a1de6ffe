//! The proxy lets pass what it is told to.

use std::time::Duration;

use demo::proxy::{LinkPolicy, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT_WAIT: Duration = Duration::from_millis(300);

/// A server that says back what it hears, in capitals.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = [0; 64];
                while let Ok(count @ 1..) = client.read(&mut received).await {
                    let said = received[..count].to_ascii_uppercase();
                    if client.write_all(&said).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Says something and returns what comes back soon.
async fn say(client: &mut TcpStream, what: &[u8]) -> Option<Vec<u8>> {
    client.write_all(what).await.ok()?;
    hear(client).await
}

async fn hear(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut received = [0; 64];
    let count = tokio::time::timeout(SHORT_WAIT, client.read(&mut received)).await.ok()?.ok()?;
    Some(received[..count].to_vec())
}

#[tokio::test]
async fn what_is_held_back_comes_later_and_nothing_of_it_is_lost() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut client, b"a").await.unwrap(), b"A");
    for policy in [LinkPolicy::Stalled, LinkPolicy::ToServerStalled, LinkPolicy::ToClientStalled] {
        proxy.set(policy);
        assert_eq!(say(&mut client, b"b").await, None, "{policy:?}");
        proxy.set(LinkPolicy::Open);
        assert_eq!(hear(&mut client).await.unwrap(), b"B", "{policy:?}");
    }
}

#[tokio::test]
async fn a_cut_closes_connections_and_refuses_others_until_it_is_repaired() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut client, b"a").await.unwrap(), b"A");
    proxy.set(LinkPolicy::Closed);
    assert_eq!(hear(&mut client).await.unwrap(), b"", "the end of the connection");
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut refused, b"b").await.unwrap_or_default(), b"");
    proxy.set(LinkPolicy::Open);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut client, b"c").await.unwrap(), b"C");
}
