//! Without the feature `otel`: no span starts, and the compiler removes what would describe one.

use std::borrow::Cow;

use super::StartedSpan;

/// The role of a span in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "those of OpenTelemetry")]
pub enum SpanKind {
    Client,
    Server,
    Producer,
    Consumer,
    Internal,
}

/// An attribute of a span.
#[derive(Debug, Clone)]
pub struct KeyValue;

impl KeyValue {
    /// Ignores the attribute.
    pub fn new<V>(_key: impl Into<Cow<'static, str>>, _value: V) -> Self {
        Self
    }
}

/// The exporter that does not exist.
pub(super) enum Export {}

impl Export {
    pub(super) fn get() -> Option<&'static Self> {
        None
    }

    pub(super) fn samples(&self, _trace: u128) -> bool {
        match *self {}
    }

    pub(super) fn send(
        &self,
        _span: StartedSpan,
        _name: Cow<'static, str>,
        _kind: SpanKind,
        _attributes: Vec<KeyValue>,
        _error: Option<String>,
    ) {
        match *self {}
    }
}

/// Warns if the environment names a collector: the program was built without an exporter.
///
/// # Errors
///
/// None.
pub fn export_as(_service: &'static str) -> anyhow::Result<()> {
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    if let Some(variable) = variables.into_iter().find(|name| std::env::var_os(name).is_some()) {
        tracing::warn!(
            variable,
            "no spans are exported: the program was built without the feature `otel` of the crate choreography"
        );
    }
    Ok(())
}

/// Returns immediately: there are no spans.
pub async fn flush() {}
