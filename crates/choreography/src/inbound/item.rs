//! A delivery inside the processor.

use crate::inbound::consumer::Delivery;
use crate::telemetry::spans::{self, About, KeyValue, StartedSpan};
use crate::wire::envelope::{Envelope, Malformed};

/// A delivery and its decoded message.
pub(crate) struct Item<M> {
    pub(crate) delivery: Delivery,
    pub(crate) decoded: Result<Envelope<M>, Malformed>,
    /// The span of its processing, if spans are exported.
    pub(crate) span: Option<StartedSpan>,
}

impl<M> Item<M> {
    /// Returns how often the service tried to handle a malformed message.
    pub(crate) fn attempts(&self) -> u64 {
        match self.decoded {
            Err(Malformed::UnknownVersion(_)) => self.delivery.attempts,
            _ => 1,
        }
    }

    /// Returns the id of its trace, for logs.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        spans::trace_id(self.decoded.as_ref().ok()?.trace_parent.as_deref())
    }

    /// Ends the span of its processing, if there is one.
    pub(crate) fn end_span(&self, service: &'static str, duplicate: bool, error: Option<String>) {
        let (Some(span), Ok(envelope)) = (self.span, &self.decoded) else { return };
        let about = About {
            operation: "process",
            subject: self.delivery.message.subject.as_str(),
            message_id: envelope.id,
            correlation_id: envelope.correlation_id,
        };
        let more = [
            KeyValue::new("messaging.consumer.group.name", service),
            KeyValue::new("messaging.duplicate", duplicate),
        ];
        about.end(span, more, error);
    }
}

/// Pushes the halves of a failed batch onto the stack, the earlier messages on top.
pub(crate) fn push_halves<'a, T>(parts: &mut Vec<&'a [T]>, part: &'a [T]) {
    let (earlier, later) = part.split_at(part.len() / 2);
    parts.extend([later, earlier]);
}
