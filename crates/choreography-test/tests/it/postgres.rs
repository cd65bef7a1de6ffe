//! PostgreSQL: installed, shared by tests, killed, and restarted.

use choreography_test::postgres::{find_or_install_in, places};
use choreography_test::{Error, PostgresServer, TestPostgres, free_port};

use crate::support::Folder;

async fn query(url: &str, statement: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let messages = client.simple_query(statement).await.unwrap();
    messages
        .into_iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn without_any_server_one_is_installed_and_works() {
    let folder = Folder::new();
    let bin = find_or_install_in(&folder.places(), |_| {}).await.unwrap();
    assert!(bin.starts_with(folder.path()), "{bin:?}");

    let server =
        PostgresServer::builder(bin).port(free_port()).data_dir(folder.path().join("data")).start().await.unwrap();
    let url = server.create_database("orders").await.unwrap();
    let version = query(&url, "SHOW server_version").await;
    assert!(version[0].starts_with("18."), "{version:?}");
    assert_eq!(query(&url, "SHOW fsync").await, ["on"]);
}

#[tokio::test]
async fn each_test_has_its_own_database_on_the_shared_server() {
    let one = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
    let other = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
    assert_ne!(one, other);
    query(&one, "CREATE TABLE t (n int)").await;
    query(&other, "CREATE TABLE t (n int)").await;
}

/// A second test on the shared server, which must survive the runtime of the test that started it.
#[tokio::test]
async fn the_shared_server_serves_the_tests_of_several_runtimes() {
    let url = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
    assert_eq!(query(&url, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_killed_server_restarts_on_its_port_with_its_data() {
    let mut postgres = TestPostgres::start().await.unwrap();
    let url = postgres.create_database().await.unwrap();
    query(&url, "CREATE TABLE t (n int)").await;
    query(&url, "INSERT INTO t VALUES (7)").await;
    // A client that is connected while the server is killed keeps shared memory in use for a moment.
    let (_client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);

    postgres.kill().unwrap();
    assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
    postgres.restart().await.unwrap();
    assert_eq!(query(&url, "SELECT n FROM t").await, ["7"]);

    postgres.restart().await.unwrap();
    assert_eq!(query(&url, "SELECT n FROM t").await, ["7"]);
}

#[tokio::test]
async fn creating_a_database_that_exists_returns_it() {
    let postgres = TestPostgres::shared().await.unwrap();
    // The method of the server takes a name; that of `TestPostgres` does not.
    let server: &PostgresServer = postgres;
    let url = server.create_database("orders").await.unwrap();
    query(&url, "CREATE TABLE t (n int)").await;
    assert_eq!(server.create_database("orders").await.unwrap(), url);
    assert!(query(&url, "SELECT n FROM t").await.is_empty());
}

#[tokio::test]
async fn a_folder_without_the_programs_is_an_error_if_the_environment_names_it() {
    let folder = Folder::new();
    let mut places = places();
    places.named = Some(folder.path().to_owned());
    let error = find_or_install_in(&places, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { variable: "POSTGRES_BIN", .. }), "{error}");
}

#[tokio::test]
async fn an_older_version_on_the_path_is_skipped() {
    let (old, new) = (Folder::new(), Folder::new());
    for (folder, version) in [(&old, 13), (&new, 16)] {
        for program in ["initdb", "postgres"] {
            folder.program(program, &format!("{program} (PostgreSQL) {version}.1"));
        }
    }
    let mut places = old.places();
    places.path = std::env::join_paths([old.path(), new.path()]).unwrap();
    let mut notes = Vec::new();
    let found = find_or_install_in(&places, |note| notes.push(note.to_owned())).await.unwrap();
    assert_eq!(found, new.path().canonicalize().unwrap());
    assert!(notes[0].contains("older than 15"), "{notes:?}");
}
