//! An unread log does not block the program.

use std::time::Duration;

use choreography_test::free_port;
use serde_json::json;
use tokio::process::Command;

use crate::descriptors::{start, until_status};

/// More lines than fit into a pipe.
const LINES: u32 = 1500;

#[tokio::test]
async fn a_log_without_a_reader_or_with_a_full_pipe_does_not_block_the_program() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut child = start(&address).await;
    until_status(&address, 200).await;
    // Each request is a line in the log.
    let http = choreography::http::client(Duration::from_secs(5)).unwrap();
    let log_a_line = async || {
        let request = http.put(format!("http://{address}/behaviour")).json(&json!({"mode": "ok"}));
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    for _ in 0..LINES {
        log_a_line().await;
    }
    drop(child.stderr.take());
    log_a_line().await;
    until_status(&address, 200).await;
    let process = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}
