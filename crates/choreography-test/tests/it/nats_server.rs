//! The life cycle of a nats-server: start, crash, restart, pause, stop.

use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use choreography_test::{Error, NatsServer, TestNats, nats};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Folder, runs};

#[tokio::test]
async fn a_killed_server_restarts_on_its_port_with_its_messages() {
    let mut nats = TestNats::start().await.unwrap();
    let url = nats.url();
    let client = async_nats::connect(&url).await.unwrap();
    let js = jetstream::new(client);
    let config = stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    js.create_stream(config).await.unwrap();
    for _ in 0..10 {
        js.publish("s.a", "hello".into()).await.unwrap().await.unwrap();
    }

    nats.kill().unwrap();
    assert!(nats.id().is_none());
    assert!(async_nats::connect(&url).await.is_err());

    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    let js = jetstream::new(async_nats::connect(&url).await.unwrap());
    assert_eq!(js.get_stream("S").await.unwrap().cached_info().state.messages, 10);
}

#[tokio::test]
async fn the_end_of_a_crashed_server_is_reported_once_and_it_restarts() {
    let mut nats = TestNats::start().await.unwrap();
    let pid = Pid::from_raw(nats.id().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    let status = loop {
        match nats.ended().unwrap() {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(status.signal(), Some(9));
    assert_eq!((nats.ended().unwrap(), nats.id()), (None, None));
    nats.restart().await.unwrap();
    async_nats::connect(nats.url()).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_ends_gracefully_and_a_restarted_one_is_another_process() {
    let mut nats = TestNats::start().await.unwrap();
    let first = nats.id().unwrap();
    nats.restart().await.unwrap();
    let second = nats.id().unwrap();
    assert_ne!(first, second);
    assert!(!runs(first));
    nats.stop().await.unwrap();
    assert!(!runs(second));
    assert!(nats.ended().unwrap().is_none(), "it was stopped, and did not end by itself");
}

#[tokio::test]
async fn a_paused_server_responds_only_after_it_is_resumed() {
    let mut nats = TestNats::start().await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    nats.pause().unwrap();
    let flush = client.flush();
    // The client can still write; only the server could reply to a request.
    flush.await.unwrap();
    let request = client.request("no.subscriber", "".into());
    let reply = tokio::time::timeout(Duration::from_millis(300), request).await;
    assert!(reply.is_err(), "{reply:?}");

    nats.resume().unwrap();
    let error = client.request("no.subscriber", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn the_error_of_a_server_that_cannot_start_has_the_reason() {
    let running = TestNats::start().await.unwrap();
    let folder = Folder::new();
    let program = nats::find_or_install(|_| {}).await.unwrap();
    let error = NatsServer::builder(program)
        .port(running.port())
        .monitor_port(choreography_test::free_port())
        .store_dir(folder.path().join("store"))
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::EndedEarly { .. }), "{error}");
    assert!(error.to_string().contains("address already in use"), "{error}");
}

#[tokio::test]
async fn the_servers_lines_go_to_the_callers_callback() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let nats = TestNats::start_with(|builder| {
        let sink = Arc::clone(&sink);
        builder.on_line(move |line| sink.lock().unwrap().push(line.to_owned()))
    })
    .await
    .unwrap();
    drop(nats);
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("Server is ready")), "{lines:#?}");
}
