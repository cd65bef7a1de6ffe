//! JSON Schemas of bodies, with the feature `schemas`.

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};

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
