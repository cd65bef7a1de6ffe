//! The name of this shop at the payment provider.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait};
use uuid::Uuid;

use crate::entity::shop::{ActiveModel, Column, Entity};

/// The id of the only row.
const ONLY: i64 = 1;

/// Returns the name: `configured`, or the one that the database keeps, which is made here if there is none yet.
///
/// # Errors
///
/// The database's error.
pub async fn id(db: &DatabaseConnection, configured: Option<&str>) -> Result<String, DbErr> {
    if let Some(configured) = configured {
        return Ok(configured.to_owned());
    }
    let made: String = Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let row = ActiveModel { id: Set(ONLY), shop_id: Set(made) };
    let keep = OnConflict::column(Column::Id).do_nothing().to_owned();
    Entity::insert(row).on_conflict(keep).exec_without_returning(db).await?;
    let row = Entity::find_by_id(ONLY).one(db).await?;
    row.map(|row| row.shop_id).ok_or_else(|| DbErr::RecordNotFound("the shop's id".to_owned()))
}
