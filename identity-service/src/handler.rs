//! The message handler: users by [`decide`] and [`evolve`](user::evolve), with the tables that follow from them.

use std::sync::Arc;

use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::{
    AggregateStatus, Changed, Decider, Envelope, EventSourced, HandleError, Handler, Outgoing, clock, effects,
    statement,
};
use contracts::identity::{ApiKeyId, IdentityCommand, IdentityEvent, RightsChanged, Roles, SessionEndReason};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter};
use time::OffsetDateTime;

use crate::entity::{api_key, membership, organisation, rights};
use crate::user::{self, Identity, IdentityMessage, User, decide};
use crate::{keys, local, sessions};

/// The rules of users and organisations.
#[derive(Debug, Clone)]
pub struct UserDecider {
    /// The roles.
    pub roles: Arc<Roles>,
}

impl Decider for UserDecider {
    type Message = IdentityMessage;
    type Event = IdentityEvent;
    type State = Identity;

    fn decide(&self, state: &Identity, message: &Envelope<IdentityMessage>) -> Vec<IdentityEvent> {
        decide(&self.roles, state, &message.payload, unix_millis(message.time))
    }

    fn evolve(&self, state: Identity, event: &IdentityEvent) -> Identity {
        user::evolve(state, event)
    }

    fn is_recorded(&self, event: &IdentityEvent) -> bool {
        !matches!(event, IdentityEvent::Refused(_) | IdentityEvent::SessionEnded(_))
    }

    async fn save(
        &self,
        tx: &DatabaseTransaction,
        changed: &[Changed<'_, Identity>],
        now: OffsetDateTime,
    ) -> Result<(), HandleError> {
        let now = unix_millis(now);
        for Changed { id, state, .. } in changed {
            match state {
                Identity::Unknown => {}
                Identity::Organisation { name } => {
                    let row = organisation::ActiveModel {
                        organisation_id: Set((*id).to_owned()),
                        name: Set(name.as_str().to_owned()),
                        created_at: Set(now),
                    };
                    statement::upsert(tx, vec![row]).await?;
                }
                Identity::User(user) => save_user(tx, user, now).await?,
            }
        }
        Ok(())
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = rights::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let since = rfc3339(from_unix_millis(row.updated_at));
        let (rights, _) = rights_of(row)?;
        let state = if rights.disabled { "disabled" } else { "enabled" };
        Ok(Some(AggregateStatus { state: state.to_owned(), since: Some(since), blocked_on: None }))
    }
}

/// Writes what follows from a user: the rights, the memberships, and the end of sessions.
async fn save_user(tx: &DatabaseTransaction, user: &User, now: i64) -> Result<(), HandleError> {
    let json = |error: serde_json::Error| HandleError::Retry(error.into());
    let id = user.user_id.as_str();
    let row = rights::ActiveModel {
        user_id: Set(id.to_owned()),
        version: Set(user.version),
        rights: Set(serde_json::to_string(&user.rights()).map_err(json)?),
        api_key_ids: Set(serde_json::to_string(&user.api_key_ids).map_err(json)?),
        updated_at: Set(now),
    };
    statement::upsert(tx, vec![row]).await?;
    membership::Entity::delete_many().filter(membership::Column::UserId.eq(id)).exec(tx).await?;
    let members = user.organisation_ids.iter().map(|organisation_id| membership::ActiveModel {
        organisation_id: Set(organisation_id.to_string()),
        user_id: Set(id.to_owned()),
    });
    statement::insert(tx, members.collect(), None).await?;
    if user.disabled {
        sessions::end_all(tx, &user.user_id, SessionEndReason::SignedOut, now).await?;
    }
    let kept = |id: &String| user.api_key_ids.iter().any(|kept| kept.as_str() == id);
    for key in api_key::Entity::find().filter(api_key::Column::UserId.eq(id)).all(tx).await? {
        if !kept(&key.api_key_id) {
            sessions::end(tx, &key.api_key_id, SessionEndReason::ApiKeyRevoked, now).await?;
            api_key::Entity::delete_by_id(key.key_hash).exec(tx).await?;
        }
    }
    Ok(())
}

/// Reads a row: the rights, and the ids of the API keys.
///
/// # Errors
///
/// [`DbErr::Custom`](sea_orm::DbErr::Custom) if the row is invalid.
pub(crate) fn rights_of(row: rights::Model) -> Result<(RightsChanged, Vec<ApiKeyId>), sea_orm::DbErr> {
    let rights = serde_json::from_str(&row.rights).map_err(statement::invalid_row)?;
    Ok((rights, serde_json::from_str(&row.api_key_ids).map_err(statement::invalid_row)?))
}

/// Handles batches of commands.
#[derive(Debug, Clone)]
pub struct IdentityHandler {
    /// The handler of users and organisations.
    pub users: EventSourced<UserDecider>,
}

impl Handler for IdentityHandler {
    type Message = IdentityCommand;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<IdentityCommand>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        // A command that is redriven after weeks must not grant again a role that was revoked meanwhile.
        let batch = effects::without_repeated(tx, batch, |_| true).await?;
        let now = clock::now();
        let mut outgoing = Vec::new();
        for message in &batch {
            if matches!(message.payload, IdentityCommand::RotateSigningKeys(_)) {
                let keys = keys::rotate(tx, unix_millis(now)).await.map_err(HandleError::Retry)?;
                outgoing.push(message.emit_change(&IdentityEvent::from(keys.clone()), keys.version)?);
            }
        }
        // Decided by the clock of the service, which also signs the tokens that a change refuses.
        let messages: Vec<_> = batch.into_iter().map(|message| local::at(message, now)).collect();
        outgoing.extend(self.users.handle(tx, &messages.iter().collect::<Vec<_>>()).await?);
        Ok(outgoing)
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        self.users.status(db, key).await
    }
}
