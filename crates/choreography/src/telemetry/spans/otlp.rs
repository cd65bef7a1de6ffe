//! The exporter of spans: OTLP over HTTP, by the OpenTelemetry SDK.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use opentelemetry::InstrumentationScope;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{SpanContext, Status, TraceFlags, TraceState};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::StartedSpan;
use crate::setting::redacted;

/// How long the collector may take for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The exporter, if one is configured.
static EXPORT: OnceLock<Export> = OnceLock::new();

pub(super) struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// The sampling ratio of flows that begin here, from 0 to 1.
    ratio: f64,
}

impl Export {
    pub(super) fn get() -> Option<&'static Self> {
        EXPORT.get()
    }

    /// Returns whether a flow that begins here is sampled. The last bytes of its id decide, as in other implementations.
    pub(super) fn samples(&self, trace: u128) -> bool {
        let [.., a, b, c, d] = trace.to_be_bytes();
        let drawn = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
        drawn <= self.ratio && self.ratio > 0.0
    }

    /// Exports a span that ends now.
    pub(super) fn send(
        &self,
        span: StartedSpan,
        name: Cow<'static, str>,
        span_kind: SpanKind,
        attributes: Vec<KeyValue>,
        error: Option<String>,
    ) {
        let (trace, id) = (span.trace.into(), span.span.into());
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: span.parent.into(),
            parent_span_is_remote: matches!(span_kind, SpanKind::Consumer | SpanKind::Server),
            span_kind,
            name,
            start_time: span.at,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }
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
    crate::http::select_cryptography();
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
