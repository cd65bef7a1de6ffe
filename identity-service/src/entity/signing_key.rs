//! The table `signing_keys`: the keys that sign access tokens.

use sea_orm::entity::prelude::*;

/// A signing key (Ed25519).
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    /// The number of the change that made it: 1, 2, 3, …; the newest one signs.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// The id of the key.
    pub kid: String,
    /// The private key: 32 bytes.
    pub seed: Vec<u8>,
    /// The public key: base64url without padding.
    pub public_key: String,
    /// When it stops being valid, in milliseconds since 1970; null for the one that signs.
    pub valid_until: Option<i64>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
