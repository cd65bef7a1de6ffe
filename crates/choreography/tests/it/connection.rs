//! Connection problems: a refused user, a missing permission, an old server, an unavailable monitor.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use choreography::connection::{self, NatsOptions};
use choreography::credentials::NatsCredentials;
use choreography::durability::{Durability, DurabilityOptions, Level};
use choreography::{Health, Topology};
use choreography_test::{TestNats, free_port};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::{Bench, Engine, TOPOLOGY, eventually};

/// How long a program may take to report a problem.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a configuration with one user, who may publish on the subjects `publish`.
fn write_config(file: &Path, password: &str, publish: &str) {
    let user =
        format!(r#"{{user: tester, password: {password}, permissions: {{publish: {publish}, subscribe: ">"}}}}"#);
    let conf = format!("jetstream {{ store_dir: $NATS_STORE_DIR }}\nauthorization {{ users: [{user}] }}");
    std::fs::write(file, conf).unwrap();
}

fn config_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("messaging-test-{}-{name}.conf", std::process::id()))
}

fn options(url: String, password: &str) -> NatsOptions {
    NatsOptions {
        nats_url: url,
        nats_user: Some("tester".to_owned()),
        nats_password: Some(password.to_owned()),
        nats_credentials: NatsCredentials::default(),
    }
}

#[tokio::test]
async fn a_refused_user_is_reported_at_once_and_connects_when_the_password_is_valid() {
    let config = config_file("rotated");
    write_config(&config, "s3cret", r#"">""#);
    let mut nats = TestNats::with_config(&config, []).await.unwrap();
    let (options, start) = (options(nats.url(), "0ther"), Instant::now());
    let error = connection::establish(&options, "tester", Duration::from_secs(60)).await.unwrap_err().to_string();
    assert!(start.elapsed() < REPORT_TIMEOUT, "{:?}", start.elapsed());
    assert_eq!(error, "authorization violation: check NATS_USER (tester) and NATS_PASSWORD");

    let health = Health::default();
    let _client = connection::connect(&options, "tester", &health).await.unwrap();
    eventually("the problem is reported", || async {
        health.problem("nats").is_some_and(|problem| problem == error)
    })
    .await;
    write_config(&config, "0ther", r#"">""#);
    nats.kill().unwrap();
    eventually("nats-server is unreachable", || async {
        health.problem("nats").is_some_and(|problem| problem != error)
    })
    .await;
    nats.restart().await.unwrap();
    eventually("the client is connected", || async { health.readiness().ready }).await;
    std::fs::remove_file(&config).unwrap();
}

#[tokio::test]
async fn a_missing_permission_is_reported_while_provisioning_awaits_a_reply() {
    let config = config_file("permission");
    write_config(&config, "s3cret", r#""allowed.>""#);
    let nats = TestNats::with_config(&config, []).await.unwrap();
    std::fs::remove_file(&config).unwrap();
    let options = options(nats.url(), "s3cret");
    let (client, health) = connection::establish(&options, "tester", REPORT_TIMEOUT).await.unwrap();
    let (topology, js) = (Topology::parse(TOPOLOGY).unwrap(), connection::jetstream(&client));
    let refusal = tokio::select! {
        provisioned = topology.provision(&js, 1) => panic!("{provisioned:?}"),
        refusal = connection::refused(&health) => refusal,
    };
    assert!(refusal.contains("$JS.API.STREAM"), "{refusal}");
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_reported_after_the_time_limit() {
    let url = format!("nats://127.0.0.1:{}", free_port());
    let error = connection::establish(&options(url.clone(), "s3cret"), "tester", Duration::from_millis(300)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&url) && !error.contains("s3cret"), "{error}");
}

/// Starts a fake nats-server of another version, which responds to pings; returns its URL.
async fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let info =
                format!("INFO {{\"server_id\":\"x\",\"version\":\"{version}\",\"max_payload\":1048576}}\r\n");
            write.write_all(info.as_bytes()).await.unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") && write.write_all(b"PONG\r\n").await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn the_error_about_an_old_server_has_its_version_and_the_required_one() {
    for version in ["2.11.9", "2.2.0", "foreign"] {
        let options = options(old_server(version).await, "s3cret");
        let error = connection::establish(&options, "tester", REPORT_TIMEOUT).await.unwrap_err().to_string();
        assert!(error.contains(version) && error.contains("2.12"), "{error}");
    }
}

#[tokio::test]
async fn an_unavailable_monitor_is_reported_and_leaves_the_known_durability() {
    let bench = Bench::new(Engine::Sqlite).await;
    let silent = format!("http://user:s3cret@127.0.0.1:{}", free_port());
    let minimum_durability = vec![Level::Fsynced];
    let options = DurabilityOptions { nats_monitor_url: vec![silent.clone()], minimum_durability };
    let synced = Durability { fsynced: true, replicas: 1 };
    let probed = options.probe([], Some(synced)).await;
    assert_eq!(probed.durability, synced);
    options.check(&probed).unwrap();
    let text = probed.to_string();
    assert!(text.contains("http://127.0.0.1:") && text.contains("unknown") && !text.contains("s3cret"), "{text}");
    let unknown = options.probe([], None).await;
    assert!(!unknown.durability.fsynced);
    options.check(&unknown).expect("an unknown durability is accepted");

    // One monitor that reports no sync is sufficient, even if others are unavailable.
    let options = DurabilityOptions { nats_monitor_url: vec![silent, bench.nats.monitor_url()], ..options };
    let unsynced = options.probe([], Some(synced)).await;
    assert!(!unsynced.durability.fsynced && unsynced.silent.is_empty());
    options.check(&unsynced).unwrap_err();
}
