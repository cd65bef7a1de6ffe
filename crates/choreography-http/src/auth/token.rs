//! Access tokens: JWS in compact form with `alg: EdDSA` (RFC 8037), and no other.
//!
//! The algorithm is not taken from the token: the only one is Ed25519, so `alg: none`, or HS256 with a public key as the
//! secret, cannot be accepted by any mistake. Signatures are verified strictly (no small-order keys, no malleability).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

/// The maximum length of a token, in bytes; longer ones are not read.
pub const MAX_TOKEN: usize = 2048;
/// The tolerated difference of clocks, in seconds.
pub const LEEWAY: i64 = 30;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// It is not a token.
    #[error("the access token is malformed")]
    Malformed,
    /// Its algorithm is not `EdDSA`.
    #[error("the access token must be signed with EdDSA")]
    Algorithm,
    /// The key is unknown, or no longer valid.
    #[error("the access token is signed with an unknown key")]
    UnknownKey,
    /// The signature does not match.
    #[error("the signature of the access token is invalid")]
    Signature,
    /// It was issued by or for another system.
    #[error("the access token is of another issuer or for another audience")]
    Foreign,
    /// It has expired.
    #[error("the access token has expired")]
    Expired,
    /// It was issued in the future: the clocks differ too much.
    #[error("the access token is not valid yet: check the clock")]
    NotYetValid,
}

impl TokenError {
    /// Returns its name, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
        }
    }
}

/// The claims of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: String,
    /// The session.
    pub session: String,
    /// When it was issued, in seconds since 1970.
    pub issued: i64,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: String,
    // An extension that must be understood: none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// A public key.
#[derive(Debug, Clone)]
struct Key {
    key: VerifyingKey,
    /// In milliseconds since 1970.
    valid_until: Option<i64>,
}

/// Verifies the access tokens of one issuer for one audience.
#[derive(Debug)]
pub struct Verifier {
    issuer: &'static str,
    audience: &'static str,
    keys: HashMap<String, Key>,
}

impl Verifier {
    /// Creates a verifier without keys.
    #[must_use]
    pub fn new(issuer: &'static str, audience: &'static str) -> Self {
        Self { issuer, audience, keys: HashMap::new() }
    }

    /// Replaces the keys: each with its id, its 32 bytes in base64url, and until when it is valid, in milliseconds since
    /// 1970. Leaves out what is no key.
    pub fn set_keys<'a>(&mut self, keys: impl IntoIterator<Item = (&'a str, &'a str, Option<i64>)>) {
        let key = |x: &str| VerifyingKey::from_bytes(&URL_SAFE_NO_PAD.decode(x).ok()?.try_into().ok()?).ok();
        let keys = keys.into_iter().filter_map(|(kid, x, valid_until)| {
            let key = key(x).filter(|key| !key.is_weak());
            if key.is_none() {
                tracing::error!(kid, "a signing key is not a valid Ed25519 key; its tokens are refused");
            }
            Some((kid.to_owned(), Key { key: key?, valid_until }))
        });
        self.keys = keys.collect();
    }

    /// Verifies a token at a time, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let read: Head = serde_json::from_slice(&decoded(head)?).map_err(|_| TokenError::Malformed)?;
        if read.alg != "EdDSA" || read.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let key = self.keys.get(&read.kid).filter(|key| key.valid_until.is_none_or(|until| now < until));
        let key = key.ok_or(TokenError::UnknownKey)?;
        let signature = Signature::from_slice(&decoded(signature)?).map_err(|_| TokenError::Signature)?;
        let signed = token.get(..head.len() + 1 + body.len()).ok_or(TokenError::Malformed)?;
        key.key.verify_strict(signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
        let body: Body = serde_json::from_slice(&decoded(body)?).map_err(|_| TokenError::Malformed)?;
        if body.iss != self.issuer || body.aud != self.audience {
            return Err(TokenError::Foreign);
        }
        let claims = Claims { user: body.sub, session: body.sid, issued: body.iat, expires: body.exp };
        claims.check_time(now).map(|()| claims)
    }
}

impl Claims {
    /// Checks the times of a verified token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Expired`] or [`TokenError::NotYetValid`].
    pub fn check_time(&self, now: i64) -> Result<(), TokenError> {
        let now = now.div_euclid(1000);
        if now >= self.expires.saturating_add(LEEWAY) {
            Err(TokenError::Expired)
        } else if self.issued > now.saturating_add(LEEWAY) || self.issued > self.expires {
            Err(TokenError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn signed(key: &SigningKey, head: &Value, body: &Value) -> String {
        let text = format!("{}.{}", encoded(head), encoded(body));
        let signature = key.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn head() -> Value {
        json!({"alg": "EdDSA", "kid": "k1"})
    }

    fn body() -> Value {
        json!({"iss": "shop", "aud": "shop", "sub": "U1", "sid": "S1", "iat": NOW, "exp": NOW + 600})
    }

    fn ours() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn verifier() -> Verifier {
        let mut verifier = Verifier::new("shop", "shop");
        let x = URL_SAFE_NO_PAD.encode(ours().verifying_key().to_bytes());
        verifier.set_keys([("k1", x.as_str(), None), ("old", x.as_str(), Some(NOW * 1000))]);
        verifier
    }

    fn refused(token: &str) -> TokenError {
        verifier().verify(token, NOW * 1000).unwrap_err()
    }

    fn with(mut value: Value, name: &str, other: Value) -> Value {
        value[name] = other;
        value
    }

    #[test]
    fn a_token_of_the_issuer_is_accepted_with_clocks_that_differ_a_little() {
        let token = signed(&ours(), &head(), &body());
        for second in [NOW - LEEWAY, NOW, NOW + 599 + LEEWAY] {
            assert_eq!(verifier().verify(&token, second * 1000).unwrap().user, "U1");
        }
    }

    #[test]
    fn every_other_token_is_refused_with_its_reason() {
        let key = ours();
        let of = |head: &Value, body: &Value| refused(&signed(&key, head, body));
        assert_eq!(of(&head(), &with(body(), "exp", json!(NOW - LEEWAY))), TokenError::Expired);
        assert_eq!(of(&head(), &with(body(), "iss", json!("other"))), TokenError::Foreign);
        assert_eq!(of(&head(), &with(body(), "aud", json!("other"))), TokenError::Foreign);
        assert_eq!(of(&with(head(), "kid", json!("k2")), &body()), TokenError::UnknownKey);
        assert_eq!(of(&with(head(), "kid", json!("old")), &body()), TokenError::UnknownKey);
        assert_eq!(of(&with(head(), "crit", json!(["x"])), &body()), TokenError::Algorithm);
        for alg in ["none", "None", "HS256", "RS256", "ES256", "eddsa", ""] {
            assert_eq!(of(&with(head(), "alg", json!(alg)), &body()), TokenError::Algorithm, "{alg}");
        }
        // Ten minutes off, in both directions.
        assert_eq!(of(&head(), &with(body(), "iat", json!(NOW + 600))), TokenError::NotYetValid);
        let slow = with(with(body(), "iat", json!(NOW - 1200)), "exp", json!(NOW - 600));
        assert_eq!(of(&head(), &slow), TokenError::Expired);
        let foreign = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(refused(&signed(&foreign, &head(), &body())), TokenError::Signature);
        for missing in ["iss", "aud", "sub", "sid", "iat", "exp"] {
            let mut body = body();
            body.as_object_mut().unwrap().remove(missing);
            assert_eq!(of(&head(), &body), TokenError::Malformed, "{missing}");
        }
    }

    #[test]
    fn the_public_key_is_no_secret_and_no_signature_is_none() {
        let unsigned = format!("{}.{}.", encoded(&with(head(), "alg", json!("none"))), encoded(&body()));
        assert_eq!(refused(&unsigned), TokenError::Algorithm);
        let hs = format!("{}.{}", encoded(&with(head(), "alg", json!("HS256"))), encoded(&body()));
        use sha2::{Digest, Sha256};
        // HMAC-SHA256 with the public key as the secret.
        let mut pad = [0; 64];
        pad[..32].copy_from_slice(&ours().verifying_key().to_bytes());
        let inner = Sha256::new().chain_update(pad.map(|b: u8| b ^ 0x36)).chain_update(&hs).finalize();
        let mac = Sha256::new().chain_update(pad.map(|b: u8| b ^ 0x5c)).chain_update(inner).finalize();
        assert_eq!(refused(&format!("{hs}.{}", URL_SAFE_NO_PAD.encode(mac))), TokenError::Algorithm);
        let empty = format!("{}.{}.", encoded(&head()), encoded(&body()));
        assert_eq!(refused(&empty), TokenError::Signature);
    }

    #[test]
    fn truncated_and_huge_tokens_are_refused() {
        let token = signed(&ours(), &head(), &body());
        for end in 0..token.len() {
            assert!(verifier().verify(&token[..end], NOW * 1000).is_err(), "{end}");
        }
        for huge in ["x".repeat(1_000_000), format!("{token}{}", "A".repeat(MAX_TOKEN)), ".".repeat(10_000)] {
            assert_eq!(refused(&huge), TokenError::Malformed);
        }
    }

    proptest! {
        // A build without optimisation verifies slowly.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_mutated_token_is_accepted(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
            let token = signed(&ours(), &head(), &body());
            let mut bytes = token.clone().into_bytes();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let mutated = String::from_utf8_lossy(&bytes).into_owned();
            prop_assume!(mutated != token);
            prop_assert!(verifier().verify(&mutated, NOW * 1000).is_err(), "{}", mutated);
        }

        #[test]
        fn no_text_is_accepted(text in ".{0,200}") {
            prop_assert!(verifier().verify(&text, NOW * 1000).is_err());
        }
    }
}
