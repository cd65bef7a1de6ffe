//! Path, query, and header parameters, each parsed into its own type; an error names the parameter.
//!
//! poem-openapi's own extractors ignore header values that are not ASCII and duplicate parameters. An ignored
//! idempotency key would be an unrecognised retry, so these extractors refuse both.

use std::fmt::Display;
use std::str::FromStr;

use poem::http::HeaderMap;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use contracts::query::{DEFAULT_PAGE, MAX_PAGE, OrderStatus};
use contracts::{CustomerId, OrderId, ProductId};

use crate::problem::{Code, FieldError, Problem};

/// A value in text form outside the body.
pub(crate) trait Parameter: Sized + Send + Sync {
    /// Its name in the path templates of the OpenAPI document.
    const IN_PATH: &'static str = "id";

    /// The schema for OpenAPI.
    fn schema() -> MetaSchema;

    /// Parses it; the error completes the sentence "<name> …".
    fn parse(text: &str) -> Result<Self, String>;
}

/// The parameter in the path.
pub(crate) struct Path<T>(pub(crate) T);

/// A parameter in the query, which may be absent.
pub(crate) struct Query<T>(pub(crate) Option<T>);

/// A header, which may be absent; several of one name are joined by commas.
pub(crate) struct Header<T>(pub(crate) Option<T>);

fn invalid(error: FieldError) -> Problem {
    Problem::with_errors(Code::InvalidParameter, vec![error])
}

impl<'a, T: Parameter> ApiExtractor<'a> for Path<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = T;
    type ParamRawType = T;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(T::schema())))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        // No path here has two parameters, and the router's name for it differs from the document's.
        let text = request.raw_path_param(options.name).unwrap_or_default();
        Ok(Self(T::parse(text).map_err(|detail| invalid(FieldError::parameter(T::IN_PATH, detail)))?))
    }
}

impl<'a, T: Parameter> ApiExtractor<'a> for Query<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = T;
    type ParamRawType = T;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(T::schema())))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let parameters = request.params::<Vec<(String, String)>>().unwrap_or_default();
        let mut values = parameters.iter().filter(|(name, _)| name == options.name).map(|(_, value)| value);
        let value = values.next().map(|text| T::parse(text)).transpose();
        let value = value.map_err(|detail| invalid(FieldError::parameter(options.name, detail)))?;
        Ok(Self(value))
    }
}

impl<'a, T: Parameter> ApiExtractor<'a> for Header<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = T;
    type ParamRawType = T;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(T::schema())))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let invalid = |detail: String| invalid(FieldError::header(options.name, detail));
        let Some(text) = header_text(request.headers(), options.name).map_err(invalid)? else {
            return Ok(Self(None));
        };
        Ok(Self(Some(T::parse(&text).map_err(invalid)?)))
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let values = headers.get_all(name).iter();
    let texts: Result<Vec<&str>, _> = values.map(|value| value.to_str()).collect();
    let texts = texts.map_err(|_| "must be printable ASCII".to_owned())?;
    Ok(if texts.is_empty() { None } else { Some(texts.join(", ")) })
}

/// Parses a number of ASCII digits; `FromStr` would accept a sign.
pub(crate) fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the schema of an id for OpenAPI.
pub(crate) fn id_schema() -> MetaSchema {
    MetaSchema { pattern: Some("^[A-Za-z0-9_-]{1,64}$".to_owned()), ..MetaSchema::new("string") }
}

macro_rules! id_parameters {
    ($($id:ty),+) => { $(
        impl Parameter for $id {
            fn schema() -> MetaSchema {
                id_schema()
            }

            fn parse(text: &str) -> Result<Self, String> {
                <$id>::parse(text).map_err(|error| error.to_string())
            }
        }
    )+ };
}

id_parameters!(OrderId, CustomerId, ProductId);

/// The sequence after which a list continues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After(pub(crate) i64);

impl Parameter for After {
    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        digits(text).map(Self).ok_or_else(|| "must be a whole number, the `next` of the previous page".to_owned())
    }
}

/// How many items a page has at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) u64);

impl Parameter for Limit {
    fn schema() -> MetaSchema {
        MetaSchema {
            default: Some(DEFAULT_PAGE.into()),
            minimum: Some(1.0),
            maximum: Some(MAX_PAGE as f64),
            ..MetaSchema::new_with_format("integer", "int32")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let limit = digits(text).filter(|limit| (1..=MAX_PAGE).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be a whole number from 1 to {MAX_PAGE}"))
    }
}

impl Parameter for OrderStatus {
    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: STATUSES.map(|status| status.as_str().into()).to_vec(),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let status = STATUSES.into_iter().find(|status| status.as_str() == text);
        status.ok_or_else(|| format!("must be one of {}", STATUSES.map(Self::as_str).join(", ")))
    }
}

const STATUSES: [OrderStatus; 5] = [
    OrderStatus::Placed,
    OrderStatus::AwaitingStock,
    OrderStatus::Reserved,
    OrderStatus::Confirmed,
    OrderStatus::Cancelled,
];

/// The beginning of a page: the `next` of the previous page.
#[derive(Debug, Clone)]
pub(crate) struct Cursor(pub(crate) String);

impl Cursor {
    const MAX_LENGTH: usize = 256;
}

impl Parameter for Cursor {
    fn schema() -> MetaSchema {
        MetaSchema { min_length: Some(1), max_length: Some(Self::MAX_LENGTH), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err("must be the `next` of another page".to_owned()) }
    }
}

/// The caller's W3C trace context; an invalid header is ignored, as the standard requires.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceParent(pub(crate) Option<String>);

impl Parameter for TraceParent {
    fn schema() -> MetaSchema {
        MetaSchema {
            pattern: Some("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$".to_owned()),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('-').collect();
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
        let valid =
            matches!(parts[..], ["00", trace, parent, flags] if id(trace, 32) && id(parent, 16) && hex(flags, 2));
        Ok(Self(valid.then(|| text.to_owned())))
    }
}

/// The caller's preferences (RFC 7240); only `wait` is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// For how many seconds to hold the response, at most [`Self::MAX_WAIT`].
    pub(crate) wait: Option<u32>,
}

impl Prefer {
    /// The longest wait, in seconds.
    pub(crate) const MAX_WAIT: u32 = 60;
}

impl Parameter for Prefer {
    fn schema() -> MetaSchema {
        MetaSchema { example: Some("wait=10".into()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        for preference in outside_quotes(text, ',') {
            // Parameters of a preference follow a semicolon; `wait` has none.
            let preference = outside_quotes(preference, ';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if !digits {
                return Err("must be a whole number of seconds, such as wait=10".to_owned());
            }
            // A number too large to parse is a long wait, and capped as such. The first `wait` counts.
            let seconds = value.parse().unwrap_or(u32::MAX);
            return Ok(Self { wait: Some(seconds.min(Self::MAX_WAIT)) });
        }
        Ok(Self { wait: None })
    }
}

/// Splits text at a separator, except inside double quotes.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let splits = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        splits
    })
}

/// The id of an event in the live feed: `<generation>-<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    /// When the stream was created, in milliseconds since 1970; `None` for the current stream.
    pub(crate) generation: Option<u64>,
    /// The sequence in the stream.
    pub(crate) sequence: u64,
}

impl Parameter for EventId {
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^([0-9]+-)?[0-9]+$".to_owned()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Both have 64 bits, but realistic values are far below the maximum.
        let number = |text: &str| digits(text).filter(|number| *number < u64::MAX / 2);
        let id = match text.split_once('-') {
            Some((generation, sequence)) => number(generation).map(Some).zip(number(sequence)),
            None => number(text).map(|sequence| (None, sequence)),
        };
        let id = id.map(|(generation, sequence)| Self { generation, sequence });
        id.ok_or_else(|| format!("must be the id of an event, such as 1767225600000-42: {}", shown(&text)))
    }
}

impl Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.generation {
            Some(generation) => write!(f, "{generation}-{}", self.sequence),
            None => self.sequence.fmt(f),
        }
    }
}

/// The sequence of a message in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence(pub(crate) u64);

impl Parameter for Sequence {
    const IN_PATH: &'static str = "sequence";

    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let sequence = digits(text).filter(|sequence| (1..=u64::MAX / 2).contains(sequence)).map(Self);
        sequence.ok_or_else(|| "must be the sequence of a message, a whole number from 1".to_owned())
    }
}

fn shown(text: &impl Display) -> String {
    let shown: String = text.to_string().chars().take(40).collect();
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefer_is_parsed_as_rfc_7240_defines_it() {
        let wait = |text| Prefer::parse(text).unwrap().wait;
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, WAIT = 10 ; x=1, wait=20"), Some(10));
        assert_eq!(wait("foo=\"a, wait=3\", return=minimal"), None);
        assert_eq!(wait("foo=\"a\\\", wait=3\", wait=\"4\""), Some(4));
        assert_eq!(wait("wait=0"), Some(0));
        assert_eq!(wait("wait=61"), Some(60));
        assert_eq!(wait("wait=99999999999999999999"), Some(60));
        for bad in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=ten", "wait=\"", "wait=+1"] {
            assert!(Prefer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_invalid_trace_parent_is_ignored() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::parse(good).unwrap().0.as_deref(), Some(good));
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in
            ["", "00", zero, "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", &good.replace('-', "_")]
        {
            assert_eq!(TraceParent::parse(bad).unwrap().0, None, "{bad}");
        }
    }
}
