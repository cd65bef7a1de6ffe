//! JSON responses: media type without parameters, and nulls that the document declares.

use std::borrow::Cow;
use std::marker::PhantomData;

use bytes::Bytes;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;

use crate::problem::{Problem, internal};

/// The parts of [`Type`] that are the same for every type without validators.
macro_rules! unvalidated {
    () => {
        const IS_REQUIRED: bool = true;

        type RawValueType = Self;
        type RawElementValueType = Self;

        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }

        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(std::iter::empty())
        }
    };
}
pub(crate) use unvalidated;

/// Declares the responses of operations that have only one: 200 with JSON.
///
/// ```
/// use choreography_http::replies;
/// use poem_openapi::Object;
///
/// #[derive(Object)]
/// struct Booking {
///     nights: u32,
/// }
///
/// replies! {
///     /// The current booking.
///     GetBooking: Booking;
/// }
/// ```
#[macro_export]
macro_rules! replies {
    ($( $(#[$doc:meta])* $name:ident: $body:ty; )+) => { $(
        $(#[$doc])*
        #[derive(::poem_openapi::ApiResponse)]
        pub(crate) enum $name {
            $(#[$doc])*
            #[oai(status = 200)]
            Found($crate::json::JsonOf<$body>),
        }
    )+ };
}

/// JSON with the schema of `T`: another service's, passed on unchanged, or the gateway's own.
pub struct JsonOf<T> {
    json: Bytes,
    shape: PhantomData<fn() -> T>,
}

impl<T> JsonOf<T> {
    /// Wraps the reply of another service.
    #[must_use]
    pub fn relayed(json: Bytes) -> Self {
        Self { json, shape: PhantomData }
    }

    /// Serialises a value that has the JSON of `T` but another type.
    ///
    /// # Errors
    ///
    /// The problem of a value that cannot be serialised.
    pub fn serialized(value: &impl Serialize) -> Result<Self, Problem> {
        let json =
            serde_json::to_vec(value).map_err(|error| internal(&error, "a response cannot be written as JSON"))?;
        Ok(Self::relayed(json.into()))
    }
}

impl<T: ToJSON> JsonOf<T> {
    /// Serialises a value.
    #[must_use]
    pub fn written(value: &T) -> Self {
        Self::relayed(value.to_json_string().into())
    }
}

impl<T: Type> Payload for JsonOf<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for JsonOf<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type("application/json").body(self.json)
    }
}

/// A property that is always present and may be null; OpenAPI would describe an `Option` as one that may be absent.
#[derive(Debug, Clone)]
pub struct Nullable<T>(Option<T>);

impl<T: Type> Type for Nullable<T> {
    unvalidated!();

    fn name() -> Cow<'static, str> {
        format!("nullable<{}>", T::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let schema = match T::schema_ref() {
            MetaSchemaRef::Inline(schema) => *schema,
            reference @ MetaSchemaRef::Reference(_) => MetaSchema { all_of: vec![reference], ..MetaSchema::ANY },
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema { nullable: true, ..schema }))
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> ToJSON for Nullable<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.to_json().unwrap_or_default())
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Nullable<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Option::<T>::parse_from_json(value).map(Self).map_err(|error| error.propagate())
    }
}

impl<T> From<Option<T>> for Nullable<T> {
    fn from(value: Option<T>) -> Self {
        Self(value)
    }
}
