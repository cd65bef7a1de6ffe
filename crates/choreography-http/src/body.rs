//! Request bodies: strict JSON in; a valid form or all validation errors out.
//!
//! Three steps, each with its own response: media type and size (415, 413), syntax (400, with line and column; a
//! duplicate key is a syntax error), content (422, with a pointer to each invalid field). The content is read from a
//! tree, because a derived `Deserialize` stops at the first invalid field.

use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::code::Code;
use crate::form::{self, Form, Shape, escape};
use crate::problem::{FieldError, Problem};

/// The largest body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The longest a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A request body of a form whose fields are all valid.
pub struct Body<F: Form>(pub F::Value);

impl<'a, F: Form> ApiExtractor<'a> for Body<F> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Shape::<F>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: Shape::<F>::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !F::OPTIONAL })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let media_type = check_media_type(request);
        // A body that may be absent needs no media type while it is absent.
        if !F::OPTIONAL {
            media_type.clone()?;
        }
        let bytes = read_bytes(body).await?;
        if !bytes.is_empty() {
            media_type?;
        }
        Ok(Self(read_form::<F>(&bytes)?))
    }
}

/// Reads a form out of the bytes of a body.
///
/// # Errors
///
/// The problem with all errors in the body.
pub fn read_form<F: Form>(bytes: &[u8]) -> Result<F::Value, Problem> {
    let absent = bytes.is_empty() && F::OPTIONAL;
    form::read::<F>(if absent { Value::Object(Map::new()) } else { parse(bytes)? })
}

fn check_media_type(request: &Request) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::with_detail(Code::UNSUPPORTED_MEDIA_TYPE, detail));
    match request.headers().get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => {}
        Some(_) => return refused("The body must not have a content encoding."),
    }
    let Some(content_type) = request.content_type() else {
        return refused("The header Content-Type is missing; it must be application/json.");
    };
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    if parts.next().as_deref() != Some("application/json") {
        return refused("The header Content-Type must be application/json.");
    }
    match parts.find_map(|part| part.strip_prefix("charset=").map(str::to_owned)) {
        Some(charset) if charset.trim_matches('"') != "utf-8" => refused("The body must be in UTF-8."),
        _ => Ok(()),
    }
}

async fn read_bytes(body: &mut RequestBody) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: ReadBodyError| match error {
        ReadBodyError::PayloadTooLarge => Problem::new(Code::BODY_TOO_LARGE),
        _ => Problem::with_detail(Code::UNREADABLE_REQUEST, "The body could not be read to its end."),
    };
    let body = body.take().map_err(unreadable)?;
    match tokio::time::timeout(READ_TIMEOUT, body.into_bytes_limit(MAX_BODY)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(unreadable),
        Err(_) => Err(Problem::with_detail(Code::UNREADABLE_REQUEST, "The body did not arrive in time.")),
    }
}

/// Parses JSON and rejects duplicate keys.
fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let parsed = Strict.deserialize(tracked);
    let parsed = parsed.and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| {
        let detail = format!("cannot be read as JSON: {error}");
        Problem::with_errors(Code::MALFORMED_JSON, vec![FieldError::pointer(pointer(&track.path()), detail)])
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// Deserialises a [`Value`] and rejects duplicate keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                // Failing at the value makes the error's path end in the key.
                entries.next_value_seed(Twice)?;
            }
            let value = entries.next_value_seed(Self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Fails at the value of a duplicate key.
struct Twice;

impl<'de> DeserializeSeed<'de> for Twice {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("the key appears twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_key_is_reported_with_its_position() {
        let problem = parse(br#"{"items": [{"a/b": 1, "a/b": 2}]}"#).unwrap_err();
        let text = format!("{problem:?}");
        assert!(text.contains("/items/0/a~1b") && text.contains("appears twice at line 1 column"), "{text}");
    }

    #[test]
    fn a_number_too_large_for_a_double_is_reported_with_its_position() {
        let problem = parse(br#"{"items": [{"quantity": 1e400}]}"#).unwrap_err();
        assert!(format!("{problem:?}").contains("/items/0/quantity"), "{problem:?}");
    }

    #[test]
    fn trailing_characters_after_the_value_are_an_error() {
        assert!(parse(b"{} {}").is_err());
        assert!(parse(b"").is_err());
        assert!(parse(&[b'[', 0xff, b']']).is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert_eq!(parse(b" {\"a\": [null, true, -1, 1.5, \"x\"]} ").unwrap()["a"][3], 1.5);
    }
}
