//! The outbox table: all messages that a service has published or will publish.
//!
//! Rows are written in the transaction of the message that caused them; [`crate::outbound::outbox_pending`] records which of them
//! are not acknowledged yet. Rows are never changed, and stay for a retention time, so that a lost stream can be
//! restored.

use std::sync::Mutex;

use async_nats::HeaderMap;
use bytes::Bytes;
use sea_orm::ActiveValue::Set;
use sea_orm::DbErr;
use time::OffsetDateTime;
use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp, Uuid};

use crate::broker::clock;
use crate::outbound::atomic::Ready;
use crate::wire::envelope::{Attributes, Header, Outgoing, REPUBLISHED, header_map, rfc3339, unix_millis};

/// The SeaORM entity of the table `outbox`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// An outgoing message.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox")]
    pub struct Model {
        /// A time-ordered UUID (version 7): rows are appended at the end of the index and read in the order of writing.
        #[sea_orm(primary_key, auto_increment = false)]
        pub row_id: Uuid,
        /// The id of the message.
        pub message_id: Uuid,
        /// The NATS subject to publish on.
        pub subject: String,
        /// The headers, a JSON array of `[name, value]`.
        #[sea_orm(column_type = "Text")]
        pub headers: String,
        /// The body, as it is published.
        pub body: Vec<u8>,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A message between its transaction and the stream.
#[derive(Debug, Clone)]
pub(crate) struct OutboxRow {
    /// Nil until the row is written.
    pub(crate) row_id: Uuid,
    /// The first row id of its batch in [`crate::outbound::outbox_pending`].
    pub(crate) batch: Uuid,
    pub(crate) message_id: Uuid,
    pub(crate) subject: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Bytes,
}

impl OutboxRow {
    pub(crate) fn new(message_id: Uuid, subject: String, headers: Vec<Header>, body: Bytes) -> Self {
        Self { row_id: Uuid::nil(), batch: Uuid::nil(), message_id, subject, headers, body }
    }

    /// Creates the row of a message that a handler returned.
    pub(crate) fn from_outgoing(outgoing: Outgoing, source: &str, now: OffsetDateTime) -> Self {
        let mut headers = Attributes {
            id: outgoing.id,
            message_type: outgoing.message_type,
            source,
            key: &outgoing.key,
            time: now,
            correlation_id: outgoing.cause.correlation_id,
            causation_id: Some(outgoing.cause.id),
            aggregate_version: outgoing.aggregate_version,
            trace_parent: outgoing.cause.trace_parent.as_deref(),
            auth: outgoing.cause.auth.as_ref(),
        }
        .headers();
        headers.extend(outgoing.timing.headers());
        Self::new(outgoing.id, outgoing.subject, headers, outgoing.body.into())
    }

    /// Converts a stored row of a pending batch.
    pub(crate) fn from_model(model: entity::Model, batch: Uuid) -> Result<Self, DbErr> {
        let headers = serde_json::from_str(&model.headers)
            .map_err(|error| DbErr::Json(format!("the headers of outbox row {}: {error}", model.row_id)))?;
        Ok(Self {
            row_id: model.row_id,
            batch,
            message_id: model.message_id,
            subject: model.subject,
            headers,
            body: model.body.into(),
        })
    }

    pub(crate) fn to_model(&self) -> Result<entity::ActiveModel, DbErr> {
        Ok(entity::ActiveModel {
            row_id: Set(self.row_id),
            message_id: Set(self.message_id),
            subject: Set(self.subject.clone()),
            headers: Set(serde_json::to_string(&self.headers).map_err(|error| DbErr::Json(error.to_string()))?),
            body: Set(self.body.to_vec()),
        })
    }

    pub(crate) fn header_map(&self) -> HeaderMap {
        header_map(&self.headers)
    }

    /// Returns the message, ready to be published.
    pub(crate) fn ready(&self) -> Ready {
        Ready { subject: self.subject.clone(), headers: self.header_map(), body: self.body.clone() }
    }

    /// Marks a message that may have been published before, longer ago than the inboxes remember.
    pub(crate) fn republished(mut self) -> Self {
        self.headers.push((REPUBLISHED.into(), rfc3339(clock::now())));
        self
    }

    /// Returns whether it is an event, on `<context>.event.…`: all events of a service go to one stream.
    pub(crate) fn is_event(&self) -> bool {
        self.subject.split('.').nth(1) == Some("event")
    }
}

/// Returns an id that is later than all earlier ones of this process. Its time is the server's, so that the rows of all
/// instances have one order.
pub(crate) fn next_row_id() -> Uuid {
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let now = clock::now();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&ORDER, seconds, now.nanosecond()))
}

/// Returns when a row was written, in milliseconds since 1970.
pub(crate) fn written_at(row_id: Uuid) -> i64 {
    i64::try_from(row_id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// Returns the smallest row id that could have been made at `time`: its milliseconds, then the version and variant
/// bits of a UUID version 7 (RFC 9562, section 5.7) and zeros for the random bits.
pub(crate) fn first_row_id(time: OffsetDateTime) -> Uuid {
    let millis = u128::try_from(unix_millis(time)).unwrap_or(0);
    Uuid::from_u128((millis << 80) | 0x7000_8000_0000_0000_0000)
}
