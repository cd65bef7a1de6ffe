//! Passwords: wrong ones, changed ones, and guesses.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::on_both_databases;
use crate::support::{Engine, PASSWORD, World, text};

on_both_databases!(
    a_wrong_password_and_an_unknown_address_get_the_same_reply_after_the_same_time,
    a_changed_password_ends_all_sessions,
    guesses_are_slowed_down_and_never_lock_the_owner_out,
);

async fn a_wrong_password_and_an_unknown_address_get_the_same_reply_after_the_same_time(engine: Engine) {
    let world = World::start(engine).await;
    world.sign_up("ada@example.org").await;
    let (mut fastest, mut replies) = ([Duration::MAX; 2], Vec::new());
    for _ in 0..3 {
        for (fastest, email) in fastest.iter_mut().zip(["ada@example.org", "eve@example.org"]) {
            let start = Instant::now();
            replies.push(world.sign_in_from(email, "not the password", "192.0.2.9").await);
            *fastest = start.elapsed().min(*fastest);
        }
    }
    assert!(replies.iter().all(|reply| *reply == json!({"outcome": "refused", "reason": "wrong-credentials"})));
    // Without a hash for the unknown address, its reply would take a fraction of the time.
    assert!(fastest[1] * 2 > fastest[0] && fastest[0] * 2 > fastest[1], "{fastest:?}");
}

async fn a_changed_password_ends_all_sessions(engine: Engine) {
    let world = World::start(engine).await;
    let first = world.sign_up("ada@example.org").await;
    let second = world.sign_in("ada@example.org", PASSWORD).await;
    let id = text(&first, "userId");
    let change = |current: &str, new: &str| json!({"userId": id, "currentPassword": current, "newPassword": new, "address": "192.0.2.1"});
    let wrong = world.ask("change-password", &change("not the password", "another long password")).await;
    assert_eq!(wrong["reason"], "wrong-credentials");
    let short = world.try_ask("change-password", &change(PASSWORD, "short")).await.unwrap_err();
    assert!(short.starts_with("400 newPassword: must be 12 to 128 characters"), "{short}");
    let third = world.ask("change-password", &change(PASSWORD, "another long password")).await;
    assert_eq!(third["outcome"], "signed-in", "{third}");
    for old in [&first, &second] {
        assert_eq!(world.refresh(old).await["reason"], "session-ended");
    }
    assert_eq!(world.refresh(&third).await["outcome"], "signed-in");
    assert_eq!(world.sign_in("ada@example.org", PASSWORD).await["reason"], "wrong-credentials");
    assert_eq!(world.sign_in("ada@example.org", "another long password").await["outcome"], "signed-in");
    let rights = world.rights(id, |rights| rights["version"] == 2).await;
    let issued = |tokens| crate::keys::claims(text(tokens, "accessToken"))["iat"].as_i64().unwrap() * 1000;
    assert!(issued(&third) >= rights["validFrom"].as_i64().unwrap(), "the new token is valid");
    let ended = format!("identity.event.session-ended.{id}");
    for old in [&first, &second] {
        let session = crate::keys::claims(text(old, "accessToken"))["sid"].clone();
        let event = world.event(&ended, |event| event["sessionId"] == session).await;
        assert_eq!(event["reason"], "password-changed");
    }
}

async fn guesses_are_slowed_down_and_never_lock_the_owner_out(engine: Engine) {
    let world = World::start(engine).await;
    // The owner has signed in from 192.0.2.1.
    world.sign_up("ada@example.org").await;
    let mut slowed = 0;
    for n in 0..20 {
        let reply = world.sign_in_from("ada@example.org", "a wrong guess", &format!("203.0.113.{n}")).await;
        if reply["reason"] == "too-many-attempts" {
            slowed += 1;
            let wait = reply["retryAfterSeconds"].as_u64().unwrap();
            assert!((1..=60).contains(&wait), "{reply}");
        }
    }
    assert!(slowed >= 10, "{slowed}");
    // From an unknown address even the right password has to wait, at most a minute.
    let elsewhere = world.sign_in_from("ada@example.org", PASSWORD, "198.51.100.7").await;
    assert_eq!(elsewhere["reason"], "too-many-attempts", "{elsewhere}");
    assert_eq!(world.sign_in("ada@example.org", PASSWORD).await["outcome"], "signed-in");
    // Another user is not affected.
    assert_eq!(world.sign_in("eve@example.org", "whatever it is").await["reason"], "wrong-credentials");
}
