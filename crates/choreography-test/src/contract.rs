//! Contract tests: what a consumer needs of a message, against what its producer publishes.
//!
//! A consumer declares what it needs as a type: its own struct, with the fields that it uses and no others. The schema of
//! that struct is the contract. A test of the producer compares it with the schema of the published type:
//!
//! ```
//! use choreography_test::contract::unmet;
//! use serde_json::json;
//!
//! let needed = json!({"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]});
//! let published = json!({"type": "object", "properties": {"total": {"type": "string"}}});
//! assert_eq!(unmet(&needed, &published), [
//!     "/total is required, and not always published",
//!     "/total must be integer, and is published as string",
//! ]);
//! ```
//!
//! [`breaking_changes`] compares the schema of a message with an earlier one of the same version.
//!
//! Compared are the presence of fields, their types, and closed sets of values. Bounds and patterns are not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The depth to which references and alternatives are resolved: some may refer to themselves.
const MAX_DEPTH: usize = 32;

/// Returns what a consumer needs and a producer does not publish; empty if the contract holds. Both are JSON Schemas: of
/// the type that the consumer reads, and of the type that the producer writes.
#[must_use]
pub fn unmet(needed: &Value, published: &Value) -> Vec<String> {
    Comparison { needed, published, is_complete: false }.run()
}

/// Returns the changes of a schema that need a new version of the message; empty if there is none.
///
/// A field was removed, or a consumer of the earlier schema cannot read what is published now, or a consumer of the present
/// one cannot read what was published earlier.
#[must_use]
pub fn breaking_changes(earlier: &Value, present: &Value) -> Vec<String> {
    let comparison = Comparison { needed: earlier, published: present, is_complete: true };
    let new = comparison.run().into_iter().map(|text| format!("for earlier consumers: {text}"));
    let old = unmet(present, earlier).into_iter().map(|text| format!("for earlier messages: {text}"));
    new.chain(old).collect()
}

/// One alternative of a schema, with its parts merged.
#[derive(Default, Clone)]
struct Shape<'a> {
    types: Option<BTreeSet<&'a str>>,
    values: Option<Vec<&'a Value>>,
    properties: BTreeMap<&'a str, &'a Value>,
    required: BTreeSet<&'a str>,
    items: Option<&'a Value>,
    is_closed: bool,
}

/// The two documents, which hold the definitions.
struct Comparison<'a> {
    needed: &'a Value,
    published: &'a Value,
    /// Whether optional fields must be published, too.
    is_complete: bool,
}

/// The pairs of schemas that are being compared: a pair inside of itself is not compared again, so recursive types end.
type Pairs = Vec<(*const Value, *const Value)>;

impl Comparison<'_> {
    fn run(&self) -> Vec<String> {
        self.compare("", self.needed, self.published, &mut Vec::new())
    }

    fn compare(&self, path: &str, needed: &Value, published: &Value, pairs: &mut Pairs) -> Vec<String> {
        let pair = (std::ptr::from_ref(needed), std::ptr::from_ref(published));
        if pairs.contains(&pair) {
            return Vec::new();
        }
        pairs.push(pair);
        let (needed, published) = (shapes(self.needed, needed, 0), shapes(self.published, published, 0));
        let mut unmet = Vec::new();
        for shape in &published {
            // The alternative that fits best names the problem.
            let attempts = needed.iter().map(|needed| self.fits(path, needed, shape, pairs));
            let best = attempts.min_by_key(Vec::len).unwrap_or_default();
            for text in best {
                if !unmet.contains(&text) {
                    unmet.push(text);
                }
            }
        }
        pairs.pop();
        unmet
    }

    fn fits(&self, path: &str, needed: &Shape<'_>, published: &Shape<'_>, pairs: &mut Pairs) -> Vec<String> {
        let mut unmet = Vec::new();
        let at = if path.is_empty() { "the body" } else { path };
        if let Some(types) = &needed.types {
            let found = published.types.clone().unwrap_or_default();
            let accepted =
                |found: &&str| types.contains(found) || (*found == "integer" && types.contains("number"));
            if found.is_empty() || !found.iter().all(accepted) {
                return vec![format!("{at} must be {}, and is published as {}", listed(types), listed(&found))];
            }
        }
        if let Some(values) = &needed.values {
            match &published.values {
                Some(found) => unmet.extend(
                    found
                        .iter()
                        .filter(|value| !values.contains(value))
                        .map(|value| format!("{at} has the unexpected value {value}")),
                ),
                None => unmet.push(format!("{at} must be one of certain values, and is published as any value")),
            }
        }
        for (name, property) in &needed.properties {
            let path = format!("{path}/{name}");
            let found = published.properties.get(name);
            let is_unmet = needed.required.contains(name) && !published.required.contains(name);
            match found {
                Some(_) if is_unmet => unmet.push(format!("{path} is required, and not always published")),
                None if is_unmet => unmet.push(format!("{path} is required, and not published")),
                None if self.is_complete => unmet.push(format!("{path} is not published any longer")),
                _ => {}
            }
            if let Some(found) = found {
                unmet.extend(self.compare(&path, property, found, pairs));
            }
        }
        if needed.is_closed {
            let unknown = published.properties.keys().filter(|name| !needed.properties.contains_key(*name));
            unmet.extend(unknown.map(|name| format!("{path}/{name} is not expected")));
        }
        if let (Some(needed), Some(found)) = (needed.items, published.items) {
            unmet.extend(self.compare(&format!("{path}/*"), needed, found, pairs));
        }
        unmet
    }
}

fn listed(types: &BTreeSet<&str>) -> String {
    if types.is_empty() { "any type".to_owned() } else { types.iter().copied().collect::<Vec<_>>().join(" or ") }
}

/// Returns the alternatives of a schema, each with references resolved and parts merged.
fn shapes<'a>(document: &'a Value, schema: &'a Value, depth: usize) -> Vec<Shape<'a>> {
    if depth > MAX_DEPTH {
        return vec![Shape::default()];
    }
    let mut shapes = vec![own_shape(schema)];
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    let parts = reference.and_then(|pointer| document.pointer(pointer)).into_iter();
    for part in parts.chain(list(schema, "allOf")) {
        shapes = product(&shapes, &self::shapes(document, part, depth + 1));
    }
    for keyword in ["oneOf", "anyOf"] {
        let alternatives: Vec<Shape<'_>> =
            list(schema, keyword).flat_map(|part| self::shapes(document, part, depth + 1)).collect();
        if !alternatives.is_empty() {
            shapes = product(&shapes, &alternatives);
        }
    }
    shapes
}

fn own_shape(schema: &Value) -> Shape<'_> {
    let values = schema.get("enum").and_then(Value::as_array).map(|values| values.iter().collect::<Vec<_>>());
    let values = values.or_else(|| schema.get("const").map(|value| vec![value]));
    let types = match schema.get("type") {
        Some(Value::String(name)) => Some(BTreeSet::from([name.as_str()])),
        Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    Shape {
        types,
        values,
        properties: properties.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect(),
        required: list(schema, "required").filter_map(Value::as_str).collect(),
        items: schema.get("items").or_else(|| schema.get("additionalProperties").filter(|more| more.is_object())),
        is_closed: schema.get("additionalProperties") == Some(&Value::Bool(false)),
    }
}

fn list<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

/// Merges each shape with each alternative.
fn product<'a>(shapes: &[Shape<'a>], alternatives: &[Shape<'a>]) -> Vec<Shape<'a>> {
    let merged = |shape: &Shape<'a>, other: &Shape<'a>| {
        let mut merged = shape.clone();
        merged.types = other.types.clone().or(merged.types);
        merged.values = other.values.clone().or(merged.values);
        merged.properties.extend(other.properties.iter().map(|(name, value)| (*name, *value)));
        merged.required.extend(other.required.iter().copied());
        merged.items = other.items.or(merged.items);
        merged.is_closed |= other.is_closed;
        merged
    };
    shapes.iter().flat_map(|shape| alternatives.iter().map(move |other| merged(shape, other))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(properties: Value, required: &[&str]) -> Value {
        json!({"type": "object", "properties": properties, "required": required})
    }

    fn order(total: Value) -> Value {
        object(json!({"id": {"$ref": "#/$defs/Id"}, "total": total, "note": {"type": "string"}}), &["id", "total"])
    }

    fn with_id(mut schema: Value, id: Value) -> Value {
        schema["$defs"] = json!({"Id": id});
        schema
    }

    #[test]
    fn a_contract_holds_for_the_fields_that_the_consumer_needs() {
        let published = with_id(order(json!({"type": "integer"})), json!({"type": "string", "maxLength": 64}));
        for needed in [
            json!({}),
            object(json!({"id": {"type": "string"}}), &["id"]),
            object(json!({"total": {"type": ["number", "null"]}, "colour": {"type": "string"}}), &[]),
        ] {
            assert_eq!(unmet(&needed, &published), Vec::<String>::new(), "{needed}");
        }
    }

    #[test]
    fn each_unmet_need_is_named_with_its_place() {
        let published = with_id(order(json!({"type": "integer"})), json!({"type": "string"}));
        let unmet_of = |needed: Value| unmet(&needed, &published);
        let text = json!({"type": "string"});
        assert_eq!(
            unmet_of(object(json!({"note": text}), &["note"])),
            ["/note is required, and not always published"]
        );
        assert_eq!(
            unmet_of(object(json!({"colour": text}), &["colour"])),
            ["/colour is required, and not published"]
        );
        assert_eq!(
            unmet_of(object(json!({"total": text}), &[])),
            ["/total must be string, and is published as integer"]
        );
        assert_eq!(unmet_of(json!({"type": "array"})), ["the body must be array, and is published as object"]);
        let closed =
            json!({"type": "object", "properties": {"id": {}, "total": {}}, "additionalProperties": false});
        assert_eq!(unmet_of(closed), ["/note is not expected"]);
    }

    #[test]
    fn items_alternatives_and_closed_sets_of_values_are_compared() {
        let code = |codes: &[&str]| {
            let codes =
                codes.iter().map(|code| object(json!({"code": {"const": code, "type": "string"}}), &["code"]));
            object(
                json!({"reasons": {"type": "array", "items": {"oneOf": codes.collect::<Vec<_>>()}}}),
                &["reasons"],
            )
        };
        assert_eq!(breaking_changes(&code(&["a", "b"]), &code(&["b", "a"])), Vec::<String>::new());
        let grown = breaking_changes(&code(&["a"]), &code(&["a", "b"]));
        assert_eq!(grown, [r#"for earlier consumers: /reasons/*/code has the unexpected value "b""#]);
        let shrunk = breaking_changes(&code(&["a", "b"]), &code(&["a"]));
        assert_eq!(shrunk, [r#"for earlier messages: /reasons/*/code has the unexpected value "b""#]);
    }

    #[test]
    fn a_compatible_change_adds_optional_fields_and_a_breaking_one_needs_a_version() {
        let id = json!({"type": "string"});
        let earlier = with_id(order(json!({"type": "integer"})), id.clone());
        let changed = |change: fn(&mut Value)| {
            let mut present = earlier.clone();
            change(&mut present);
            breaking_changes(&earlier, &present)
        };
        assert_eq!(
            changed(|schema| schema["properties"]["gift"] = json!({"type": "boolean"})),
            Vec::<String>::new()
        );
        let removed = changed(|schema| drop(schema["properties"].as_object_mut().unwrap().remove("total")));
        assert_eq!(removed, ["for earlier consumers: /total is not published any longer"], "`required` lists it");
        let removed = changed(|schema| *schema = object(json!({"id": {"type": "string"}}), &["id"]));
        assert_eq!(
            removed,
            [
                "for earlier consumers: /note is not published any longer",
                "for earlier consumers: /total is required, and not published"
            ]
        );
        let required = changed(|schema| schema["required"] = json!(["id", "total", "note"]));
        assert_eq!(required, ["for earlier messages: /note is required, and not always published"]);
        let retyped = changed(|schema| schema["$defs"]["Id"]["type"] = json!("integer"));
        assert_eq!(
            retyped,
            [
                "for earlier consumers: /id must be string, and is published as integer",
                "for earlier messages: /id must be integer, and is published as string"
            ]
        );
    }

    #[test]
    fn a_recursive_schema_ends() {
        let of = |leaf: &str| {
            let child = json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]});
            object(json!({"left": child, "right": child, "leaf": {"type": leaf}}), &["leaf"])
        };
        assert_eq!(unmet(&of("string"), &of("string")), Vec::<String>::new());
        assert_eq!(unmet(&of("string"), &of("integer"))[0], "/leaf must be string, and is published as integer");
    }
}
