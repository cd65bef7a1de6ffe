//! JSON Schemas of bodies, with the feature `schemas`.

use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::MessageInfo;

impl MessageInfo {
    /// Generates the JSON Schema (draft 2020-12) of its body, as it is serialised; `None` if the body has none.
    #[must_use]
    pub fn json_schema(&self) -> Option<Value> {
        let generator = settings(SchemaSettings::draft2020_12()).into_generator();
        self.schema.map(|schema| (schema.document)(generator).to_value())
    }
}

/// Returns settings for the serialised form, with descriptions for readers without the code.
pub(crate) fn settings(settings: SchemaSettings) -> SchemaSettings {
    settings.for_serialize().with_transform(RecursiveTransform(without_links))
}

fn without_links(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`");
    }
}

/// Makes the JSON Schema of a body.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MessageSchema {
    /// Makes a document of its own.
    pub document: fn(SchemaGenerator) -> Schema,
    /// Makes a part of another document, whose definitions the generator collects.
    pub part: fn(&mut SchemaGenerator) -> Schema,
}

/// Finds out whether a body has a schema. The constant of [`Probe`] exists only for bodies that have one, and takes
/// precedence over the constant of this trait. So a crate may turn `schemas` on although others have bodies without.
pub trait WithoutSchema {
    /// No schema.
    const SCHEMA: Option<MessageSchema> = None;
}

/// See [`WithoutSchema`].
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T> WithoutSchema for Probe<T> {}

impl<T: JsonSchema> Probe<T> {
    /// The schema of the body.
    pub const SCHEMA: Option<MessageSchema> = Some(MessageSchema {
        document: |generator| generator.into_root_schema_for::<T>(),
        part: |generator| generator.subschema_for::<T>(),
    });
}
