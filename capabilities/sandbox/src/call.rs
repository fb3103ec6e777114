//! One request to a stand-in, read completely before anything is decided about it.
//!
//! A body that claims to be a form is kept as an object of texts; everything else that parses
//! as JSON is JSON, whatever its content type says, as the vendors are lenient there too.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use serde_json::{Map, Value};

/// A request, with its path taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// As it was sent, without the query.
    pub(crate) path: String,
    /// Percent-decoded parts of the path.
    pub(crate) segments: Vec<String>,
    /// Percent-decoded pairs of the query, in order, repeated keys kept.
    pub(crate) query: Vec<(String, String)>,
    /// As it was sent.
    pub(crate) raw_query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: CallBody,
    pub(crate) body_bytes: usize,
}

/// What a body turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum CallBody {
    Empty,
    Json(Value),
    Form(Map<String, Value>),
    Text(String),
}

impl Call {
    pub(crate) fn new(method: Method, uri: &Uri, headers: HeaderMap, bytes: &Bytes) -> Self {
        let content_type = text_header(&headers, header::CONTENT_TYPE.as_str());
        Self {
            method,
            path: uri.path().to_owned(),
            segments: segments(uri.path()),
            query: pairs(uri.query().unwrap_or_default().as_bytes()),
            raw_query: uri.query().map(str::to_owned),
            body: CallBody::parse(bytes, content_type),
            body_bytes: bytes.len(),
            headers,
        }
    }

    /// The path's parts, to match on.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(text_header(&self.headers, name)).filter(|value| !value.is_empty())
    }

    /// The first value of a query key.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a query key, repeated or separated by commas.
    pub(crate) fn query_values(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// The query as it is shown on `GET /_sandbox/requests`, without a token that travelled in it.
    pub(crate) fn recorded_query(&self) -> Option<String> {
        if self.query_value("token").is_none() {
            return self.raw_query.clone();
        }
        let rest = self.query.iter().filter(|(name, _)| name != "token");
        Some(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish())
    }

    /// The JSON body; `None` for any other kind.
    pub(crate) fn json(&self) -> Option<&Value> {
        match &self.body {
            CallBody::Json(value) => Some(value),
            CallBody::Empty | CallBody::Form(_) | CallBody::Text(_) => None,
        }
    }
}

impl CallBody {
    fn parse(bytes: &Bytes, content_type: &str) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        if content_type.starts_with("application/x-www-form-urlencoded") {
            let fields = pairs(bytes).into_iter().map(|(key, value)| (key, Value::String(value))).collect();
            return Self::Form(fields);
        }
        match serde_json::from_slice(bytes) {
            Ok(value) => Self::Json(value),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }

    /// As it is shown on `GET /_sandbox/requests`, without a token that travelled in it.
    pub(crate) fn recorded(&self) -> Value {
        let mut value = match self {
            Self::Empty => Value::Null,
            Self::Json(value) => value.clone(),
            Self::Form(fields) => Value::Object(fields.clone()),
            Self::Text(text) => Value::String(text.clone()),
        };
        if let Some(fields) = value.as_object_mut() {
            fields.remove("token");
        }
        value
    }
}

fn text_header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(decoded).collect()
}

/// Percent-decoding of one part of a path, where `+` is itself.
fn decoded(part: &str) -> String {
    let escaped = format!("x={}", part.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
