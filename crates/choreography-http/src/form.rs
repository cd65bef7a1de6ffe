//! Forms: the objects of a request body. A form declares each field once, and the declaration both reads it and
//! describes it for OpenAPI.
//!
//! ```
//! use choreography_http::form::{Fields, Form, length, number, text, whole};
//!
//! struct Booking {
//!     guest: String,
//!     nights: Option<i64>,
//! }
//!
//! impl Form for Booking {
//!     type Value = Self;
//!     const NAME: &'static str = "Booking";
//!     const ABOUT: &'static str = "A room to book.";
//!
//!     fn read(fields: &mut Fields<'_>) -> Option<Self> {
//!         let name = |name: String| if name.is_empty() { Err("must not be empty") } else { Ok(name) };
//!         let count = |count| if (1..=30).contains(&count) { Ok(count) } else { Err("must be from 1 to 30") };
//!         let guest = fields.required("guest", text(length(1..=100), name), "The name of the guest.");
//!         let nights = fields.optional("nights", number(whole(1..=30), count), "The default is 1.");
//!         Some(Self { guest: guest?, nights: nights? })
//!     }
//! }
//! ```

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use choreography::metrics::figure;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::code::Code;
use crate::json::unvalidated;
use crate::problem::{FieldError, Problem};

/// A form that is read from the fields of a JSON object.
pub trait Form: 'static {
    /// The value of a valid form.
    type Value: Send + Sync;
    /// The name of its schema in the OpenAPI document.
    const NAME: &'static str;
    /// The description of its schema.
    const ABOUT: &'static str;
    /// Whether a body of this form may be absent, which is the same as `{}`.
    const OPTIONAL: bool = false;

    /// Reads the fields; `None` if one of them is invalid, in which case `fields` has the error.
    ///
    /// Requests every field before the first `?`: all errors are reported at once, and the same calls describe the
    /// form.
    fn read(fields: &mut Fields<'_>) -> Option<Self::Value>;
}

/// Returns a schema, and registers the schemas that it refers to.
pub trait Schema: Fn(&mut Registry) -> MetaSchemaRef {}

impl<F: Fn(&mut Registry) -> MetaSchemaRef> Schema for F {}

/// Reads a value, and describes its schema. A pair of two functions is a reader.
pub trait Reader<T> {
    /// Returns the schema, and registers the schemas that it refers to.
    fn schema(&self, registry: &mut Registry) -> MetaSchemaRef;

    /// Reads the value; the error completes the sentence "`field` …".
    ///
    /// # Errors
    ///
    /// The violated constraint.
    fn read(self, value: &Value) -> Result<T, String>;
}

impl<T, S: Schema, R: FnOnce(&Value) -> Result<T, String>> Reader<T> for (S, R) {
    fn schema(&self, registry: &mut Registry) -> MetaSchemaRef {
        self.0(registry)
    }

    fn read(self, value: &Value) -> Result<T, String> {
        self.1(value)
    }
}

/// The fields of an object while they are read or described.
pub struct Fields<'m>(Mode<'m>);

enum Mode<'m> {
    Reading { pointer: String, values: Map<String, Value>, errors: &'m mut Vec<FieldError> },
    Describing { schema: &'m mut MetaSchema, registry: &'m mut Registry },
}

impl Fields<'_> {
    /// Reads a required field.
    pub fn required<T>(&mut self, name: &'static str, reader: impl Reader<T>, about: &'static str) -> Option<T> {
        let Mode::Reading { values, .. } = &mut self.0 else {
            return self.describe(name, true, |registry| reader.schema(registry), about);
        };
        let value = values.remove(name);
        self.note(name, value.ok_or_else(|| "is missing".to_owned()).and_then(|value| reader.read(&value)))
    }

    /// Reads a field that may be absent or null.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        reader: impl Reader<T>,
        about: &'static str,
    ) -> Option<Option<T>> {
        let Mode::Reading { values, .. } = &mut self.0 else {
            return self.describe(name, false, |registry| reader.schema(registry), about);
        };
        match values.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.note(name, reader.read(&value)).map(Some),
        }
    }

    /// Reads a required object.
    pub fn object<F: Form>(&mut self, name: &'static str, about: &'static str) -> Option<F::Value> {
        let Mode::Reading { values, .. } = &mut self.0 else {
            return self.describe(name, true, schema_of::<Shape<F>>(), about);
        };
        match values.remove(name) {
            Some(value) => self.nested::<F>(&format!("/{name}"), value),
            None => self.note(name, Err("is missing".to_owned())),
        }
    }

    /// Reads an object that may be absent or null.
    pub fn optional_object<F: Form>(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Option<Option<F::Value>> {
        let Mode::Reading { values, .. } = &mut self.0 else {
            return self.describe(name, false, schema_of::<Shape<F>>(), about);
        };
        match values.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.nested::<F>(&format!("/{name}"), value).map(Some),
        }
    }

    /// Reads a list of objects whose length must be within `counts`; at most the maximum of them is checked.
    pub fn list<F: Form>(
        &mut self,
        name: &'static str,
        counts: RangeInclusive<usize>,
        about: &'static str,
    ) -> Option<Vec<F::Value>> {
        let (min, max) = (*counts.start(), *counts.end());
        let limits =
            MetaSchema { min_items: Some(min).filter(|min| *min > 0), max_items: Some(max), ..MetaSchema::ANY };
        let schema = |registry: &mut Registry| schema_of::<Vec<Shape<F>>>()(registry).merge(limits.clone());
        let items = |value: &Value| match value {
            Value::Array(values) => Ok(values.clone()),
            other => Err(format!("must be a list of {min} to {max} objects, and is {}", kind(other))),
        };
        let values = self.required(name, (schema, items), about)?;
        let count = values.len();
        if !counts.contains(&count) {
            self.note::<()>(name, Err(format!("must have {min} to {max} items, and has {count}")));
        }
        let values = values.into_iter().take(max).enumerate();
        let forms: Vec<Option<F::Value>> =
            values.map(|(index, value)| self.nested::<F>(&format!("/{name}/{index}"), value)).collect();
        forms.into_iter().collect()
    }

    fn nested<F: Form>(&mut self, path: &str, value: Value) -> Option<F::Value> {
        let Mode::Reading { pointer, errors, .. } = &mut self.0 else { return None };
        read_object::<F>(value, format!("{pointer}{path}"), errors)
    }

    fn note<T>(&mut self, name: &str, read: Result<T, String>) -> Option<T> {
        let Mode::Reading { pointer, errors, .. } = &mut self.0 else { return None };
        read.map_err(|detail| errors.push(FieldError::pointer(format!("{pointer}/{name}"), detail))).ok()
    }

    /// Describes a field; there is no value.
    fn describe<T>(
        &mut self,
        name: &'static str,
        required: bool,
        of: impl Fn(&mut Registry) -> MetaSchemaRef,
        about: &'static str,
    ) -> Option<T> {
        if let Mode::Describing { schema, registry } = &mut self.0 {
            let description = MetaSchema { description: Some(about), ..MetaSchema::ANY };
            schema.properties.push((name, of(registry).merge(description)));
            if required {
                schema.required.push(name);
            }
        }
        None
    }
}

/// Reads a form from a JSON value.
pub(crate) fn read<F: Form>(value: Value) -> Result<F::Value, Problem> {
    let mut errors = Vec::new();
    match read_object::<F>(value, String::new(), &mut errors) {
        Some(form) if errors.is_empty() => Ok(form),
        _ => Err(Problem::with_errors(Code::VALIDATION, errors)),
    }
}

/// Reads an object; fields that the form does not request are errors.
fn read_object<F: Form>(value: Value, pointer: String, errors: &mut Vec<FieldError>) -> Option<F::Value> {
    let values = match value {
        Value::Object(values) => values,
        other => {
            errors.push(FieldError::pointer(pointer, format!("must be an object, and is {}", kind(&other))));
            return None;
        }
    };
    let mut fields = Fields(Mode::Reading { pointer, values, errors });
    let form = F::read(&mut fields);
    if let Mode::Reading { pointer, values, errors } = fields.0 {
        let unknown = values.keys().map(|key| format!("{pointer}/{}", escape(key)));
        errors.extend(unknown.map(|pointer| FieldError::pointer(pointer, "is not a known field")));
    }
    form
}

/// Escapes a key in a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns a reader for strings that `parse` accepts.
pub fn text<T, E: ToString>(schema: impl Schema, parse: impl FnOnce(String) -> Result<T, E>) -> impl Reader<T> {
    (schema, |value: &Value| match value {
        Value::String(text) => parse(text.clone()).map_err(|error| error.to_string()),
        other => Err(format!("must be a string, and is {}", kind(other))),
    })
}

/// Returns a reader for whole numbers that `parse` accepts.
pub fn number<T, E: ToString>(schema: impl Schema, parse: impl FnOnce(i64) -> Result<T, E>) -> impl Reader<T> {
    // A value that is not a whole number is outside every range, so `parse` describes the valid range in one sentence.
    (schema, |value: &Value| {
        let parsed = parse(value.as_i64().unwrap_or(i64::MIN)).map_err(|error| error.to_string());
        match value {
            Value::Number(_) => parsed,
            other => parsed.map_err(|detail| format!("{detail}, and is {}", kind(other))),
        }
    })
}

/// Returns a reader by `Deserialize`, for types that check their values themselves. `S` describes the schema.
pub fn json<S: Type, T: DeserializeOwned>() -> impl Reader<T> {
    (schema_of::<S>(), |value: &Value| T::deserialize(value).map_err(|error| error.to_string()))
}

/// Returns a reader for lists of a number of values, each read by `Deserialize`. `S` describes the schema of one.
pub fn list<S: Type, T: DeserializeOwned>(counts: RangeInclusive<usize>) -> impl Reader<Vec<T>> {
    (schema_of::<Vec<S>>(), move |value: &Value| match Vec::<T>::deserialize(value) {
        Ok(items) if counts.contains(&items.len()) => Ok(items),
        Ok(items) => {
            Err(format!("must have {} to {} items, and has {}", counts.start(), counts.end(), items.len()))
        }
        Err(error) => Err(error.to_string()),
    })
}

/// Returns the schema of a type.
pub fn schema_of<T: Type>() -> impl Schema {
    |registry: &mut Registry| {
        T::register(registry);
        T::schema_ref()
    }
}

/// Returns the schema of strings of a pattern.
pub fn pattern(pattern: &'static str) -> impl Schema {
    limited::<String>(MetaSchema { pattern: Some(pattern.to_owned()), ..MetaSchema::ANY })
}

/// Returns the schema of strings by their length in characters.
pub fn length(range: RangeInclusive<usize>) -> impl Schema {
    let min_length = Some(*range.start()).filter(|min| *min > 0);
    limited::<String>(MetaSchema { min_length, max_length: Some(*range.end()), ..MetaSchema::ANY })
}

/// Returns the schema of whole numbers within a range.
pub fn whole(range: RangeInclusive<u64>) -> impl Schema {
    let (minimum, maximum) = (Some(figure(*range.start())), Some(figure(*range.end())));
    limited::<i64>(MetaSchema { minimum, maximum, ..MetaSchema::ANY })
}

/// Returns the schema of a type with further limits.
pub fn limited<T: Type>(limits: MetaSchema) -> impl Schema {
    move |registry: &mut Registry| schema_of::<T>()(registry).merge(limits.clone())
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

/// The schema of a form as a type, for responses that contain the same object. It has no value.
pub struct Shape<F>(PhantomData<fn() -> F>);

impl<F: Form> Type for Shape<F> {
    unvalidated!();

    fn name() -> Cow<'static, str> {
        F::NAME.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(F::NAME.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(F::NAME.to_owned(), |registry| {
            let (title, description) = (Some(F::NAME.to_owned()), Some(F::ABOUT));
            let mut schema = MetaSchema { title, description, ..MetaSchema::new("object") };
            // No field has a value, so neither has the form.
            drop(F::read(&mut Fields(Mode::Describing { schema: &mut schema, registry })));
            schema
        });
    }
}

impl<F: Form> ToJSON for Shape<F> {
    fn to_json(&self) -> Option<Value> {
        None
    }
}

impl<F: Form> ParseFromJSON for Shape<F> {
    fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
        Err(ParseError::custom("a shape has no value"))
    }
}
