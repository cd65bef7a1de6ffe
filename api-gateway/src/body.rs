//! Request bodies: strict JSON in; a valid form or all validation errors out.
//!
//! Three steps, each with its own response: media type and size (415, 413), syntax (400, with line and column; a
//! duplicate key is a syntax error), content (422, with a pointer to each invalid field). The content is read by hand
//! from a tree, because a derived `Deserialize` stops at the first invalid field.

use std::ops::RangeInclusive;
use std::time::Duration;

use contracts::Currency;
use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::problem::{Code, FieldError, Problem};

/// The largest body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// The longest a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A form that is read from the fields of a JSON object.
pub(crate) trait Form: Sized + Send + Sync {
    /// The schema of the body for OpenAPI.
    type Schema: Type;
    /// Whether the body may be absent, which is the same as `{}`.
    const OPTIONAL: bool = false;

    /// Reads the fields; `None` if one of them is invalid, in which case `fields` has the error.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// A request body whose fields are all valid.
pub(crate) struct Body<T>(pub(crate) T);

impl<'a, T: Form> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::Schema::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::Schema::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !T::OPTIONAL })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let media_type = check_media_type(request);
        // A body that may be absent needs no media type while it is absent.
        if !T::OPTIONAL {
            media_type.clone()?;
        }
        let bytes = read_bytes(body).await?;
        if !bytes.is_empty() {
            media_type?;
        }
        Ok(Self(read_form(&bytes)?))
    }
}

/// Reads a form out of the bytes of a body.
pub(crate) fn read_form<T: Form>(bytes: &[u8]) -> Result<T, Problem> {
    let absent = bytes.is_empty() && T::OPTIONAL;
    read(if absent { Value::Object(Map::new()) } else { parse(bytes)? })
}

fn check_media_type(request: &Request) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::with_detail(Code::UnsupportedMediaType, detail));
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
        ReadBodyError::PayloadTooLarge => Problem::new(Code::BodyTooLarge),
        _ => Problem::with_detail(Code::UnreadableRequest, "The body could not be read to its end."),
    };
    let body = body.take().map_err(unreadable)?;
    match tokio::time::timeout(READ_TIMEOUT, body.into_bytes_limit(MAX_BODY)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(unreadable),
        Err(_) => Err(Problem::with_detail(Code::UnreadableRequest, "The body did not arrive in time.")),
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
        Problem::with_errors(Code::MalformedJson, vec![FieldError::pointer(pointer(&track.path()), detail)])
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

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
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

fn read<T: Form>(value: Value) -> Result<T, Problem> {
    let mut errors = Vec::new();
    let form = read_object(value, String::new(), &mut errors, T::read);
    match form {
        Some(form) if errors.is_empty() => Ok(form),
        _ => Err(Problem::with_errors(Code::Validation, errors)),
    }
}

/// Reads an object; fields that `read` does not request are errors.
fn read_object<T>(
    value: Value,
    pointer: String,
    errors: &mut Vec<FieldError>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Option<T> {
    let values = match value {
        Value::Object(values) => values,
        other => {
            errors.push(FieldError::pointer(pointer, format!("must be an object, and is {}", kind(&other))));
            return None;
        }
    };
    let mut fields = Fields { pointer, values, errors };
    let form = read(&mut fields);
    let Fields { pointer, values, errors } = fields;
    let unknown = values.keys();
    errors.extend(
        unknown.map(|key| FieldError::pointer(format!("{pointer}/{}", escape(key)), "is not a known field")),
    );
    form
}

/// The fields of an object while they are read.
pub(crate) struct Fields<'e> {
    pointer: String,
    values: Map<String, Value>,
    errors: &'e mut Vec<FieldError>,
}

impl Fields<'_> {
    /// Reads a required field.
    pub(crate) fn required<T>(&mut self, name: &str, parse: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        match self.values.remove(name) {
            Some(value) => self.note(name, parse(&value)),
            None => self.note(name, Err("is missing".to_owned())),
        }
    }

    /// Reads a field that may be absent or null.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.values.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.note(name, parse(&value)).map(Some),
        }
    }

    /// Reads a required object.
    pub(crate) fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Option<T> {
        let value = self.required(name, |value| Ok(value.clone()))?;
        read_object(value, format!("{}/{name}", self.pointer), self.errors, read)
    }

    /// Reads an object that may be absent or null.
    pub(crate) fn optional_object<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.values.get(name) {
            None | Some(Value::Null) => {
                self.values.remove(name);
                Some(None)
            }
            Some(_) => self.object(name, read).map(Some),
        }
    }

    /// Reads a list of objects whose length must be within `counts`; at most the maximum of them is checked.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        counts: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (min, max) = (counts.start(), *counts.end());
        let values = self.required(name, |value| match value {
            Value::Array(values) => Ok(values.clone()),
            other => Err(format!("must be a list of {min} to {max} objects, and is {}", kind(other))),
        })?;
        let count = values.len();
        if !counts.contains(&count) {
            let detail = format!("must have {min} to {max} items, and has {count}");
            self.note::<()>(name, Err(detail));
        }
        let pointer = format!("{}/{name}", self.pointer);
        let forms: Vec<Option<T>> = values
            .into_iter()
            .take(max)
            .enumerate()
            .map(|(index, value)| read_object(value, format!("{pointer}/{index}"), self.errors, &mut read))
            .collect();
        forms.into_iter().collect()
    }

    fn note<T>(&mut self, name: &str, parsed: Result<T, String>) -> Option<T> {
        parsed
            .map_err(|detail| self.errors.push(FieldError::pointer(format!("{}/{name}", self.pointer), detail)))
            .ok()
    }
}

/// Returns a reader for strings that `parse` accepts.
pub(crate) fn text<T, E: ToString>(
    parse: impl FnOnce(String) -> Result<T, E>,
) -> impl FnOnce(&Value) -> Result<T, String> {
    |value| match value {
        Value::String(text) => parse(text.clone()).map_err(|error| error.to_string()),
        other => Err(format!("must be a string, and is {}", kind(other))),
    }
}

/// Returns a reader for whole numbers that `parse` accepts.
pub(crate) fn number<T, E: ToString>(
    parse: impl FnOnce(i64) -> Result<T, E>,
) -> impl FnOnce(&Value) -> Result<T, String> {
    // A value that is not a whole number is outside every range, so `parse` describes the valid range in one sentence.
    |value| {
        let parsed = parse(value.as_i64().unwrap_or(i64::MIN)).map_err(|error| error.to_string());
        match value {
            Value::Number(_) => parsed,
            other => parsed.map_err(|detail| format!("{detail}, and is {}", kind(other))),
        }
    }
}

/// Parses a currency code.
pub(crate) fn currency(code: String) -> Result<Currency, &'static str> {
    Currency::from_code(&code).ok_or("must be a currency code of ISO 4217, such as EUR")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
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
