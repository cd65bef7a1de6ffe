//! The signing keys, and the access tokens that they sign.
//!
//! The private keys are in the service's database, which only this service reads. A new key signs from its commit on; the
//! previous one remains valid until its last token has expired.

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use choreography::statement::invalid_row;
use contracts::identity::{
    ACCESS_TOKEN_SECONDS, Claims, Jwk, KeyId, KeySet, MAX_SIGNING_KEYS, SIGNING_KEYS, Secret, SigningKeysChanged,
};
use ed25519_dalek::{Signer, SigningKey};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use crate::entity::signing_key::{ActiveModel, Column, Entity, Model};
use crate::secrets::random;

/// How long a replaced key is valid: the lifetime of an access token, and a reserve for clocks that differ.
const OVERLAP_MILLIS: i64 = (ACCESS_TOKEN_SECONDS as i64 + 120) * 1000;

/// Replaces the key that signs, and returns the event.
///
/// # Errors
///
/// The database's error; a unique violation if another instance was faster.
pub async fn rotate(connection: &impl ConnectionTrait, now: i64) -> anyhow::Result<SigningKeysChanged> {
    let newest = Entity::find().order_by_desc(Column::Version).one(connection).await?;
    let version = newest.map_or(0, |key| key.version) + 1;
    Entity::update_many()
        .col_expr(Column::ValidUntil, Expr::value(now + OVERLAP_MILLIS))
        .filter(Column::ValidUntil.is_null())
        .exec(connection)
        .await?;
    let seed = random::<32>()?;
    let row = ActiveModel {
        version: Set(version),
        kid: Set(Uuid::now_v7().to_string()),
        seed: Set(seed.to_vec()),
        public_key: Set(URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes())),
        valid_until: Set(None),
    };
    row.insert(connection).await?;
    // Those that nobody needs: the private keys first.
    let oldest = version - i64::try_from(MAX_SIGNING_KEYS).unwrap_or(i64::MAX);
    let expired = Column::ValidUntil.lt(now).or(Column::Version.lte(oldest));
    Entity::delete_many().filter(expired).exec(connection).await?;
    Ok(current(connection, now).await?)
}

/// Returns the valid public keys, the one that signs first.
///
/// # Errors
///
/// The database's error, or that a row is invalid.
pub async fn current(connection: &impl ConnectionTrait, now: i64) -> Result<SigningKeysChanged, DbErr> {
    let valid = Column::ValidUntil.is_null().or(Column::ValidUntil.gt(now));
    let rows = Entity::find()
        .filter(valid)
        .order_by_desc(Column::Version)
        .limit(MAX_SIGNING_KEYS as u64)
        .all(connection)
        .await?;
    let version = rows.first().map_or(0, |row| row.version);
    let key = |row: Model| -> Result<Jwk, DbErr> {
        Ok(Jwk {
            kid: KeyId::parse(row.kid).map_err(invalid_row)?,
            x: row.public_key,
            valid_until: row.valid_until,
        })
    };
    let keys = rows.into_iter().map(key).collect::<Result<_, _>>()?;
    Ok(SigningKeysChanged { key_set: KeySet::parse(SIGNING_KEYS).map_err(invalid_row)?, version, keys })
}

/// Signs an access token: a JWT with the algorithm `EdDSA`.
///
/// # Errors
///
/// The database's error, or that there is no key yet.
pub async fn sign(connection: &impl ConnectionTrait, claims: &Claims) -> anyhow::Result<Secret> {
    let newest = Entity::find().order_by_desc(Column::Version).one(connection).await?;
    let newest = newest.context("there is no signing key yet")?;
    let seed: [u8; 32] = newest.seed.try_into().map_err(|_| anyhow!("a signing key is not 32 bytes long"))?;
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": newest.kid});
    let encoded = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
    let text = format!("{}.{}", encoded(serde_json::to_vec(&header)?), encoded(serde_json::to_vec(claims)?));
    let signature = SigningKey::from_bytes(&seed).sign(text.as_bytes());
    Ok(Secret::parse(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))?)
}
