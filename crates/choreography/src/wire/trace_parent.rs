//! The header `traceparent`: W3C Trace Context, version 00.

/// A parsed `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "only spans read it"))]
pub(crate) struct TraceParent {
    pub(crate) trace: u128,
    /// The id of the parent span.
    pub(crate) span: u64,
    pub(crate) is_sampled: bool,
}

/// Parses a `traceparent`; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<TraceParent> {
    let mut parts = text.split('-');
    let (Some("00"), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    if (trace.len(), span.len(), flags.len()) != (32, 16, 2) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some(TraceParent { trace, span, is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1 })
}
