//! Messages that begin in this service: requests that arrive as queries, and work at the start.

use choreography::envelope::{Auth, AuthType};
use choreography::{Cause, Envelope, Publish as _, clock};
use contracts::identity::{IdentityCommand, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::user::IdentityMessage;

/// Returns the envelope of a request.
#[must_use]
pub fn request(payload: IdentityMessage) -> Envelope<IdentityMessage> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: payload.message_type().to_owned(),
        source: format!("/{}", payload.info().producer),
        key: payload.key().to_owned(),
        time: clock::now(),
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: principal(&payload),
        payload,
    }
}

/// Returns on whose behalf a request is decided; `None` if the request does not say.
fn principal(message: &IdentityMessage) -> Option<Auth> {
    match message {
        IdentityMessage::Register(register) => Some(user(&register.user_id)),
        IdentityMessage::RecordPassword(record) => Some(user(&record.user_id)),
        IdentityMessage::ApplyRoles(_) => Some(system()),
        IdentityMessage::Command(_) | IdentityMessage::RecordApiKey(_) => None,
    }
}

/// Returns a person as the principal.
#[must_use]
pub fn user(user_id: &UserId) -> Auth {
    Auth::new(AuthType::User, Some(user_id.as_str()))
}

/// Returns this service as the principal.
#[must_use]
pub fn system() -> Auth {
    Auth::new(AuthType::System, None)
}

/// Returns the cause of an event without a command.
#[must_use]
pub fn cause(auth: Auth) -> Cause {
    let id = Uuid::now_v7();
    Cause { id, correlation_id: id, trace_parent: None, auth: Some(auth) }
}

/// Returns a command as a message of users, with the time at which it is decided.
#[must_use]
pub fn at(message: &Envelope<IdentityCommand>, time: OffsetDateTime) -> Envelope<IdentityMessage> {
    let Envelope { id, correlation_id, causation_id, aggregate_version, .. } = *message;
    Envelope {
        id,
        message_type: message.message_type.clone(),
        source: message.source.clone(),
        key: message.key.clone(),
        time,
        correlation_id,
        causation_id,
        aggregate_version,
        trace_parent: message.trace_parent.clone(),
        auth: message.auth.clone(),
        payload: message.payload.clone().into(),
    }
}
