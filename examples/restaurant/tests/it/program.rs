//! The program without a subcommand: everything in one process, with 200 reservations.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use choreography::http;
use choreography_test::{Program, ProgramSettings, free_port};
use reqwest::Client;
use serde_json::Value;

use crate::support::{Folder, eventually};

/// Returns the first of six free ports in a row.
fn free_ports() -> u16 {
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(free_port).find(|port| (0..6).all(|offset| is_free(port + offset))).unwrap()
}

/// Starts the program, and waits until it is open.
async fn start(folder: &Folder, port: u16) -> (Program, Arc<Mutex<String>>) {
    let output = Arc::new(Mutex::new(String::new()));
    let seen = output.clone();
    let program = Program::start(ProgramSettings {
        name: "restaurant".to_owned(),
        program: env!("CARGO_BIN_EXE_restaurant").into(),
        arguments: vec![
            "--data".to_owned(),
            folder.path().display().to_string(),
            "--port".to_owned(),
            port.to_string(),
        ],
        variables: vec![],
        on_line: Arc::new(move |line| *seen.lock().unwrap() += &format!("{line}\n")),
    })
    .unwrap();
    eventually("it is open", || async { output.lock().unwrap().contains("curl -H 'Prefer: wait=5' -X POST") })
        .await;
    (program, output)
}

async fn get(http: &Client, url: &str) -> Value {
    http.get(url).send().await.unwrap().json().await.unwrap()
}

#[test]
fn each_subcommand_explains_itself() {
    for command in
        ["catalogue-service", "reservation-service", "projection-service", "gateway", "provision", "users"]
    {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_restaurant"));
        let output = { program }.args([command, "--help"]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_seeds_once_shows_what_to_try_and_keeps_its_data() {
    let (folder, port) = (Folder::new(), free_ports());
    let (mut program, output) = start(&folder, port).await;
    let http = http::client(Duration::from_secs(10)).unwrap();
    let restaurants = get(&http, &format!("http://127.0.0.1:{port}/restaurants")).await;
    assert_eq!(restaurants["items"].as_array().map(Vec::len), Some(3));
    // Every command that it shows works, with its ids and dates.
    let shown = output.lock().unwrap().clone();
    let urls = shown.lines().filter(|line| line.contains("curl ") && !line.contains("-H"));
    let urls: Vec<&str> = urls.map(|line| line.split("curl ").nth(1).unwrap().trim_matches('\'')).collect();
    assert_eq!(urls.len(), 4, "{shown}");
    for url in &urls {
        assert_eq!(http.get(*url).send().await.unwrap().status(), 200, "{url}");
    }
    let day = get(&http, urls[1]).await;
    assert!(day["version"].as_i64().unwrap() > 100, "a long history: {}", day["version"]);
    assert_eq!(program.stop().await.unwrap().and_then(|status| status.code()), Some(0));

    let (mut program, output) = start(&folder, port).await;
    assert!(!output.lock().unwrap().contains("200 reservations"));
    assert_eq!(get(&http, urls[1]).await["reservations"], day["reservations"]);
    assert_eq!(program.stop().await.unwrap().and_then(|status| status.code()), Some(0));
}
