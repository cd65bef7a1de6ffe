//! The table `memberships`: the members of organisations.

use sea_orm::entity::prelude::*;

/// A member of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    /// The id of the organisation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organisation_id: String,
    /// The id of the user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
