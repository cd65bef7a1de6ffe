//! Deadlines of event-sourced aggregates, by timers.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;

use crate::wire::encoding::{self, EncodeError};
use crate::wire::envelope::{Cause, Outgoing, Timing};
use crate::wire::message::Timer;

/// The shortest time until a timer that has fired fires again.
const MIN_REPEAT: Duration = Duration::from_secs(1);

/// A deadline of an aggregate, by a timer.
pub struct Deadline {
    due: Due,
    subject: String,
    target: String,
    message_type: &'static str,
    key: String,
    body: Result<Vec<u8>, EncodeError>,
}

/// When a deadline is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A duration after the aggregate has entered the state.
    After(Duration),
    /// At a time that the state contains.
    At(OffsetDateTime),
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("due", &self.due).field("target", &self.target).finish_non_exhaustive()
    }
}

impl Deadline {
    /// Delivers a timer after a duration, from the moment the aggregate enters a state with a deadline. The timer is
    /// cancelled when the aggregate leaves it.
    #[must_use]
    pub fn after(after: Duration, timer: &impl Timer) -> Self {
        Self::due(Due::After(after), timer)
    }

    /// Delivers a timer at a time that the state contains: of an aggregate with several deadlines, the earliest.
    ///
    /// The timer is scheduled again when that time changes, and when it has fired and a deadline remains. It is not
    /// cancelled: the schedules of several instances may arrive in another order, and then a timer fires early or in vain.
    /// So the body of the timer contains its time, and `decide` ends all that is due by then, and nothing else.
    #[must_use]
    pub fn at(time: OffsetDateTime, timer: &impl Timer) -> Self {
        Self::due(Due::At(time), timer)
    }

    fn due(due: Due, timer: &impl Timer) -> Self {
        Self {
            due,
            subject: timer.schedule_subject(),
            target: timer.subject(),
            message_type: timer.message_type(),
            key: timer.key().to_owned(),
            body: encoding::body(timer),
        }
    }

    fn outgoing(self, cause: Cause, version: i64, timing: Timing) -> Result<Outgoing, EncodeError> {
        let Self { subject, message_type, key, body, .. } = self;
        Ok(Outgoing::new(cause, subject, message_type, &key, Some(version), body?).timed(timing))
    }
}

/// The deadlines of an aggregate before and after a message.
pub(crate) struct Change {
    pub(crate) before: Option<Deadline>,
    pub(crate) after: Option<Deadline>,
    /// Whether the message is a timer.
    pub(crate) fired: bool,
}

impl Change {
    /// Returns the schedule, or its cancellation, that the change needs.
    pub(crate) fn outgoing(
        self,
        cause: Cause,
        version: i64,
        now: OffsetDateTime,
    ) -> Result<Option<Outgoing>, EncodeError> {
        let Self { before, after, fired } = self;
        let outgoing = match (before, after) {
            (Some(before @ Deadline { due: Due::After(_), .. }), None) => {
                before.outgoing(cause, version, Timing::Cancel)
            }
            (before, Some(mut deadline)) if is_to_schedule(before.as_ref(), &deadline, fired) => {
                let time = match deadline.due {
                    Due::After(after) => later(now, after),
                    // A decider that never ends what is due must not make its timer fire without a pause.
                    Due::At(time) if fired => time.max(later(now, MIN_REPEAT)),
                    Due::At(time) => time,
                };
                let target = std::mem::take(&mut deadline.target);
                deadline.outgoing(cause, version, Timing::At { time, target })
            }
            _ => return Ok(None),
        };
        outgoing.map(Some)
    }
}

/// Returns whether a timer is to be scheduled: for a new deadline, for another time, or because it has fired.
fn is_to_schedule(before: Option<&Deadline>, deadline: &Deadline, fired: bool) -> bool {
    match (before, deadline.due) {
        (None, _) => true,
        (Some(before), Due::At(_)) => fired || before.due != deadline.due,
        (Some(_), Due::After(_)) => false,
    }
}

/// Returns the time after a duration, at the latest the last one that a header can have.
fn later(now: OffsetDateTime, after: Duration) -> OffsetDateTime {
    let later = time::Duration::try_from(after).ok().and_then(|after| now.checked_add(after));
    later.unwrap_or(datetime!(9999-12-31 23:59:59 UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_all_times_is_due_at_the_last_one() {
        let now = datetime!(2026-11-27 12:00 UTC);
        assert_eq!(later(now, Duration::from_secs(60)), datetime!(2026-11-27 12:01 UTC));
        assert_eq!(later(now, Duration::MAX), datetime!(9999-12-31 23:59:59 UTC));
        assert_eq!(later(now, Duration::from_secs(u64::MAX / 2)), datetime!(9999-12-31 23:59:59 UTC));
    }
}
