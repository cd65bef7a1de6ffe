//! Nothing secret leaves the tables of the service; nothing is lost when it is killed.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use contracts::account::Line;
use contracts::identity::{CreateServiceAccount, RoleName, UserId};
use contracts::topology::{COMMANDS, DEAD_LETTERS, EVENTS};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Engine, PASSWORD, World, connect, provision, text};

on_both_databases!(
    no_secret_is_in_a_stream_a_table_of_messages_or_a_log,
    an_error_of_a_request_repeats_no_secret,
    events_are_published_after_a_kill_between_write_and_publish,
);

/// Returns all rows of the tables of messages, as text.
async fn rows(world: &World) -> String {
    let db = world.database().await;
    let mut text = String::new();
    for table in ["outbox", "events", "inbox", "effects", "delivery_issues", "user_rights", "sessions"] {
        let sql = match db.get_database_backend() {
            DbBackend::Postgres => format!("SELECT row_to_json(t)::text AS text FROM {table} t"),
            _ => format!("SELECT * FROM {table}"),
        };
        for row in db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap() {
            text.push_str(&format!("{row:?}\n"));
        }
        // Bodies are binary there.
        if table == "outbox" {
            let sql = Statement::from_string(db.get_database_backend(), "SELECT body FROM outbox");
            for row in db.query_all_raw(sql).await.unwrap() {
                let body: Vec<u8> = row.try_get("", "body").unwrap();
                text.push_str(&String::from_utf8_lossy(&body));
            }
        }
    }
    text
}

async fn no_secret_is_in_a_stream_a_table_of_messages_or_a_log(engine: Engine) {
    let world = World::start_with(engine, &[("RUST_LOG", "trace"), ("DEMO_USERS", "true")]).await;
    let first = world.sign_up("ada.secret@example.org").await;
    let second = world.refresh(&first).await;
    world.refresh(&first).await;
    world.sign_in("ada.secret@example.org", "a guess that is wrong").await;
    let third = world.sign_in("ada.secret@example.org", PASSWORD).await;
    let id = text(&first, "userId");
    let change = json!({"userId": id, "currentPassword": PASSWORD, "newPassword": "a new secret password",
        "address": "192.0.2.1"});
    let fourth = world.ask("change-password", &change).await;
    world.ask("sign-out", &json!({"refreshToken": fourth["refreshToken"], "address": "192.0.2.1"})).await;
    let (user_id, name) = (UserId::parse("importer").unwrap(), Line::parse("Nightly import").unwrap());
    world.send(CreateServiceAccount { user_id, name, roles: vec![RoleName::parse("clerk").unwrap()] }).await;
    world.rights("importer", |_| true).await;
    let key = world.ask("issue-api-key", &json!({"userId": "importer"})).await;
    let exchanged = world.ask("exchange-api-key", &json!({"apiKey": key["apiKey"], "address": "192.0.2.1"})).await;
    // A dead letter: a command that cannot be read.
    let id_of_message = Uuid::now_v7().to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-id", id_of_message.as_str()),
        ("ce-type", "identity.grant-role.v1"),
        ("ce-source", "/api-gateway"),
        ("ce-subject", "X"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ] {
        headers.insert(name, value);
    }
    world.gateway.publish_with_headers("identity.command.grant-role.X", headers, "{}".into()).await.unwrap();
    let start = Instant::now();
    while world.messages(DEAD_LETTERS).await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "no dead letter");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let mut places = rows(&world).await;
    for stream in [EVENTS, COMMANDS, DEAD_LETTERS] {
        let seen = world.messages(stream).await;
        assert!(!seen.is_empty(), "{stream}");
        places.push_str(&format!("{seen:?}"));
    }
    places.push_str(&world.log.lock().unwrap());
    assert!(places.contains(id) && places.contains("importer"), "the search works");
    let mut secrets: Vec<String> =
        [PASSWORD, "a guess that is wrong", "a new secret password", "ada.secret@example.org", "$argon2id$"]
            .map(str::to_owned)
            .into();
    secrets.extend(identity_service::start::DEMO_USERS.map(|user| user.password.to_owned()));
    secrets.push(text(&key, "apiKey").to_owned());
    for tokens in [&first, &second, &third, &fourth, &exchanged] {
        secrets.push(text(tokens, "accessToken").to_owned());
        secrets.extend(tokens["refreshToken"].as_str().map(str::to_owned));
    }
    for secret in secrets {
        let found = places.lines().find(|line| line.contains(&secret));
        assert_eq!(found, None, "{secret} is in a place that others read");
    }
}

async fn an_error_of_a_request_repeats_no_secret(engine: Engine) {
    let world = World::start(engine).await;
    let bodies = [
        ("sign-in", json!({"email": "a@example.org", "password": ["hunter2hunter2"], "address": "1"})),
        ("sign-in", json!({"email": "a@example.org", "password": "hunter2hunter2".repeat(100), "address": "1"})),
        ("sign-in", json!("hunter2hunter2")),
        ("sign-up", json!({"email": "hunter2hunter2", "password": PASSWORD, "name": "A", "address": "1"})),
        ("refresh", json!({"refreshToken": 2, "address": "hunter2hunter2".repeat(10)})),
    ];
    for (name, body) in bodies {
        let refused = world.try_ask(name, &body).await.unwrap_err();
        assert!(refused.starts_with("400 ") && !refused.contains("hunter2"), "{refused}");
    }
}

async fn events_are_published_after_a_kill_between_write_and_publish(engine: Engine) {
    let mut world = World::start(engine).await;
    world.event("identity.event.signing-keys-changed.keys", |_| true).await;
    // No stream takes events any more.
    let provisioner = async_nats::jetstream::new(connect(&world.nats, "provisioner").await);
    provisioner.delete_stream(EVENTS).await.unwrap();
    let tokens = world.sign_up("ada@example.org").await;
    let id = text(&tokens, "userId").to_owned();
    world.program.kill().unwrap();
    let pending = choreography::outbox_pending::depth(&world.database().await).await.unwrap();
    assert!(pending > 0, "the events are written, and not published");
    provision(&world.nats).await;
    world.restart_with(&[]).await;
    let rights: Value = world.rights(&id, |_| true).await;
    assert_eq!(rights["version"], 1);
    assert_eq!(world.sign_in("ada@example.org", PASSWORD).await["outcome"], "signed-in");
}
