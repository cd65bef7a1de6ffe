//! Sessions: families of refresh tokens, each of which is valid once.

use std::time::Duration;

use choreography::envelope::derived_id;
use choreography::{EncodeError, Outgoing};
use contracts::identity::{IdentityEvent, Secret, SessionEndReason, SessionEnded, SessionId, UserId};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::entity::{known_address, refresh_token, session};
use crate::local;
use crate::secrets::{digest, hash_token, random_token};

/// The maximum number of known addresses per user; the oldest is forgotten.
const MAX_ADDRESSES: u64 = 20;
/// The maximum number of sessions that a password change reports one by one. The access tokens of all sessions are
/// refused anyway, by `validFrom`.
const MAX_REPORTED: u64 = 100;

/// Opens a session; returns its id and its first refresh token.
///
/// # Errors
///
/// The database's error, or that there are no random numbers.
pub async fn open(
    connection: &impl ConnectionTrait,
    user_id: &UserId,
    lifetime: Duration,
    now: i64,
) -> anyhow::Result<(SessionId, Secret)> {
    let session_id = SessionId::parse(Uuid::now_v7().to_string())?;
    let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    let row = session::ActiveModel {
        session_id: Set(session_id.to_string()),
        user_id: Set(user_id.to_string()),
        created_at: Set(now),
        expires_at: Set(now.saturating_add(lifetime)),
        ended_at: Set(None),
        end_reason: Set(None),
    };
    row.insert(connection).await?;
    let token = next_token(connection, &session_id).await?;
    Ok((session_id, token))
}

/// Adds a refresh token to a session.
///
/// # Errors
///
/// As [`open`].
pub async fn next_token(connection: &impl ConnectionTrait, session_id: &SessionId) -> anyhow::Result<Secret> {
    let token = random_token("")?;
    let row = refresh_token::ActiveModel {
        token_hash: Set(hash_token(&token)),
        session_id: Set(session_id.to_string()),
        used_at: Set(None),
    };
    row.insert(connection).await?;
    Ok(token)
}

/// Uses a refresh token: returns whether it was unused. Of two that use it at one time, one gets `true`.
///
/// # Errors
///
/// The database's error.
pub async fn use_token(connection: &impl ConnectionTrait, token_hash: &str, now: i64) -> Result<bool, DbErr> {
    let used = refresh_token::Entity::update_many()
        .col_expr(refresh_token::Column::UsedAt, Expr::value(now))
        .filter(refresh_token::Column::TokenHash.eq(token_hash))
        .filter(refresh_token::Column::UsedAt.is_null())
        .exec(connection)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Ends a session; returns whether it was open.
///
/// # Errors
///
/// The database's error.
pub async fn end(
    connection: &impl ConnectionTrait,
    session_id: &str,
    reason: SessionEndReason,
    now: i64,
) -> Result<bool, DbErr> {
    Ok(end_where(connection, session::Column::SessionId.eq(session_id), reason, now).await? > 0)
}

/// Ends the open sessions that meet a condition; returns their number.
///
/// # Errors
///
/// The database's error.
pub async fn end_where(
    connection: &impl ConnectionTrait,
    condition: Expr,
    reason: SessionEndReason,
    now: i64,
) -> Result<u64, DbErr> {
    let ended = session::Entity::update_many()
        .col_expr(session::Column::EndedAt, Expr::value(now))
        .col_expr(session::Column::EndReason, Expr::value(reason.as_str()))
        .filter(condition)
        .filter(session::Column::EndedAt.is_null())
        .exec(connection)
        .await?;
    Ok(ended.rows_affected)
}

/// Ends all sessions of a user; returns the newest that were open.
///
/// # Errors
///
/// The database's error.
pub async fn end_all(
    connection: &impl ConnectionTrait,
    user_id: &UserId,
    reason: SessionEndReason,
    now: i64,
) -> Result<Vec<String>, DbErr> {
    let of_user = session::Column::UserId.eq(user_id.as_str());
    let newest: Vec<String> = session::Entity::find()
        .select_only()
        .column(session::Column::SessionId)
        .filter(of_user.clone())
        .filter(session::Column::EndedAt.is_null())
        .filter(session::Column::ExpiresAt.gt(now))
        .order_by_desc(session::Column::CreatedAt)
        .limit(MAX_REPORTED)
        .into_tuple()
        .all(connection)
        .await?;
    end_where(connection, of_user, reason, now).await?;
    Ok(newest)
}

/// Returns the event of an ended session. Its id derives from the session, too: one cause may end several.
///
/// # Errors
///
/// [`EncodeError`].
pub fn ended(user_id: &UserId, session_id: SessionId, reason: SessionEndReason) -> Result<Outgoing, EncodeError> {
    let event = SessionEnded { user_id: user_id.clone(), session_id: session_id.clone(), reason };
    let mut outgoing = Outgoing::of(local::cause(local::user(user_id)), &IdentityEvent::from(event), None)?;
    outgoing.id = derived_id(&outgoing.cause.id, &format!("{}#{session_id}", outgoing.subject));
    Ok(outgoing)
}

fn address_hash(user_id: &UserId, address: &str) -> String {
    digest([user_id.as_str(), address])
}

/// Returns whether a user has signed in from an address before.
///
/// # Errors
///
/// The database's error.
pub async fn is_known(connection: &impl ConnectionTrait, user_id: &UserId, address: &str) -> Result<bool, DbErr> {
    let key = (user_id.to_string(), address_hash(user_id, address));
    Ok(known_address::Entity::find_by_id(key).one(connection).await?.is_some())
}

/// Records that a user has signed in from an address.
///
/// # Errors
///
/// The database's error.
pub async fn know(
    connection: &impl ConnectionTrait,
    user_id: &UserId,
    address: &str,
    now: i64,
) -> Result<(), DbErr> {
    let row = known_address::ActiveModel {
        user_id: Set(user_id.to_string()),
        address_hash: Set(address_hash(user_id, address)),
        seen_at: Set(now),
    };
    choreography::statement::upsert(connection, vec![row]).await?;
    let of_user = known_address::Entity::find().filter(known_address::Column::UserId.eq(user_id.as_str()));
    let oldest: Vec<String> = of_user
        .select_only()
        .column(known_address::Column::AddressHash)
        .order_by_desc(known_address::Column::SeenAt)
        .offset(MAX_ADDRESSES)
        .limit(MAX_ADDRESSES)
        .into_tuple()
        .all(connection)
        .await?;
    if oldest.is_empty() {
        return Ok(());
    }
    let forgotten = known_address::Column::UserId.eq(user_id.as_str());
    let forgotten = forgotten.and(known_address::Column::AddressHash.is_in(oldest));
    known_address::Entity::delete_many().filter(forgotten).exec(connection).await.map(drop)
}

/// Deletes at most `limit` sessions that ended or expired before a time, with their refresh tokens; returns their number.
///
/// # Errors
///
/// The database's error.
pub async fn prune(connection: &impl ConnectionTrait, before: i64, limit: u64) -> Result<usize, DbErr> {
    let old: Vec<String> = session::Entity::find()
        .select_only()
        .column(session::Column::SessionId)
        .filter(session::Column::EndedAt.lt(before).or(session::Column::ExpiresAt.lt(before)))
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    for chunk in choreography::statement::padded_chunks(&old) {
        let tokens = refresh_token::Column::SessionId.is_in(chunk.clone());
        refresh_token::Entity::delete_many().filter(tokens).exec(connection).await?;
        session::Entity::delete_many().filter(session::Column::SessionId.is_in(chunk)).exec(connection).await?;
    }
    Ok(old.len())
}
