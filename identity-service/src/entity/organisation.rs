//! The table `organisations`.

use sea_orm::entity::prelude::*;

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organisations")]
pub struct Model {
    /// The id of the organisation, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organisation_id: String,
    /// The name.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
