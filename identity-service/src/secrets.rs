//! Passwords, random tokens, and their hashes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::identity::Secret;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Memory per hash in KiB, passes, and lanes, as OWASP recommends for Argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How long a request waits for its turn; longer ones fail, so that a flood of sign-ins fills no memory.
const TURN: Duration = Duration::from_secs(5);

/// Hashes and verifies passwords: off the async threads, and a bounded number at one time.
#[derive(Debug, Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    /// The hash of no known password, verified for unknown users: the reply takes as long as for a known one.
    dummy: Arc<str>,
}

impl Hasher {
    /// Creates a hasher that hashes at most `max` passwords at one time.
    ///
    /// # Errors
    ///
    /// If the operating system has no random numbers.
    pub fn new(max: usize) -> anyhow::Result<Self> {
        let dummy = hash(random_token("")?.expose())?;
        Ok(Self { turns: Arc::new(Semaphore::new(max)), dummy: dummy.into() })
    }

    /// Returns the hash of a password, in the PHC format.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or hashing fails.
    pub async fn hash(&self, password: Secret) -> anyhow::Result<String> {
        self.in_turn(move || hash(password.expose())).await
    }

    /// Returns whether a password has this hash; never without one, and then it takes as long.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or the hash is invalid.
    pub async fn verify(&self, password: Secret, hash: Option<String>) -> anyhow::Result<bool> {
        let dummy = self.dummy.clone();
        self.in_turn(move || {
            let known = hash.is_some();
            Ok(verify(password.expose(), hash.as_deref().unwrap_or(&dummy))? && known)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let turn = tokio::time::timeout(TURN, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| anyhow!("too many passwords are waiting to be verified"))??;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.context("hashing a password")?
    }
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params =
        Params::new(memory, passes, lanes, None).map_err(|error| anyhow!("the cost of hashing: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> anyhow::Result<String> {
    let failed = |error| anyhow!("hashing a password: {error}");
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(failed)?;
    Ok(argon2()?.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

fn verify(password: &str, hash: &str) -> anyhow::Result<bool> {
    let hash = PasswordHash::new(hash).map_err(|error| anyhow!("a stored hash of a password: {error}"))?;
    match argon2()?.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => bail!("verifying a password: {error}"),
    }
}

/// Returns random bytes of the operating system.
///
/// # Errors
///
/// If it has none.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("random numbers of the operating system: {error}"))?;
    Ok(bytes)
}

/// Returns a new token of 256 random bits, after a prefix.
///
/// # Errors
///
/// As [`random`].
pub fn random_token(prefix: &str) -> anyhow::Result<Secret> {
    Ok(Secret::parse(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))?)
}

/// Returns the hash of a random token, as it is stored. A fast hash is enough: nobody can guess 256 random bits.
#[must_use]
pub fn hash_token(token: &Secret) -> String {
    digest([token.expose()])
}

/// Returns the SHA-256 hash of texts, base64url.
#[must_use]
pub fn digest<const N: usize>(texts: [&str; N]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}
