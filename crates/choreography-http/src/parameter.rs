//! Path, query, and header parameters, each parsed into its own type; an error names the parameter.
//!
//! poem-openapi's own extractors ignore header values that are not ASCII and duplicate parameters. An ignored
//! idempotency key would be an unrecognised retry, so these extractors refuse both.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use choreography::metrics::figure;
use choreography::time_travel::Point;
use poem::http::HeaderMap;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::code::Code;
use crate::problem::{FieldError, Problem};

/// A value in text form outside the body.
pub trait Parameter: Sized + Send + Sync {
    /// Its name in the path templates of the OpenAPI document.
    const IN_PATH: &'static str = "id";

    /// The schema for OpenAPI.
    fn schema() -> MetaSchema;

    /// Parses it; the error completes the sentence "`name` …".
    fn parse(text: &str) -> Result<Self, String>;
}

/// The parameter in the path.
pub struct Path<T>(pub T);

/// A parameter in the query, which may be absent.
pub struct Query<T>(pub Option<T>);

/// A header, which may be absent; several of one name are joined by commas.
pub struct Header<T>(pub Option<T>);

/// Implements an extractor of parameters by `read`, which gets the request and the parameter's name.
macro_rules! extractor {
    ($name:ident, $place:ident, $required:literal, $read:expr) => {
        impl<'a, T: Parameter> ApiExtractor<'a> for $name<T> {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
            const PARAM_IS_REQUIRED: bool = $required;

            type ParamType = T;
            type ParamRawType = T;

            fn param_in() -> Option<MetaParamIn> {
                Some(MetaParamIn::$place)
            }

            fn param_schema_ref() -> Option<MetaSchemaRef> {
                Some(MetaSchemaRef::Inline(Box::new(T::schema())))
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                options: ExtractParamOptions<T>,
            ) -> poem::Result<Self> {
                let read: fn(&Request, &str) -> Result<Self, FieldError> = $read;
                let read = read(request, options.name);
                Ok(read.map_err(|error| Problem::with_errors(Code::INVALID_PARAMETER, vec![error]))?)
            }
        }
    };
}

extractor!(Path, Path, true, |request, name| {
    // The router's name of the parameter differs from the document's.
    let text = request.raw_path_param(name).unwrap_or_default();
    T::parse(text).map(Self).map_err(|detail| FieldError::parameter(T::IN_PATH, detail))
});

extractor!(Query, Query, false, |request, name| {
    let parameters = request.params::<Vec<(String, String)>>().unwrap_or_default();
    let value = parameters.iter().find(|(known, _)| known == name).map(|(_, text)| T::parse(text));
    value.transpose().map(Self).map_err(|detail| FieldError::parameter(name, detail))
});

extractor!(Header, Header, false, |request, name| {
    let parsed = header_text(request.headers(), name).and_then(|text| text.map(|text| T::parse(&text)).transpose());
    parsed.map(Self).map_err(|detail| FieldError::header(name, detail))
});

fn header_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let values = headers.get_all(name).iter();
    let texts: Result<Vec<&str>, _> = values.map(|value| value.to_str()).collect();
    let texts = texts.map_err(|_| "must be printable ASCII".to_owned())?;
    Ok(if texts.is_empty() { None } else { Some(texts.join(", ")) })
}

/// Parses a number of ASCII digits; `FromStr` would accept a sign.
pub fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The pattern of business ids.
pub const ID_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

/// A business id: a value that is parsed from a text of [`ID_PATTERN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<T: TryFrom<String, Error: Display> + Send + Sync> Parameter for Id<T> {
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some(ID_PATTERN.to_owned()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        T::try_from(text.to_owned()).map(Self).map_err(|error| error.to_string())
    }
}

/// The sequence after which a list continues.
#[derive(Debug, Clone, Copy)]
pub struct After(pub i64);

impl Parameter for After {
    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        digits(text).map(Self).ok_or_else(|| "must be a whole number, the `next` of the previous page".to_owned())
    }
}

/// How many items a list has at most: from 1 to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Limit<const DEFAULT: u64, const MAX: u64>(pub u64);

impl<const DEFAULT: u64, const MAX: u64> Default for Limit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: u64, const MAX: u64> Parameter for Limit<DEFAULT, MAX> {
    fn schema() -> MetaSchema {
        MetaSchema {
            default: Some(DEFAULT.into()),
            minimum: Some(1.0),
            maximum: Some(figure(MAX)),
            ..MetaSchema::new_with_format("integer", "int32")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let limit = digits(text).filter(|limit| (1..=MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be a whole number from 1 to {MAX}"))
    }
}

/// The beginning of a page: the `next` of the previous page.
#[derive(Debug, Clone)]
pub struct Cursor(pub String);

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
pub struct TraceParent(pub Option<String>);

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
pub struct Prefer {
    /// For how many seconds to hold the response, at most [`Self::MAX_WAIT`].
    pub wait: Option<u32>,
}

impl Prefer {
    /// The longest wait, in seconds.
    pub const MAX_WAIT: u32 = 60;

    /// Returns the wait.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.wait.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Returns the header `Preference-Applied`.
    #[must_use]
    pub fn applied(self) -> Option<String> {
        self.wait.map(|seconds| format!("wait={seconds}"))
    }
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
pub struct EventId {
    /// When the stream was created, in milliseconds since 1970; `None` for the current stream.
    pub generation: Option<u64>,
    /// The sequence in the stream.
    pub sequence: u64,
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
pub struct Sequence(pub u64);

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

/// The version of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub i64);

impl Parameter for Version {
    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let version = digits(text).filter(|version| *version >= 1).map(Self);
        version.ok_or_else(|| "must be a version, a whole number from 1".to_owned())
    }
}

/// A time, RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub OffsetDateTime);

impl Parameter for Time {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date-time")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let time =
            OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|time| time.checked_to_offset(UtcOffset::UTC));
        time.map(Self).ok_or_else(|| "must be a time of RFC 3339, such as 2026-11-27T10:00:00Z".to_owned())
    }
}

/// Returns the point in a history that two parameters name: a version or a time; `None` for the present.
///
/// # Errors
///
/// A problem if both are given.
pub fn point(version: Query<Version>, at: Query<Time>) -> Result<Option<Point>, Problem> {
    match (version.0, at.0) {
        (Some(_), Some(_)) => {
            let both = FieldError::parameter("at", "must not be given together with `version`");
            Err(Problem::with_errors(Code::INVALID_PARAMETER, vec![both]))
        }
        (Some(Version(version)), None) => Ok(Some(Point::Version(version))),
        (None, Some(Time(time))) => Ok(Some(Point::At(time))),
        (None, None) => Ok(None),
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
