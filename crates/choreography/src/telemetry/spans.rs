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

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use opentelemetry::InstrumentationScope;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use uuid::Uuid;

use crate::setting::redacted;
use crate::wire::envelope::Outgoing;
use crate::wire::trace_parent;

/// How long the collector may take for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The exporter, if one is configured.
static EXPORT: OnceLock<Export> = OnceLock::new();

struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// The sampling ratio of flows that begin here, from 0 to 1.
    ratio: f64,
}

/// Starts to export spans as `service`, if the environment names a collector. Only the first call in a process has an
/// effect.
///
/// `OTEL_TRACES_SAMPLER_ARG` is the sampling ratio of flows that begin here (default 1); `OTEL_SDK_DISABLED=true`
/// disables the export. Batches, headers, and time limits are those of the OpenTelemetry SDK.
///
/// # Errors
///
/// If a variable has an unsupported value.
pub fn export_as(service: &'static str) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let Some(endpoint) = endpoint.into_iter().find_map(variable) else { return Ok(()) };
    if EXPORT.get().is_some() || variable("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    if !endpoint.starts_with("http://") {
        let scheme = endpoint.split_once("://").map_or("no", |(scheme, _)| scheme);
        bail!("OTEL_EXPORTER_OTLP_ENDPOINT has {scheme} scheme; the collector must be at a URL of scheme http");
    }
    let ratio = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
    let parsed = ratio.parse::<f64>().ok().filter(|parsed| (0.0..=1.0).contains(parsed));
    let ratio =
        parsed.with_context(|| format!("OTEL_TRACES_SAMPLER_ARG: {ratio:?} is not a number from 0 to 1"))?;
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build();
    let exporter = exporter.context("creating the exporter of spans")?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&Resource::builder().with_service_name(service).build());
    let scope = InstrumentationScope::builder("messaging").with_version(env!("CARGO_PKG_VERSION")).build();
    if EXPORT.set(Export { processor, scope, ratio }).is_ok() {
        tracing::info!(endpoint = redacted(&endpoint), "spans are exported to a collector");
    }
    Ok(())
}

/// Exports the remaining spans, within 1 s.
pub async fn flush() {
    let Some(export) = EXPORT.get() else { return };
    let (sender, flushed) = tokio::sync::oneshot::channel();
    // The runtime does not wait for this thread when it ends.
    std::thread::spawn(move || drop(sender.send(export.processor.force_flush())));
    match tokio::time::timeout(FLUSH_TIMEOUT, flushed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans were not exported; they are lost"),
        Ok(Err(_)) | Err(_) => tracing::warn!("the collector does not respond; the last spans are lost"),
    }
}

/// Returns the trace id of a `traceparent`, for logs.
#[must_use]
pub fn trace_id(trace_parent: Option<&str>) -> Option<&str> {
    trace_parent?.get(3..35)
}

/// A span that has started; it is exported when it ends.
#[derive(Debug, Clone, Copy)]
pub struct StartedSpan {
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    at: SystemTime,
}

impl StartedSpan {
    /// Starts a span in the flow of a `traceparent`. `None` if that is not sampled, or spans are not exported.
    #[must_use]
    pub fn within(trace_parent: Option<&str>) -> Option<Self> {
        EXPORT.get()?;
        let (trace, parent, _) = trace_parent::parse(trace_parent?).filter(|(_, _, flags)| flags.is_sampled())?;
        Some(Self { trace, span: new_span(), parent, at: SystemTime::now() })
    }

    /// Starts a span in the flow of a `traceparent`, or without one the first span of a flow.
    #[must_use]
    pub fn request(trace_parent: Option<&str>) -> Option<Self> {
        let export = EXPORT.get()?;
        if trace_parent.and_then(trace_parent::parse).is_some() {
            return Self::within(trace_parent);
        }
        let trace = Uuid::new_v4().into_bytes();
        // The last bytes of the id decide, as in other implementations.
        let drawn =
            f64::from(u32::from_be_bytes([trace[12], trace[13], trace[14], trace[15]])) / f64::from(u32::MAX);
        let (trace, parent) = (TraceId::from_bytes(trace), SpanId::INVALID);
        (drawn <= export.ratio && export.ratio > 0.0).then(|| Self {
            trace,
            span: new_span(),
            parent,
            at: SystemTime::now(),
        })
    }

    /// Returns the `traceparent` of messages or requests that this span causes.
    #[must_use]
    pub fn trace_parent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    /// Ends the span now and exports it, with an error if there was one.
    pub fn end(
        self,
        name: impl Into<Cow<'static, str>>,
        span_kind: SpanKind,
        attributes: Vec<KeyValue>,
        error: Option<String>,
    ) {
        let Some(export) = EXPORT.get() else { return };
        export.processor.on_end(SpanData {
            span_context: SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: self.parent,
            parent_span_is_remote: matches!(span_kind, SpanKind::Consumer | SpanKind::Server),
            span_kind,
            name: name.into(),
            start_time: self.at,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: export.scope.clone(),
        });
    }
}

fn new_span() -> SpanId {
    let [_, _, _, _, _, _, _, _, last @ ..] = Uuid::new_v4().into_bytes();
    SpanId::from_bytes(last)
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
        if EXPORT.get().is_none() {
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
        let (trace, span, flags) = trace_parent::parse(GOOD).unwrap();
        let span = StartedSpan { trace, span, parent: SpanId::INVALID, at: SystemTime::UNIX_EPOCH };
        assert_eq!(span.trace_parent(), GOOD);
        assert!(flags.is_sampled());
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
