//! Without file descriptors the program does not spin, reports it, and recovers by itself.

use std::process::Stdio;
use std::time::{Duration, Instant};

use choreography_test::free_port;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Returns the CPU time of a process, in ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub(crate) async fn start(address: &str) -> Child {
    let ledger = std::env::temp_dir().join(format!("descriptors-{}.jsonl", std::process::id()));
    Command::new(env!("CARGO_BIN_EXE_payment-provider"))
        .env("HTTP_ADDRESS", address)
        .env("LEDGER", ledger)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Sends a request on a new connection, for at most 30 s; `None` without a response.
async fn fetch(address: &str, path: &str) -> Option<(u16, String)> {
    let http = choreography::http::builder(Duration::from_secs(30)).pool_max_idle_per_host(0).build().unwrap();
    let response = http.get(format!("http://{address}{path}")).send().await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

/// Returns the number of connections that could not be accepted.
async fn accept_errors(address: &str) -> u64 {
    let (_, metrics) = fetch(address, "/metrics").await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("http_accept_errors_total "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

pub(crate) async fn until_status(address: &str, status: u16) -> String {
    let start = Instant::now();
    loop {
        match fetch(address, "/readiness").await {
            Some((found, text)) if found == status => return text,
            found => assert!(start.elapsed() < Duration::from_secs(30), "{found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_file_descriptors_it_does_not_spin_reports_it_and_recovers() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut child = start(&address).await;
    let process = child.id().unwrap();
    until_status(&address, 200).await;
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let limit = format!("--nofile={}", open + 6);
    let limited = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status().await.unwrap();
    assert!(limited.success());

    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        clients.push(client);
    }
    let (before, began) = (ticks(process), Instant::now());
    let reported = until_status(&address, 503).await;
    assert!(reported.contains("connections cannot be accepted"), "{reported}");
    let used = ticks(process) - before;
    assert!(used < 50, "{used} ticks of 10 ms");

    // The shortage lasts for a while, so that the bound tests the pauses.
    while began.elapsed() < Duration::from_secs(3) {
        until_status(&address, 503).await;
    }
    let shortage = began.elapsed();
    drop(clients);
    until_status(&address, 200).await;
    let errors = accept_errors(&address).await;
    // After each failure there is a pause or one accepted connection, one every 50 ms.
    let max = 24 + u64::try_from(shortage.as_millis() / 50).unwrap();
    assert!((1..=max).contains(&errors), "{errors} failures in {shortage:?}");
    child.kill().await.unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut unready = 0;
    while let Some(line) = lines.next_line().await.unwrap() {
        unready += usize::from(line.contains("not ready"));
    }
    assert_eq!(unready, 1, "one line per change of readiness");
}
