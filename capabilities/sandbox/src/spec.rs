//! Checks requests against a vendor's description in `specs/`.
//!
//! The descriptions are closed: they refuse fields they do not name. The vendors ignore such
//! fields, so here the closing is taken off and the rest (required fields, types, lengths,
//! patterns, enumerations) kept. `oneOf` becomes `anyOf` for the same reason: once objects are
//! open, more than one branch may hold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// A vendor's description.
pub(crate) struct Spec {
    document: Value,
    validators: Mutex<HashMap<String, Option<Arc<Validator>>>>,
}

/// One thing wrong with a request.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// JSON pointer into what was checked, empty for the whole; for a missing field, the field.
    pub(crate) pointer: String,
    /// The rule that is broken, in JSON Schema's words.
    pub(crate) keyword: String,
    pub(crate) message: String,
}

impl Violation {
    /// The first name in the pointer.
    pub(crate) fn field(&self) -> &str {
        self.pointer.trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    /// The last name in the pointer.
    pub(crate) fn last_field(&self) -> &str {
        self.pointer.rsplit('/').next().unwrap_or_default()
    }
}

impl Spec {
    /// Reads a description that is part of the program.
    pub(crate) fn new(text: &str) -> Self {
        let mut document = serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::error!(%error, "a vendor's description is not JSON; nothing is checked");
            Value::Null
        });
        open(&mut document);
        Self { document, validators: Mutex::default() }
    }

    /// What is wrong with the JSON body of an operation.
    pub(crate) fn check_body(&self, method: &str, template: &str, body: &Value) -> Vec<Violation> {
        let operation = self.operation(method, template);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            return Vec::new();
        }
        self.check(&format!("{method} {template}"), schema, body)
    }

    /// What is wrong with an operation's query, whose texts are read by the schema's types.
    pub(crate) fn check_query(
        &self,
        method: &str,
        template: &str,
        query: &[(String, String)],
    ) -> Vec<Violation> {
        let mut values = Map::new();
        let mut schemas = Map::new();
        let mut required = Vec::new();
        let parameters = self.operation(method, template)["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["in"] != "query" {
                continue;
            }
            if parameter["required"] == true {
                required.push(name);
            }
            let texts = query.iter().filter(|(key, _)| key == name);
            let texts: Vec<&str> = texts.map(|(_, value)| value.as_str()).collect();
            if let Some(value) = coerced_all(&parameter["schema"], &texts) {
                values.insert(name.to_owned(), value);
            }
            schemas.insert(name.to_owned(), parameter["schema"].clone());
        }
        let schema = json!({"type": "object", "properties": schemas, "required": required});
        self.check(&format!("{method} {template} query"), &schema, &Value::Object(values))
    }

    /// Reads texts as the types an operation's JSON body has, and JSON in them as JSON.
    pub(crate) fn coerce_form(
        &self,
        method: &str,
        template: &str,
        fields: Map<String, Value>,
    ) -> Map<String, Value> {
        let operation = self.operation(method, template);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let properties = self.resolved(schema).get("properties");
        let parameter = |name: &str| {
            let parameters = operation["parameters"].as_array()?;
            let found = parameters.iter().find(|parameter| parameter["name"] == name)?;
            Some(&found["schema"])
        };
        let coerced = |(name, value): (String, Value)| {
            let schema = properties.and_then(|properties| properties.get(&name)).or_else(|| parameter(&name));
            let value = match (&value, schema) {
                (Value::String(text), Some(schema)) => coerced(self.resolved(schema), text),
                _ => value,
            };
            (name, value)
        };
        fields.into_iter().map(coerced).collect()
    }

    fn operation(&self, method: &str, template: &str) -> &Value {
        &self.document["paths"][template][method.to_ascii_lowercase()]
    }

    fn resolved<'v>(&'v self, schema: &'v Value) -> &'v Value {
        schema["$ref"]
            .as_str()
            .and_then(|reference| self.document.pointer(reference.trim_start_matches('#')))
            .unwrap_or(schema)
    }

    fn check(&self, name: &str, schema: &Value, value: &Value) -> Vec<Violation> {
        match self.validator(name, schema) {
            Some(validator) => validator.iter_errors(value).map(violation).collect(),
            None => Vec::new(),
        }
    }

    fn validator(&self, name: &str, schema: &Value) -> Option<Arc<Validator>> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = validators.get(name) {
            return known.clone();
        }
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let built = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&schema)
            .inspect_err(|error| tracing::error!(name, %error, "a schema does not compile"))
            .ok()
            .map(Arc::new);
        validators.insert(name.to_owned(), built.clone());
        built
    }
}

fn violation(error: jsonschema::ValidationError<'_>) -> Violation {
    let keyword = error.kind().keyword().to_owned();
    let mut pointer = error.instance_path().to_string();
    if let jsonschema::error::ValidationErrorKind::Required { property } = error.kind() {
        pointer = format!("{pointer}/{}", property.as_str().unwrap_or_default());
    }
    Violation { pointer, keyword, message: error.to_string() }
}

fn open(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                !(matches!(key.as_str(), "additionalProperties" | "unevaluatedProperties")
                    && *value == Value::Bool(false))
            });
            if let Some(branches) = fields.remove("oneOf") {
                fields.insert("anyOf".to_owned(), branches);
            }
            fields.values_mut().for_each(open);
        }
        Value::Array(items) => items.iter_mut().for_each(open),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn coerced_all(schema: &Value, texts: &[&str]) -> Option<Value> {
    let first = texts.first()?;
    if schema["type"] != "array" {
        return Some(coerced(schema, first));
    }
    let items = texts.iter().flat_map(|text| text.split(','));
    Some(items.map(|text| coerced(&schema["items"], text)).collect())
}

fn coerced(schema: &Value, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().map_or_else(|_| plain(), Value::from),
        Some("boolean") => match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => plain(),
        },
        Some("array" | "object") => serde_json::from_str(text).unwrap_or_else(|_| plain()),
        _ => plain(),
    }
}
