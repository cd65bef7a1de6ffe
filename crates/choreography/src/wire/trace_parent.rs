//! The header `traceparent`: W3C Trace Context, version 00.

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// Parses a `traceparent`: trace id, id of the parent span, flags; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = text.split('-');
    let (Some("00"), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    if (trace.len(), span.len(), flags.len()) != (32, 16, 2) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok().filter(|trace| *trace != TraceId::INVALID)?;
    let span = SpanId::from_hex(span).ok().filter(|span| *span != SpanId::INVALID)?;
    Some((trace, span, TraceFlags::new(u8::from_str_radix(flags, 16).ok()?)))
}
