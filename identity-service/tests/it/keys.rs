//! Access tokens and signing keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::identity::{KeySet, RotateSigningKeys};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::{Engine, World, text};

on_both_databases!(a_token_has_the_claims_and_the_signature_of_its_key, a_replaced_key_remains_valid_meanwhile);

fn part(token: &str, number: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap()
}

/// Returns the claims of an access token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    serde_json::from_slice(&part(token, 1)).unwrap()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&part(token, 0)).unwrap()
}

/// Returns whether one of the keys has signed a token.
fn is_signed(token: &str, keys: &Value) -> bool {
    let kid = &header(token)["kid"];
    let Some(key) = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == *kid) else { return false };
    let x: [u8; 32] = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap().try_into().unwrap();
    let (text, _) = token.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&part(token, 2)).unwrap();
    VerifyingKey::from_bytes(&x).unwrap().verify(text.as_bytes(), &signature).is_ok()
}

async fn a_token_has_the_claims_and_the_signature_of_its_key(engine: Engine) {
    let world = World::start(engine).await;
    let tokens = world.sign_up("ada@example.org").await;
    let token = text(&tokens, "accessToken");
    let keys = world.ask("jwks", &json!({})).await;
    let key = &keys["keys"][0];
    assert_eq!(header(token), json!({"alg": "EdDSA", "typ": "JWT", "kid": key["kid"]}));
    assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
    assert!(is_signed(token, &keys));
    let claims = claims(token);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["sub"]),
        (&json!("shop"), &json!("shop"), &tokens["userId"])
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(tokens["expiresIn"], 600);
    assert!(claims.get("roles").is_none());
}

async fn a_replaced_key_remains_valid_meanwhile(engine: Engine) {
    let world = World::start(engine).await;
    let old = world.sign_up("ada@example.org").await;
    world.event("identity.event.signing-keys-changed.keys", |event| event["version"] == 1).await;
    world.send(RotateSigningKeys { key_set: KeySet::parse("keys").unwrap() }).await;
    let event = world.event("identity.event.signing-keys-changed.keys", |event| event["version"] == 2).await;
    assert_eq!(event["keys"].as_array().unwrap().len(), 2);
    assert!(event["keys"][0].get("validUntil").is_none() && event["keys"][1]["validUntil"].as_i64().is_some());
    let new = world.refresh(&old).await;
    let (old, new) = (text(&old, "accessToken"), text(&new, "accessToken"));
    assert_ne!(header(old)["kid"], header(new)["kid"]);
    let keys = world.ask("jwks", &json!({})).await;
    assert!(is_signed(old, &keys) && is_signed(new, &keys));
    let snapshot = world.ask("rights", &json!({})).await;
    assert_eq!(snapshot["signingKeys"], event);
    let changed = [text(&event["keys"][0], "kid"), text(&event["keys"][1], "kid")];
    assert_eq!(changed, [text(&header(new), "kid"), text(&header(old), "kid")]);
}
