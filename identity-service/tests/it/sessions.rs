//! Sessions and API keys.

use choreography::envelope::unix_millis;
use choreography::statement;
use contracts::account::Line;
use contracts::identity::{ApiKeyId, CreateServiceAccount, MAX_ENDED, RevokeApiKey, RoleName, UserId};
use futures::future::join_all;
use identity_service::entity::session;
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::keys::claims;
use crate::on_both_databases;
use crate::support::{Engine, PASSWORD, World, text};

on_both_databases!(
    a_refresh_token_is_valid_once_and_its_reuse_ends_the_session,
    of_many_concurrent_uses_of_a_refresh_token_at_most_one_succeeds,
    a_session_ends_with_sign_out,
    a_session_expires,
    an_api_key_is_exchanged_until_it_is_revoked,
    beyond_the_maximum_of_ended_sessions_a_snapshot_says_which_tokens_are_refused,
);

async fn ended(world: &World, tokens: &Value) -> Value {
    let claims = claims(text(tokens, "accessToken"));
    let subject = format!("identity.event.session-ended.{}", text(&claims, "sub"));
    let event = world.event(&subject, |event| event["sessionId"] == claims["sid"]).await;
    let snapshot = world.ask("rights", &json!({})).await;
    assert!(snapshot["endedSessions"].as_array().unwrap().contains(&event), "{snapshot}");
    event
}

async fn a_refresh_token_is_valid_once_and_its_reuse_ends_the_session(engine: Engine) {
    let world = World::start(engine).await;
    let first = world.sign_up("ada@example.org").await;
    let other = world.sign_in("ada@example.org", PASSWORD).await;
    let second = world.refresh(&first).await;
    assert_eq!(second["outcome"], "signed-in");
    assert_ne!(first["refreshToken"], second["refreshToken"]);
    assert_eq!(claims(text(&first, "accessToken"))["sid"], claims(text(&second, "accessToken"))["sid"]);
    assert_eq!(world.refresh(&first).await["reason"], "token-reused");
    assert_eq!(world.refresh(&second).await["reason"], "session-ended");
    assert_eq!(ended(&world, &first).await["reason"], "reuse-detected");
    // Another session of the same user goes on.
    assert_eq!(world.refresh(&other).await["outcome"], "signed-in");
    assert_eq!(world.refresh(&json!({"refreshToken": "unknown"})).await["reason"], "session-ended");
}

async fn of_many_concurrent_uses_of_a_refresh_token_at_most_one_succeeds(engine: Engine) {
    let world = World::start(engine).await;
    let tokens = world.sign_up("ada@example.org").await;
    let request = json!({"refreshToken": tokens["refreshToken"], "address": "192.0.2.1"});
    let uses: [_; 8] = std::array::from_fn(|_| world.try_ask("refresh", &request));
    let mut succeeded = 0;
    for used in join_all(uses).await {
        succeeded += usize::from(used.is_ok_and(|reply| reply["outcome"] == "signed-in"));
    }
    assert_eq!(succeeded, 1);
    assert_eq!(ended(&world, &tokens).await["reason"], "reuse-detected");
}

async fn a_session_ends_with_sign_out(engine: Engine) {
    let world = World::start(engine).await;
    let tokens = world.sign_up("ada@example.org").await;
    let request = json!({"refreshToken": tokens["refreshToken"], "address": "192.0.2.1"});
    for _ in 0..2 {
        assert_eq!(world.ask("sign-out", &request).await, json!({}));
    }
    assert_eq!(ended(&world, &tokens).await["reason"], "signed-out");
    assert_eq!(world.refresh(&tokens).await["reason"], "session-ended");
}

async fn a_session_expires(engine: Engine) {
    let world = World::start_with(engine, &[("SESSION_SECONDS", "1")]).await;
    let tokens = world.sign_up("ada@example.org").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(world.refresh(&tokens).await["reason"], "session-ended");
}

async fn an_api_key_is_exchanged_until_it_is_revoked(engine: Engine) {
    let world = World::start(engine).await;
    let person = world.sign_up("ada@example.org").await;
    let user_id = UserId::parse("importer").unwrap();
    let (name, roles) = (Line::parse("Nightly import").unwrap(), vec![RoleName::parse("clerk").unwrap()]);
    world.send(CreateServiceAccount { user_id: user_id.clone(), name, roles }).await;
    assert_eq!(world.rights("importer", |_| true).await["kind"], "service");
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(world.ask("issue-api-key", &json!({"userId": "importer"})).await);
    }
    let many = world.try_ask("issue-api-key", &json!({"userId": "importer"})).await.unwrap_err();
    assert!(many.starts_with("400 importer has 5 API keys"), "{many}");
    let refused = world.try_ask("issue-api-key", &json!({"userId": person["userId"]})).await.unwrap_err();
    assert!(refused.starts_with("404"), "{refused}");

    let exchange = async |key: &Value| {
        world.ask("exchange-api-key", &json!({"apiKey": key["apiKey"], "address": "192.0.2.5"})).await
    };
    let tokens = exchange(&keys[0]).await;
    assert_eq!((&tokens["outcome"], tokens.get("refreshToken")), (&json!("signed-in"), None));
    assert_eq!(claims(text(&tokens, "accessToken"))["sid"], keys[0]["apiKeyId"]);
    let api_key_id = ApiKeyId::parse(text(&keys[0], "apiKeyId")).unwrap();
    world.send(RevokeApiKey { user_id, api_key_id }).await;
    assert_eq!(ended(&world, &tokens).await["reason"], "api-key-revoked");
    assert_eq!(exchange(&keys[0]).await["reason"], "wrong-credentials");
    assert_eq!(exchange(&keys[1]).await["outcome"], "signed-in");
    assert_eq!(exchange(&json!({"apiKey": "shop_key_unknown"})).await["reason"], "wrong-credentials");
}

async fn beyond_the_maximum_of_ended_sessions_a_snapshot_says_which_tokens_are_refused(engine: Engine) {
    let world = World::start(engine).await;
    let now = unix_millis(OffsetDateTime::now_utc());
    let ended = |n: u64| session::ActiveModel {
        session_id: Set(Uuid::now_v7().to_string()),
        user_id: Set("ada".to_owned()),
        created_at: Set(now - 120_000),
        expires_at: Set(now + 3_600_000),
        ended_at: Set(Some(now - 60_000 + i64::try_from(n).unwrap())),
        end_reason: Set(Some("signed-out".to_owned())),
    };
    let db = world.database().await;
    statement::insert(&db, (1..=MAX_ENDED).map(ended).collect(), None).await.unwrap();
    let snapshot = world.ask("rights", &json!({})).await;
    assert_eq!(snapshot["endedSessions"].as_array().unwrap().len() as u64, MAX_ENDED);
    assert_eq!(snapshot["refusedBefore"], Value::Null);
    statement::insert(&db, vec![ended(0)], None).await.unwrap();
    let snapshot = world.ask("rights", &json!({})).await;
    assert_eq!(snapshot["endedSessions"].as_array().unwrap().len() as u64, MAX_ENDED);
    assert_eq!(snapshot["refusedBefore"], now - 60_000 + 1);
    // Only the first page has them.
    let next = world.ask("rights", &json!({"after": "a"})).await;
    assert_eq!((&next["endedSessions"], &next["signingKeys"]), (&json!([]), &Value::Null));
}
