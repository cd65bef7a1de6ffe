//! Spans: the processing times of messages, exported to an OpenTelemetry collector over OTLP (HTTP, protobuf).
//!
//! Disabled unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set: then no span is
//! created or allocated. If enabled, a flow whose first message carries a sampled `traceparent` has
//!
//! - a *server* span for the request to the gateway, and a *producer* span `send` for the command;
//! - in each service that consumes it, a *consumer* span `process` for the message, and a *producer* span `create` for
//!   each message that it causes: the outbox publishes that later, which shows as a gap after `create`;
//! - a *client* span for each call to a third party.
//!
//! Each message carries the context of the span that created it, and its processing is a child of that span. Span ids
//! are generated at the start of the work, and spans are exported after it: rolled-back work is never exported.

#[cfg(not(feature = "otel"))]
mod none;
#[cfg(feature = "otel")]
mod otlp;

use std::borrow::Cow;
use std::time::SystemTime;

use uuid::Uuid;

use crate::wire::envelope::Outgoing;
use crate::wire::trace_parent;
#[cfg(not(feature = "otel"))]
use none as exporter;
#[cfg(feature = "otel")]
use otlp as exporter;

use exporter::Export;
pub use exporter::{KeyValue, SpanKind, export_as, flush};

/// Returns the trace id of a `traceparent`, for logs.
#[must_use]
pub fn trace_id(trace_parent: Option<&str>) -> Option<&str> {
    trace_parent?.get(3..35)
}

/// A span that has started; it is exported when it ends.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "none is ever created"))]
pub struct StartedSpan {
    trace: u128,
    span: u64,
    /// Zero for the first span of a flow.
    parent: u64,
    at: SystemTime,
}

impl StartedSpan {
    /// Starts a span in the flow of a `traceparent`. `None` if that is not sampled, or spans are not exported.
    #[must_use]
    pub fn within(trace_parent: Option<&str>) -> Option<Self> {
        Export::get()?;
        let parent = trace_parent::parse(trace_parent?).filter(|parent| parent.is_sampled)?;
        Some(Self::new(parent.trace, parent.span))
    }

    /// Starts a span in the flow of a `traceparent`, or without one the first span of a flow.
    #[must_use]
    pub fn request(trace_parent: Option<&str>) -> Option<Self> {
        let export = Export::get()?;
        if trace_parent.and_then(trace_parent::parse).is_some() {
            return Self::within(trace_parent);
        }
        let trace = Uuid::new_v4().as_u128();
        export.samples(trace).then(|| Self::new(trace, 0))
    }

    fn new(trace: u128, parent: u64) -> Self {
        let (_, span) = Uuid::new_v4().as_u64_pair();
        Self { trace, span, parent, at: SystemTime::now() }
    }

    /// Returns the `traceparent` of messages or requests that this span causes.
    #[must_use]
    pub fn trace_parent(&self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace, self.span)
    }

    /// Ends the span now and exports it, with an error if there was one.
    pub fn end(
        self,
        name: impl Into<Cow<'static, str>>,
        span_kind: SpanKind,
        attributes: Vec<KeyValue>,
        error: Option<String>,
    ) {
        if let Some(export) = Export::get() {
            export.send(self, name.into(), span_kind, attributes, error);
        }
    }
}

/// The attributes of a message for its spans.
pub(crate) struct About<'a> {
    /// The operation: `process`, `create`, `send`.
    pub(crate) operation: &'static str,
    pub(crate) subject: &'a str,
    pub(crate) message_id: Uuid,
    pub(crate) correlation_id: Uuid,
}

impl About<'_> {
    /// Ends a span of the operation, with attributes by the semantic conventions for messaging.
    pub(crate) fn end(&self, span: StartedSpan, more: impl IntoIterator<Item = KeyValue>, error: Option<String>) {
        // Without the key: the common part of all messages of a kind.
        let destination = self.subject.rsplit_once('.').map_or(self.subject, |(destination, _)| destination);
        let (kind, operation_type) = match self.operation {
            "process" => (SpanKind::Consumer, "process"),
            operation => (SpanKind::Producer, operation),
        };
        let mut attributes = vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", self.operation),
            KeyValue::new("messaging.operation.type", operation_type),
            KeyValue::new("messaging.destination.name", self.subject.to_owned()),
            KeyValue::new("messaging.destination.template", format!("{destination}.{{key}}")),
            KeyValue::new("messaging.message.id", self.message_id.to_string()),
            KeyValue::new("messaging.message.conversation_id", self.correlation_id.to_string()),
        ];
        attributes.extend(more);
        span.end(format!("{} {destination}", self.operation), kind, attributes, error);
    }
}

/// The spans of messages that are about to be written to the outbox.
pub(crate) struct Created(Vec<(StartedSpan, String, Uuid, Uuid)>);

impl Created {
    /// Starts the span of each message, and sets it as the message's trace context.
    pub(crate) fn of(outgoing: &mut [Outgoing]) -> Self {
        if Export::get().is_none() {
            return Self(Vec::new());
        }
        let spans = outgoing.iter_mut().filter_map(|message| {
            let span = StartedSpan::within(message.cause.trace_parent.as_deref())?;
            message.cause.trace_parent = Some(span.trace_parent());
            Some((span, message.subject.clone(), message.id, message.cause.correlation_id))
        });
        Self(spans.collect())
    }

    /// Ends the spans after the commit.
    pub(crate) fn committed(self) {
        for (span, subject, message_id, correlation_id) in self.0 {
            About { operation: "create", subject: &subject, message_id, correlation_id }.end(span, [], None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_parent_survives_a_round_trip_and_other_texts_are_refused() {
        let parsed = trace_parent::parse(GOOD).unwrap();
        let span = StartedSpan { trace: parsed.trace, span: parsed.span, parent: 0, at: SystemTime::UNIX_EPOCH };
        assert_eq!(span.trace_parent(), GOOD);
        assert!(parsed.is_sampled);
        assert_eq!(trace_id(Some(GOOD)), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in
            ["", "00", "00-0-0-0", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &format!("{GOOD}-1")]
        {
            assert!(trace_parent::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn no_span_starts_without_a_collector() {
        assert!(StartedSpan::within(Some(GOOD)).is_none());
        assert!(StartedSpan::request(None).is_none());
        assert!(Created::of(&mut []).0.is_empty());
    }
}
