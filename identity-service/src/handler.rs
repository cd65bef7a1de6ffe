//! The message handler: users by [`decide`] and [`evolve`](user::evolve), with the tables that follow from them.

use std::collections::HashSet;
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

use crate::entity::{api_key, membership, organisation, rights, session};
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
        let (mut users, mut organisations) = (Vec::new(), Vec::new());
        for Changed { id, state, .. } in changed {
            match state {
                Identity::Unknown => {}
                Identity::Organisation { name } => organisations.push(organisation::ActiveModel {
                    organisation_id: Set((*id).to_owned()),
                    name: Set(name.as_str().to_owned()),
                    created_at: Set(now),
                }),
                Identity::User(user) => users.push(user),
            }
        }
        // In one order, so that the transactions of two instances cannot deadlock.
        organisations.sort_unstable_by(|a, b| a.organisation_id.as_ref().cmp(b.organisation_id.as_ref()));
        users.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
        statement::upsert(tx, organisations).await?;
        save_users(tx, &users, now).await
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = rights::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let since = rfc3339(from_unix_millis(row.updated_at));
        let (rights, _) = rights_of(row)?;
        let state = if rights.disabled { "disabled" } else { "enabled" };
        Ok(Some(AggregateStatus { state: state.to_owned(), since: Some(since), blocked_on: None }))
    }
}

/// Writes what follows from users: the rights, the memberships, and the end of sessions.
async fn save_users(tx: &DatabaseTransaction, users: &[&User], now: i64) -> Result<(), HandleError> {
    let json = |error: serde_json::Error| HandleError::Retry(error.into());
    let (mut rows, mut members) = (Vec::with_capacity(users.len()), Vec::new());
    let (mut ids, mut disabled) = (Vec::with_capacity(users.len()), Vec::new());
    for user in users {
        let id = user.user_id.as_str();
        rows.push(rights::ActiveModel {
            user_id: Set(id.to_owned()),
            version: Set(user.version),
            rights: Set(serde_json::to_string(&user.rights()).map_err(json)?),
            api_key_ids: Set(serde_json::to_string(&user.api_key_ids).map_err(json)?),
            updated_at: Set(now),
        });
        members.extend(user.organisation_ids.iter().map(|organisation_id| membership::ActiveModel {
            organisation_id: Set(organisation_id.to_string()),
            user_id: Set(id.to_owned()),
        }));
        ids.push(id.to_owned());
        disabled.extend(user.disabled.then(|| id.to_owned()));
    }
    statement::upsert(tx, rows).await?;
    for chunk in statement::padded_chunks(&ids) {
        membership::Entity::delete_many().filter(membership::Column::UserId.is_in(chunk)).exec(tx).await?;
    }
    statement::insert(tx, members, None).await?;
    for chunk in statement::padded_chunks(&disabled) {
        let of_users = session::Column::UserId.is_in(chunk);
        sessions::end_where(tx, of_users, SessionEndReason::SignedOut, now).await?;
    }
    let kept: HashSet<&str> = users.iter().flat_map(|user| &user.api_key_ids).map(ApiKeyId::as_str).collect();
    let keys = statement::select_in::<api_key::Entity, _>(tx, api_key::Column::UserId, &ids).await?;
    let revoked: Vec<String> =
        keys.into_iter().map(|key| key.api_key_id).filter(|id| !kept.contains(id.as_str())).collect();
    for chunk in statement::padded_chunks(&revoked) {
        let of_keys = session::Column::SessionId.is_in(chunk.clone());
        sessions::end_where(tx, of_keys, SessionEndReason::ApiKeyRevoked, now).await?;
        api_key::Entity::delete_many().filter(api_key::Column::ApiKeyId.is_in(chunk)).exec(tx).await?;
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
