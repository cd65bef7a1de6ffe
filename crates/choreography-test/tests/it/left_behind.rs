//! No server outlives the process that started it, even if that process is killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use choreography_test::{TestNats, TestPostgres};

use crate::support::runs;

/// Set for the copy of this test program that the test kills.
const VICTIM: &str = "LOCAL_SERVERS_VICTIM";

#[tokio::test]
async fn a_killed_process_leaves_no_server_and_no_folder_behind() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "left_behind::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("SERVERS ")?.1.to_owned()))
        .unwrap();
    let ids: Vec<u32> = line.split(' ').map(|id| id.parse().unwrap()).collect();
    assert!(ids.iter().all(|id| runs(*id)));
    let folders = folders_of(victim.id());
    assert_eq!(folders.len(), 2, "{folders:?}");

    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(15);
    while ids.iter().any(|id| runs(*id)) || folders.iter().any(|folder| folder.exists()) {
        assert!(Instant::now() < deadline, "left behind: {ids:?} {folders:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts servers, prints their ids, and waits to be killed. Without [`VICTIM`] it does nothing.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the output is for the parent process")]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let mut nats = TestNats::start().await.unwrap();
    nats.pause().unwrap();
    let postgres = TestPostgres::shared().await.unwrap();
    println!("SERVERS {} {}", nats.id().unwrap(), postgres.id().unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
}

fn folders_of(process: u32) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    folders
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(&format!("-{process}-")))
        .collect()
}
