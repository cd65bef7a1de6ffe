//! The name of this shop at the payment provider.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait};
use uuid::Uuid;

use crate::entity::shop::{ActiveModel, Column, Entity};

/// The id of the only row.
const ROW_ID: i64 = 1;

/// Returns the name: `configured`, or the one in the database, which is generated if there is none yet.
///
/// # Errors
///
/// The database's error.
pub async fn id(db: &DatabaseConnection, configured: Option<&str>) -> Result<String, DbErr> {
    if let Some(configured) = configured {
        return Ok(configured.to_owned());
    }
    let generated: String = Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let row = ActiveModel { id: Set(ROW_ID), shop_id: Set(generated) };
    let keep = OnConflict::column(Column::Id).do_nothing().to_owned();
    Entity::insert(row).on_conflict(keep).exec_without_returning(db).await?;
    let row = Entity::find_by_id(ROW_ID).one(db).await?;
    row.map(|row| row.shop_id).ok_or_else(|| DbErr::RecordNotFound("the shop's id".to_owned()))
}
