//! Encodes messages: emitted events, scheduled and cancelled timers.

use time::OffsetDateTime;

use crate::wire::envelope::{Cause, Envelope, Outgoing, Timing};
use crate::wire::message::{Publish, Timer};

/// Why a message cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Its key is not a valid subject token.
    #[error(
        "{message_type} has the key {key:?}, which is not a valid subject token: it is empty, or contains '.', '*', '>', or white space"
    )]
    Key {
        /// The type of the message.
        message_type: &'static str,
        /// The key.
        key: String,
    },
    /// Its body cannot be encoded as JSON.
    #[error("the body of {message_type} cannot be encoded as JSON: {source}")]
    Body {
        /// The type of the message.
        message_type: &'static str,
        /// The reason.
        source: serde_json::Error,
    },
}

/// Checks the key of a message, and encodes its body.
pub(crate) fn body(message: &impl Publish) -> Result<Vec<u8>, EncodeError> {
    let (message_type, key) = (message.message_type(), message.key());
    let allowed = |c: char| !matches!(c, '.' | '*' | '>') && !c.is_whitespace() && !c.is_control();
    if key.is_empty() || !key.chars().all(allowed) {
        return Err(EncodeError::Key { message_type, key: key.to_owned() });
    }
    serde_json::to_vec(message).map_err(|source| EncodeError::Body { message_type, source })
}

impl Outgoing {
    /// Encodes a message, with an id derived as by [`Outgoing::new`].
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn of(cause: Cause, message: &impl Publish, aggregate_version: Option<i64>) -> Result<Self, EncodeError> {
        let (body, message_type) = (body(message)?, message.message_type());
        Ok(Self::new(cause, message.subject(), message_type, message.key(), aggregate_version, body))
    }

    /// Encodes a timer, on the subject that holds it until it is due.
    fn timer(cause: Cause, timer: &impl Timer, version: Option<i64>, timing: Timing) -> Result<Self, EncodeError> {
        let (body, message_type) = (body(timer)?, timer.message_type());
        Ok(Self::new(cause, timer.schedule_subject(), message_type, timer.key(), version, body).timed(timing))
    }
}

impl<T> Envelope<T> {
    /// Encodes an event that this message causes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn emit(&self, event: &impl Publish) -> Result<Outgoing, EncodeError> {
        Outgoing::of(self.cause(), event, None)
    }

    /// Encodes an event that changes an aggregate. `version` is the aggregate's version after the event. Events of the
    /// same type and cause differ by it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn emit_change(&self, event: &impl Publish, version: i64) -> Result<Outgoing, EncodeError> {
        Outgoing::of(self.cause(), event, Some(version))
    }

    /// Schedules a timer: the stream publishes it at `time`. It replaces a timer of the same type and key. `version` is
    /// the aggregate's version: timers of the same cause differ by it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn schedule(
        &self,
        timer: &impl Timer,
        version: Option<i64>,
        time: OffsetDateTime,
    ) -> Result<Outgoing, EncodeError> {
        Outgoing::timer(self.cause(), timer, version, Timing::At { time, target: timer.subject() })
    }

    /// Cancels the timer of the same type and key, unless it was due already.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn cancel(&self, timer: &impl Timer, version: Option<i64>) -> Result<Outgoing, EncodeError> {
        Outgoing::timer(self.cause(), timer, version, Timing::Cancel)
    }
}
