//! Every HTTP server of the shop disconnects slow clients, and refuses requests of foreign web pages.

use std::time::{Duration, Instant};

use demo::Component;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::World;

/// The time limit for a client's headers, in seconds.
const READ: &str = "2";

/// Sends a request verbatim, and returns the status of the response.
async fn status(port: u16, request: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = [0; 12];
    stream.read_exact(&mut response).await.unwrap();
    std::str::from_utf8(&response).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Sends single bytes of a header until the server closes the connection, and returns how long that took.
async fn drip(port: u16) -> Duration {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /liveness HTTP/1.1\r\nX: ").await.unwrap();
    let start = Instant::now();
    let mut buffer = [0; 64];
    while start.elapsed() < Duration::from_secs(30) {
        match tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return start.elapsed(),
            Ok(Ok(_)) => {}
            // The connection may be closed by now; the next read detects it.
            Err(_) => drop(stream.write_all(b"a").await),
        }
    }
    panic!("port {port} keeps the connection");
}

#[tokio::test]
async fn every_server_refuses_foreign_pages_and_disconnects_slow_clients() {
    let world = World::start_set(&[("HTTP_READ_SECONDS", READ)]).await;
    let config = world.config();
    let gateway = config.http_port(Component::ApiGateway);
    let ports = Component::SERVICES.map(|component| (component, config.http_port(component)));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (component, port) in ports {
        for (head, expected) in [
            (format!("GET /liveness HTTP/1.1\r\nHost: localhost:{port}\r\n"), 200),
            (
                format!(
                    "GET /liveness HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{gateway}\r\n"
                ),
                200,
            ),
            (
                format!(
                    "GET /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Site: cross-site\r\n\
                     Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
                ),
                200,
            ),
            (
                format!(
                    "GET /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Site: cross-site\r\n\
                     Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"
                ),
                403,
            ),
            (format!("GET /liveness HTTP/1.1\r\nHost: evil.example:{port}\r\n"), 421),
            ("GET /liveness HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n".to_owned(), 421),
            (format!("POST /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://evil.example\r\n"), 403),
            (format!("POST /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: null\r\n"), 403),
            (format!("POST /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: text/plain\r\n"), 415),
            (
                format!(
                    "POST /liveness HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: \
                     application/x-www-form-urlencoded\r\n"
                ),
                415,
            ),
        ] {
            assert_eq!(status(port, &format!("{head}\r\n")).await, expected, "{component}: {head}");
        }
    }
    let notifications = config.http_port(Component::NotificationService);
    let inventory = config.http_port(Component::InventoryService);
    for (port, head, expected) in [
        (
            notifications,
            format!("GET /notifications?customerId=C HTTP/1.1\r\n{upgrade}Origin: http://evil.example\r\n"),
            403,
        ),
        (
            notifications,
            format!("GET /notifications?customerId=C HTTP/1.1\r\n{upgrade}Origin: http://127.0.0.1:{gateway}\r\n"),
            101,
        ),
        (inventory, "POST /automation-testing/seed HTTP/1.1\r\nContent-Type: text/plain\r\n".to_owned(), 415),
        (inventory, "DELETE /automation-testing/all HTTP/1.1\r\nOrigin: http://evil.example\r\n".to_owned(), 403),
        (gateway, "POST /orders/ORDER_001/cancel HTTP/1.1\r\nContent-Type: text/plain\r\n".to_owned(), 415),
    ] {
        let request = format!("{head}Host: localhost:{port}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(status(port, &request).await, expected, "{head}");
    }
    let took = futures::future::join_all(ports.map(|(_, port)| drip(port))).await;
    assert!(took.iter().all(|took| *took >= Duration::from_millis(1500)), "{took:?}");
    world.assert_healthy().await;
}
