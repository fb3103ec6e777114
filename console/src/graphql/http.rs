//! GraphQL over HTTP: what a request may look like, and which status and media type answers it.
//!
//! With `application/json` a document that is wrong is answered with 200, as clients of old expect; with
//! `application/graphql-response+json` with 400. What is no GraphQL request at all is a 4xx in both.

use std::collections::BTreeMap;

use async_graphql::{Request, Response as Answer, Variables};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use super::{Asker, BODY_LIMIT_BYTES, CatalogSchema};
use crate::{
    App,
    auth::Caller,
    error::ApiError,
    ui::{self, Pages},
};

const JSON: &str = "application/json";
const RESPONSE_JSON: &str = "application/graphql-response+json";

/// What the routes of GraphQL share.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) app: App,
    pub(super) schema: CatalogSchema,
    /// For the explorer.
    pub(super) pages: Pages,
}

/// Whether a page is preferred to data: what a browser's address bar asks for, and no client of GraphQL.
fn wants_a_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut kinds = accept.split(',').filter_map(|one| one.split(';').next()).map(str::trim);
    kinds.find(|kind| [JSON, RESPONSE_JSON, "text/html"].contains(kind)) == Some("text/html")
}

/// Executes what somebody typed into the explorer, with their rights; the error says what is wrong with it.
pub(crate) async fn typed(
    app: &App,
    caller: Caller,
    request: String,
    query: &str,
    variables: &str,
) -> Result<Value, ApiError> {
    if query.len() + variables.len() > BODY_LIMIT_BYTES {
        return Err(ApiError::Malformed(format!("a request has at most {BODY_LIMIT_BYTES} bytes")));
    }
    let variables: Value = match variables.trim() {
        "" => Value::Null,
        text => {
            serde_json::from_str(text).map_err(|error| ApiError::Malformed(format!("variables: {error}")))?
        }
    };
    if !variables.is_null() && !variables.is_object() {
        return Err(ApiError::Malformed("variables: an object, such as {\"id\": \"svc-shop\"}".to_owned()));
    }
    let body = json!({ "query": query, "variables": variables });
    let parameters: Parameters =
        serde_json::from_value(body).map_err(|error| ApiError::Malformed(error.to_string()))?;
    app.limits.count(&caller.principal.id)?;
    let asker = Asker::new(app.clone(), caller, &request);
    let answer = super::schema().execute(parameters.into_request().data(asker)).await;
    Ok(serde_json::to_value(&answer).unwrap_or_default())
}

/// The organisation of a request's address.
pub(super) fn org(query: Option<&str>) -> String {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let org = pairs.filter(|(name, _)| name == "org").map(|(_, value)| value.into_owned()).last();
    org.unwrap_or_else(|| "default".to_owned())
}

/// `GET` and `POST /graphql`; a browser that opens it gets the explorer.
pub(super) async fn graphql(State(gateway): State<Gateway>, request: HttpRequest) -> Response {
    if request.method() == Method::GET && wants_a_page(request.headers()) {
        let query = request.uri().query().unwrap_or_default();
        return ui::graphql::page(&gateway.pages, request.headers(), query);
    }
    let media_type = accepted(request.headers());
    match answer(&gateway, request).await {
        Ok(answer) => told(&answer, media_type),
        Err(refused) => refused.into_response_as(media_type),
    }
}

async fn answer(gateway: &Gateway, request: HttpRequest) -> Result<Answer, NoRequest> {
    let (parts, body) = request.into_parts();
    let org = org(parts.uri.query());
    let caller = Caller::authenticate(&gateway.app, &parts.headers, &org).await?;
    gateway.app.limits.count(&caller.principal.id)?;
    let given = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let request_id = given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let query = match parts.method {
        Method::GET => of_query(parts.uri.query().unwrap_or_default())?,
        Method::POST => {
            let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let kind =
                kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if kind != JSON {
                return Err(NoRequest::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "a GraphQL request is sent as application/json",
                ));
            }
            let body = Bytes::from_request(HttpRequest::from_parts(parts, body), &())
                .await
                .map_err(ApiError::from)?;
            of_body(&body)?
        }
        _ => {
            return Err(NoRequest::new(StatusCode::METHOD_NOT_ALLOWED, "GraphQL is asked by GET or POST"));
        }
    };
    let is_get = query.is_get;
    let mut request = query.into_request();
    if is_get {
        let is_mutation = request.parsed_query().is_ok_and(|document| {
            let mut operations = document.operations.iter();
            operations.any(|(_, one)| one.node.ty == async_graphql::parser::types::OperationType::Mutation)
        });
        if is_mutation {
            return Err(NoRequest::new(StatusCode::METHOD_NOT_ALLOWED, "a mutation is sent by POST"));
        }
    }
    let asker = Asker::new(gateway.app.clone(), caller, &request_id);
    Ok(gateway.schema.execute(request.data(asker)).await)
}

/// The parameters of a request, of the types that they have to be.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default)]
    #[allow(dead_code, reason = "a client may send them, and they are of this type; none is known")]
    extensions: Option<Map<String, Value>>,
    #[serde(skip)]
    is_get: bool,
}

impl Parameters {
    fn into_request(self) -> Request {
        let mut request = Request::new(self.query);
        if let Some(name) = self.operation_name {
            request = request.operation_name(name);
        }
        if let Some(variables) = self.variables {
            request = request.variables(Variables::from_json(Value::Object(variables)));
        }
        request
    }
}

fn of_body(body: &[u8]) -> Result<Parameters, NoRequest> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| bad(format!("the body is no JSON: {error}")))?;
    if !value.is_object() {
        return Err(bad("the body is not a JSON object with `query`".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| bad(error.to_string()))
}

fn of_query(query: &str) -> Result<Parameters, NoRequest> {
    let pairs: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let object = |name: &str| match pairs.get(name).map(String::as_str) {
        None | Some("" | "null") => Ok(Value::Null),
        Some(text) => serde_json::from_str(text).map_err(|error| bad(format!("{name}: {error}"))),
    };
    let body = json!({
        "query": pairs.get("query"),
        "operationName": pairs.get("operationName").filter(|name| !name.is_empty()),
        "variables": object("variables")?,
        "extensions": object("extensions")?,
    });
    let parameters: Parameters = serde_json::from_value(body).map_err(|error| bad(error.to_string()))?;
    Ok(Parameters { is_get: true, ..parameters })
}

fn bad(why: String) -> NoRequest {
    ApiError::Malformed(why).into()
}

/// Why nothing was executed.
struct NoRequest {
    status: StatusCode,
    code: String,
    why: String,
    hint: &'static str,
}

impl NoRequest {
    fn new(status: StatusCode, why: &str) -> Self {
        Self { status, ..Self::from(ApiError::Malformed(why.to_owned())) }
    }

    fn into_response_as(self, media_type: &'static str) -> Response {
        let error = json!({ "message": self.why, "extensions": { "code": self.code, "hint": self.hint } });
        let mut response = json_response(&json!({ "errors": [error] }), self.status, media_type);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

impl From<ApiError> for NoRequest {
    fn from(error: ApiError) -> Self {
        let (code, why, hint) = error.told();
        Self { status: error.into_response().status(), code, why, hint }
    }
}

fn told(answer: &Answer, media_type: &'static str) -> Response {
    // Where every error is of the document, nothing was executed, and there is no data to tell of.
    let was_executed = answer.errors.is_empty() || answer.errors.iter().any(|error| !error.path.is_empty());
    let mut body = serde_json::to_value(answer).unwrap_or_default();
    if !was_executed && let Some(body) = body.as_object_mut() {
        body.remove("data");
    }
    let status = if was_executed || media_type == JSON { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    json_response(&body, status, media_type)
}

fn json_response(body: &Value, status: StatusCode, media_type: &'static str) -> Response {
    let kind = format!("{media_type}; charset=utf-8");
    let mut response = (status, body.to_string()).into_response();
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// The media type that the client prefers of the two there are; the older one where it does not say.
fn accepted(headers: &HeaderMap) -> &'static str {
    let header = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut best = (JSON, 0.0);
    for one in header.split(',') {
        let mut parts = one.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight =
            parts.find_map(|part| part.strip_prefix("q=")).and_then(|text| text.parse().ok()).unwrap_or(1.0);
        let named = match kind.as_str() {
            RESPONSE_JSON => RESPONSE_JSON,
            JSON | "*/*" | "application/*" => JSON,
            _ => continue,
        };
        if weight > best.1 {
            best = (named, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_gets_the_media_type_that_it_prefers() {
        let accepts = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(text).unwrap());
            accepted(&headers)
        };
        assert_eq!(accepted(&HeaderMap::new()), JSON);
        assert_eq!(accepts("*/*"), JSON);
        assert_eq!(accepts("application/graphql-response+json"), RESPONSE_JSON);
        assert_eq!(accepts("application/graphql-response+json, application/json;q=0.9"), RESPONSE_JSON);
        assert_eq!(accepts("application/json, application/graphql-response+json;q=0.5"), JSON);
    }

    #[test]
    fn browser_gets_a_page_and_clients_get_data() {
        let wants = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(text).unwrap());
            wants_a_page(&headers)
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!wants_a_page(&HeaderMap::new()));
        for accept in ["*/*", "application/json", "application/graphql-response+json, text/html"] {
            assert!(!wants(accept), "{accept}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_by_its_parameter() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"query":1}"#,
            r#"{"query":"{a}","variables":[]}"#,
            r#"{"query":"{a}","operationName":{}}"#,
        ] {
            assert!(of_body(body.as_bytes()).is_err(), "{body}");
        }
        assert!(of_body(br#"{"query":"{a}","variables":null,"operationName":null,"extensions":{}}"#).is_ok());
        assert!(of_query("query=%7Ba%7D&variables=1").is_err());
        assert!(of_query("query=%7Ba%7D&variables=%7B%7D").is_ok_and(|one| one.is_get));
    }
}
