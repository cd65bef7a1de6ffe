//! The queries: rights, users, organisations, and public keys. [`contracts::identity`] has the types.

use std::collections::HashMap;

use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::query::{Endpoint, Query, QueryError, cut_page};
use choreography::statement::invalid_row;
use choreography::{clock, statement};
use contracts::account::{Email, Line};
use contracts::identity::{
    ACCESS_TOKEN_SECONDS, JwkSet, ListOrganisations, ListRights, ListUsers, MAX_ENDED, OrganisationId,
    OrganisationView, RightsPage, SessionEndReason, SessionEnded, SessionId, UserId, UserView,
};
use contracts::query::{DEFAULT_PAGE, MAX_PAGE, Page};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::de::DeserializeOwned;

use crate::entity::{credential, membership, organisation, rights, session};
use crate::handler::rights_of;
use crate::keys;
use crate::requests::Requests;

/// A reserve for clocks that differ: sessions stay in the snapshot longer than their last access token is valid.
const RESERVE_MILLIS: i64 = 120_000;

/// Returns the query endpoints.
#[must_use]
pub fn endpoints(requests: &Requests) -> Vec<Endpoint> {
    macro_rules! endpoint {
        ($name:literal, $method:ident) => {{
            let requests = requests.clone();
            Endpoint::new($name, concat!("identity.query.", $name), move |query| requests.clone().$method(query))
        }};
    }
    macro_rules! read {
        ($name:literal, $subject:literal, $function:ident) => {{
            let db = requests.db.reader.clone();
            Endpoint::new($name, $subject, move |query| $function(db.clone(), query))
        }};
    }
    vec![
        endpoint!("sign-up", sign_up),
        endpoint!("sign-in", sign_in),
        endpoint!("refresh", refresh),
        endpoint!("sign-out", sign_out),
        endpoint!("change-password", change_password),
        endpoint!("issue-api-key", issue_api_key),
        endpoint!("exchange-api-key", exchange_api_key),
        read!("jwks", "identity.query.jwks", jwks),
        read!("rights", "identity.query.rights", rights),
        read!("users", "identity.query.users", users),
        read!("user", "identity.query.user.*", user),
        read!("organisations", "identity.query.organisations", organisations),
    ]
}

/// Reads the body of a request; an empty one is the default.
fn body<T: DeserializeOwned + Default>(query: &Query) -> Result<T, QueryError> {
    if query.body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))
}

fn limit(limit: Option<u64>) -> Result<u64, QueryError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    let fits = (1..=MAX_PAGE).contains(&limit);
    if fits { Ok(limit) } else { Err(QueryError::Invalid(format!("limit must be 1 to {MAX_PAGE}"))) }
}

/// Returns the valid public keys.
async fn jwks(db: DatabaseConnection, _: Query) -> Result<JwkSet, QueryError> {
    let keys = keys::current(&db, unix_millis(clock::now())).await?.keys;
    Ok(JwkSet { keys: keys.iter().map(Into::into).collect() })
}

/// Returns a page of users by id, and the cursor of the next one.
async fn page(
    db: &DatabaseConnection,
    after: Option<&UserId>,
    limit: u64,
) -> Result<(Vec<rights::Model>, Option<String>), DbErr> {
    let mut select = rights::Entity::find();
    if let Some(after) = after {
        select = select.filter(rights::Column::UserId.gt(after.as_str()));
    }
    // One row more than requested shows whether another page follows.
    let mut rows = select.order_by_asc(rights::Column::UserId).limit(limit + 1).all(db).await?;
    let more = cut_page(&mut rows, limit, |row| row.rights.len());
    let next = rows.last().filter(|_| more).map(|row| row.user_id.clone());
    Ok((rows, next))
}

/// Returns a page of the rights of all users.
async fn rights(db: DatabaseConnection, query: Query) -> Result<RightsPage, QueryError> {
    let request: ListRights = body(&query)?;
    let (rows, next) = page(&db, request.after.as_ref(), limit(request.limit)?).await?;
    let items = rows.into_iter().map(|row| Ok(rights_of(row)?.0)).collect::<Result<_, DbErr>>()?;
    let next = next.map(UserId::parse).transpose().map_err(invalid_row)?;
    let mut page = RightsPage { items, next, signing_keys: None, ended_sessions: Vec::new(), refused_before: None };
    if request.after.is_none() {
        let now = unix_millis(clock::now());
        page.signing_keys = Some(keys::current(&db, now).await?);
        (page.ended_sessions, page.refused_before) = ended_sessions(&db, now, MAX_ENDED).await?;
    }
    Ok(page)
}

/// Returns the sessions whose access tokens may still be valid, the newest `max`. If there are more, also the time before
/// which tokens must be refused.
async fn ended_sessions(
    db: &DatabaseConnection,
    now: i64,
    max: u64,
) -> Result<(Vec<SessionEnded>, Option<i64>), DbErr> {
    let lifetime = i64::try_from(ACCESS_TOKEN_SECONDS * 1000).unwrap_or(i64::MAX);
    let mut rows = session::Entity::find()
        .filter(session::Column::EndedAt.gte(now - lifetime - RESERVE_MILLIS))
        .order_by_desc(session::Column::EndedAt)
        .limit(max + 1)
        .all(db)
        .await?;
    let left_out = (rows.len() as u64 > max).then(|| rows.pop()).flatten();
    // Its tokens were issued before it ended.
    let refused_before = left_out.and_then(|row| row.ended_at).map(|ended_at| ended_at + 1);
    Ok((rows.into_iter().map(ended_session).collect::<Result<_, _>>()?, refused_before))
}

fn ended_session(row: session::Model) -> Result<SessionEnded, DbErr> {
    let reason = row.end_reason.unwrap_or_else(|| SessionEndReason::SignedOut.as_str().to_owned());
    Ok(SessionEnded {
        user_id: UserId::parse(row.user_id).map_err(invalid_row)?,
        session_id: SessionId::parse(row.session_id).map_err(invalid_row)?,
        reason: serde_json::from_value(reason.into()).map_err(invalid_row)?,
    })
}

/// Returns a page of users.
async fn users(db: DatabaseConnection, query: Query) -> Result<Page<UserView>, QueryError> {
    let request: ListUsers = body(&query)?;
    let (rows, next) = page(&db, request.after.as_ref(), limit(request.limit)?).await?;
    Ok(Page { items: views(&db, rows).await?, next })
}

/// Returns one user.
async fn user(db: DatabaseConnection, query: Query) -> Result<UserView, QueryError> {
    let id = UserId::parse(query.key).map_err(|error| QueryError::Invalid(format!("the user id {error}")))?;
    let row = rights::Entity::find_by_id(id.as_str()).one(&db).await?;
    let view = views(&db, row.into_iter().collect()).await?.pop();
    view.ok_or_else(|| QueryError::NotFound(format!("there is no user {id}")))
}

/// Returns users with their e-mail addresses.
async fn views(db: &DatabaseConnection, rows: Vec<rights::Model>) -> Result<Vec<UserView>, DbErr> {
    let ids: Vec<String> = rows.iter().map(|row| row.user_id.clone()).collect();
    let credentials = statement::select_in::<credential::Entity, _>(db, credential::Column::UserId, &ids).await?;
    let mut emails: HashMap<String, String> =
        credentials.into_iter().map(|credential| (credential.user_id, credential.email)).collect();
    let view = |row: rights::Model| -> Result<UserView, DbErr> {
        let (email, updated_at) = (emails.remove(&row.user_id), rfc3339(from_unix_millis(row.updated_at)));
        let (rights, api_key_ids) = rights_of(row)?;
        Ok(UserView {
            user_id: rights.user_id,
            name: rights.name,
            email: email.map(Email::parse).transpose().map_err(invalid_row)?,
            kind: rights.kind,
            disabled: rights.disabled,
            roles: rights.roles,
            grants: rights.grants,
            organisation_ids: rights.organisation_ids,
            customer_ids: rights.customer_ids,
            api_key_ids,
            version: rights.version,
            updated_at,
        })
    };
    rows.into_iter().map(view).collect()
}

/// Returns a page of organisations.
async fn organisations(db: DatabaseConnection, query: Query) -> Result<Page<OrganisationView>, QueryError> {
    let request: ListOrganisations = body(&query)?;
    let limit = limit(request.limit)?;
    let mut select = organisation::Entity::find();
    if let Some(after) = &request.after {
        select = select.filter(organisation::Column::OrganisationId.gt(after.as_str()));
    }
    let by_id = select.order_by_asc(organisation::Column::OrganisationId);
    let mut rows = by_id.limit(limit + 1).all(&db).await?;
    let more = cut_page(&mut rows, limit, |row| row.name.len());
    let next = rows.last().filter(|_| more).map(|row| row.organisation_id.clone());
    let ids = rows.iter().map(|row| row.organisation_id.as_str());
    let counted: Vec<(String, i64)> = membership::Entity::find()
        .select_only()
        .column(membership::Column::OrganisationId)
        .column_as(membership::Column::UserId.count(), "members")
        .filter(membership::Column::OrganisationId.is_in(ids))
        .group_by(membership::Column::OrganisationId)
        .into_tuple()
        .all(&db)
        .await?;
    let counted: HashMap<String, i64> = counted.into_iter().collect();
    let view = |row: organisation::Model| -> Result<OrganisationView, DbErr> {
        let members = counted.get(&row.organisation_id).copied().unwrap_or_default();
        Ok(OrganisationView {
            members: u64::try_from(members).map_err(invalid_row)?,
            organisation_id: OrganisationId::parse(row.organisation_id).map_err(invalid_row)?,
            name: Line::parse(row.name).map_err(invalid_row)?,
        })
    };
    Ok(Page { items: rows.into_iter().map(view).collect::<Result<_, _>>()?, next })
}
