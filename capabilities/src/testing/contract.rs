//! The vendors' descriptions (`OpenAPI` 3.1, in the sandbox's `specs/`), and whether a request is
//! one of theirs: path, method, query, headers and body.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Received;

pub(crate) struct Contract {
    doc: Value,
}

impl Contract {
    pub(crate) fn load(vendor: &str) -> Self {
        let path = format!("{}/sandbox/specs/{vendor}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { doc: serde_json::from_slice(&text).unwrap() }
    }

    /// Panics with the reason if the request is not as described.
    pub(crate) fn check(&self, request: &Received) {
        self.check_headers(self.operation(request), request);
        self.check_without_headers(request);
    }

    /// As [`Contract::check`], where headers are not known.
    pub(crate) fn check_without_headers(&self, request: &Received) {
        let line = request.line();
        let operation = self.operation(request);
        self.check_query(operation, request);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if operation["requestBody"]["required"] == true || !request.body.is_null() {
            assert!(schema.is_object(), "{line} takes no JSON");
            self.check_value(schema, &request.body, &line);
        }
    }

    /// Every refusal that is described for any operation, and what a vendor's servers answer when they are not well.
    pub(crate) fn refusals(&self) -> BTreeSet<u16> {
        let operations =
            self.doc["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
        let answers = operations.filter_map(|(_, operation)| operation["responses"].as_object());
        let statuses = answers.flat_map(|answers| answers.keys()).filter_map(|status| status.parse().ok());
        statuses.filter(|status| *status >= 400).chain([500, 502, 503, 504]).collect()
    }

    fn operation(&self, request: &Received) -> &Value {
        self.find_operation(request).unwrap_or_else(|| panic!("{} is not described", request.line()))
    }

    fn find_operation(&self, request: &Received) -> Option<&Value> {
        let method = request.method.to_lowercase();
        let mut fitting: Vec<(usize, &Value)> = self.doc["paths"]
            .as_object()?
            .iter()
            .filter_map(|(template, item)| {
                let base = item["servers"].get(0).or_else(|| self.doc["servers"].get(0))?;
                let base = base["url"].as_str()?.splitn(4, '/').nth(3);
                let path = request.path.strip_prefix('/')?;
                let path = path.strip_prefix(base.unwrap_or_default())?;
                let literals = fits(template, path)?;
                Some((literals, item.get(&method)?))
            })
            .collect();
        fitting.sort_by_key(|(literals, _)| *literals);
        fitting.pop().map(|(_, operation)| operation)
    }

    fn check_query(&self, operation: &Value, request: &Received) {
        let line = request.line();
        let parameters = self.parameters(operation, "query");
        let mut values: Map<String, Value> = Map::new();
        for (name, text) in &request.query {
            let schema = parameters
                .iter()
                .find(|parameter| parameter["name"] == *name)
                .map(|parameter| self.resolved(&parameter["schema"]))
                .unwrap_or_else(|| panic!("{line} takes no {name}"));
            if schema["type"] == "array" {
                let item = coerced(self.resolved(&schema["items"]), text);
                let list = values.entry(name.clone()).or_insert(json!([]));
                list.as_array_mut().unwrap().push(item);
            } else {
                let former = values.insert(name.clone(), coerced(schema, text));
                assert!(former.is_none(), "{line} takes {name} once");
            }
        }
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            match values.get(name) {
                Some(value) => {
                    self.check_value(&parameter["schema"], value, &format!("{line} ?{name}"));
                }
                None => assert!(parameter["required"] != true, "{line} needs {name}"),
            }
        }
    }

    fn check_headers(&self, operation: &Value, request: &Received) {
        for parameter in self.parameters(operation, "header") {
            let name = parameter["name"].as_str().unwrap();
            let value = request.header(&name.to_lowercase());
            let value = value.split(';').next().filter(|_| name == "Content-Type").unwrap_or(value);
            if !value.is_empty() || parameter["required"] == true {
                let place = format!("{} {name}", request.line());
                self.check_value(&parameter["schema"], &json!(value), &place);
            }
        }
        assert!(!request.header("authorization").is_empty());
    }

    fn parameters<'a>(&'a self, operation: &'a Value, place: &str) -> Vec<&'a Value> {
        let list = operation["parameters"].as_array();
        list.into_iter()
            .flatten()
            .map(|parameter| self.resolved(parameter))
            .filter(|parameter| parameter["in"] == place)
            .collect()
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(local) => self.doc.pointer(&local[1..]).unwrap(),
            None => schema,
        }
    }

    fn check_value(&self, schema: &Value, value: &Value, place: &str) {
        let mut schema = schema.clone();
        schema["components"] = self.doc["components"].clone();
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        if let Err(error) = validator.validate(value) {
            panic!("{place}: {error}, at {}\n{value:#}", error.instance_path());
        }
    }
}

/// How many segments of the path the template spells out, if it fits.
fn fits(template: &str, path: &str) -> Option<usize> {
    let wanted: Vec<&str> = template.trim_matches('/').split('/').collect();
    let given: Vec<&str> = path.trim_matches('/').split('/').collect();
    let mut literals = 0;
    if wanted.len() != given.len() {
        return None;
    }
    for (wanted, given) in wanted.iter().zip(given) {
        if !wanted.starts_with('{') {
            if *wanted != given {
                return None;
            }
            literals += 1;
        }
    }
    Some(literals)
}

fn coerced(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "boolean") => serde_json::from_str(text).unwrap_or(json!(text)),
        _ => json!(text),
    }
}
