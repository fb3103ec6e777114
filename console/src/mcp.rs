//! `/mcp`: Harmony's tools for assistants, over the streamable HTTP transport of the Model Context Protocol.
//!
//! A tool is a request to our own API with the caller's own token, so an assistant may do what its person may, and
//! everything it does is judged and on record like theirs. What an assistant may never do has no tool: it approves
//! nothing, rejects nothing, passes no gate on, stops, resolves and signs off nothing.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, JsonObject, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde_json::{Map, Value, json};
use tower::ServiceExt;
use url::form_urlencoded;

use crate::{App, InputField, auth, auth::Caller, error::ApiError, ui};

/// Longest answer of the API that is handed on.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How a tool is carried out.
#[derive(Clone, Copy)]
enum Way {
    /// `GET` of a path, every argument but `org` and `id` in the query.
    Get(&'static str),
    /// `POST` to a path, every argument but `org` and `id` in the body.
    Post(&'static str),
    /// From what this process holds.
    Runbooks,
    /// From the figures of the pages.
    Metrics,
}

/// One tool.
struct Offer {
    name: &'static str,
    description: &'static str,
    way: Way,
    /// Name, description, type, required.
    arguments: &'static [(&'static str, &'static str, &'static str, bool)],
}

const ID: (&str, &str, &str, bool) = ("id", "Incident, such as INC-2026-0001.", "string", true);

const OFFERS: &[Offer] = &[
    Offer {
        name: "list_incidents",
        description: "List incidents, newest first.",
        way: Way::Get("/incidents"),
        arguments: &[
            ("status", "OPEN, INVESTIGATING, MITIGATED, RESOLVED or CANCELLED.", "string", false),
            ("severity", "P1, P2, P3 or P4.", "string", false),
            ("searchQuery", "Part of a title.", "string", false),
            ("limit", "1 to 200.", "integer", false),
            ("cursor", "nextCursor of the page before.", "string", false),
        ],
    },
    Offer {
        name: "get_incident",
        description: "Read one incident: state, phase, blueprints and their steps, the gate that waits, people, links.",
        way: Way::Get("/incidents/{id}"),
        arguments: &[ID],
    },
    Offer {
        name: "get_timeline",
        description: "Read the records of an incident, oldest first.",
        way: Way::Get("/incidents/{id}/events"),
        arguments: &[
            ID,
            ("after", "The seq to begin after.", "integer", false),
            ("limit", "1 to 1000.", "integer", false),
        ],
    },
    Offer {
        name: "query_timeline",
        description: "Read the timeline of an incident as sentences, oldest first.",
        way: Way::Get("/incidents/{id}/timeline"),
        arguments: &[
            ID,
            ("after", "The seq to begin after.", "integer", false),
            ("kinds", "Only these kinds of record, such as APPROVAL_DECIDED.", "array", false),
            ("limit", "1 to 1000.", "integer", false),
        ],
    },
    Offer {
        name: "get_changes",
        description: "Read what changed before an incident: the releases that people linked to it, and those that are suspected with the reason.",
        way: Way::Get("/incidents/{id}/changes"),
        arguments: &[ID],
    },
    Offer {
        name: "record_timeline",
        description: "Put one fact on the timeline of an incident: a note, an action, a signal, a violated objective, a tag or a ticket.",
        way: Way::Post("/incidents/{id}/timeline"),
        arguments: &[
            ID,
            ("key", "The same key with the same fact is one record.", "string", false),
            (
                "payload",
                "One member named by the kind, such as {\"incidentNoteAdded\": {\"note\": \"…\"}}.",
                "object",
                true,
            ),
        ],
    },
    Offer {
        name: "list_runbooks",
        description: "List the runbooks and the cells of each.",
        way: Way::Runbooks,
        arguments: &[],
    },
    Offer {
        name: "get_metrics",
        description: "Counts of incidents, and median seconds to acknowledge, mitigate and resolve, by severity and month; and by service the change failure rate and the median seconds to recover.",
        way: Way::Metrics,
        arguments: &[],
    },
    Offer {
        name: "declare_incident",
        description: "Declare an incident. People are told and paged at once.",
        way: Way::Post("/incidents"),
        arguments: &[
            ("title", "What is wrong, in one line.", "string", true),
            ("severity", "P1 (critical) to P4 (low).", "string", true),
            ("summary", "What is known so far.", "string", false),
            ("serviceName", "The service that is hit.", "string", false),
            ("environment", "Such as production.", "string", false),
            ("impactedServices", "Public names of what is affected.", "array", false),
        ],
    },
    Offer {
        name: "add_note",
        description: "Add a note to an incident.",
        way: Way::Post("/incidents/{id}/notes"),
        arguments: &[ID, ("note", "What was seen or done.", "string", true)],
    },
    Offer {
        name: "propose_remediation",
        description: "Propose to run a runbook. Nothing runs before a person who may has approved exactly it.",
        way: Way::Post("/incidents/{id}/remediate"),
        arguments: &[
            ID,
            ("runbook", "Path, as list_runbooks shows it.", "string", true),
            ("cells", "Cells to run, in order; all of them where none is named.", "array", false),
            ("verify", "Cells that check that it worked.", "array", false),
            ("inputs", "Values of the inputs that the runbook declares, by name.", "object", false),
        ],
    },
];

/// What answers an assistant.
#[derive(Clone)]
struct Assistant {
    app: App,
    api: Router,
}

/// The route `/mcp`.
pub(crate) fn routes(app: App, api: Router) -> Router {
    let assistant = Assistant { app: app.clone(), api };
    // Without sessions every request stands alone, and any replica answers it. A page of another site has no token,
    // and is refused before anybody looks for one.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(crate::BODY_LIMIT_BYTES)
        .with_allowed_hosts(app.doors.site.hosts.clone())
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*"]);
    let service = StreamableHttpService::new(
        move || Ok(assistant.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new().route_service("/mcp", service).layer(axum::middleware::from_fn_with_state(app, known))
}

/// Nobody gets in without a token of somebody.
async fn known(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Err(error) = auth::known(&app, request.headers()).await {
        return error.into_response();
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let answer = next.run(request).await;
    if is_json && answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // The library says so of a body that it cannot read, whatever its type.
        let error = json!({ "code": -32700, "message": "the body is not one JSON-RPC message" });
        let body = json!({ "jsonrpc": "2.0", "id": null, "error": error });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    answer
}

impl ServerHandler for Assistant {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("harmony", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Incidents from declaration to a signed-off review. You may read, declare, note and propose; people \
                 approve.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(OFFERS.iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let offer = OFFERS
            .iter()
            .find(|offer| offer.name == asked.name)
            .ok_or_else(|| ErrorData::invalid_params(format!("there is no tool {:?}", asked.name), None))?;
        let authorization = context
            .extensions
            .get::<Parts>()
            .and_then(|parts| parts.headers.get(header::AUTHORIZATION).cloned())
            .ok_or_else(|| ErrorData::invalid_request("there is no token", None))?;
        let arguments = asked.arguments.unwrap_or_default();
        let answer = match check(offer, &arguments) {
            Ok(()) => self.carry_out(offer, arguments, authorization).await,
            Err(wrong) => Err(problem(ApiError::Invalid(wrong))),
        };
        let result = match answer {
            Ok(answer) => CallToolResult::structured(answer),
            Err(problem) => CallToolResult::structured_error(problem),
        };
        Ok(result.into())
    }
}

impl Assistant {
    /// What the API answers; the error is its problem document.
    async fn carry_out(
        &self,
        offer: &Offer,
        mut arguments: JsonObject,
        authorization: HeaderValue,
    ) -> Result<Value, Value> {
        let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
        let org = text(arguments.remove("org")).unwrap_or_else(|| "default".to_owned());
        let id = text(arguments.remove("id")).unwrap_or_default();
        let path = match offer.way {
            Way::Get(path) | Way::Post(path) => path.replace("{id}", &ui::encoded(&id)),
            Way::Runbooks => return self.caller(&authorization, &org).await.map(|_| self.runbooks()),
            Way::Metrics => {
                let caller = self.caller(&authorization, &org).await?;
                return ui::insights::metrics(&self.app, &caller.org).await.map_err(problem);
            }
        };
        let mut address = format!("/api/orgs/{}{path}", ui::encoded(&org));
        let (method, body) = match offer.way {
            Way::Post(_) => (Method::POST, Value::Object(arguments).to_string()),
            _ => {
                address.push_str(&query(&arguments));
                (Method::GET, String::new())
            }
        };
        let request = Request::builder()
            .method(method)
            .uri(address)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| problem(ApiError::Malformed(error.to_string())))?;
        let Ok(answer) = self.api.clone().oneshot(request).await;
        let good = answer.status().is_success();
        let bytes = to_bytes(answer.into_body(), ANSWER_BYTES).await.unwrap_or_default();
        match serde_json::from_slice(&bytes) {
            Ok(value @ Value::Object(_)) if good => Ok(value),
            Ok(value @ Value::Object(_)) => Err(value),
            Ok(_) | Err(_) => Err(problem(ApiError::NotFound("there is nothing under this id".to_owned()))),
        }
    }

    async fn caller(&self, authorization: &HeaderValue, org: &str) -> Result<Caller, Value> {
        let headers = [(header::AUTHORIZATION, authorization.clone())].into_iter().collect();
        let caller = Caller::authenticate(&self.app, &headers, org).await.map_err(problem)?;
        self.app.limits.count(&caller.principal.id).map_err(problem)?;
        caller.require(harmony_incidents::Right::Read, None).map_err(problem)?;
        Ok(caller)
    }

    fn runbooks(&self) -> Value {
        let shelf = &self.app.doors.runbooks;
        let one = |path: String| {
            let contents = shelf.text(&path).and_then(|text| shelf.contents(&text));
            let input = |input: &InputField| json!({ "name": input.name, "takes": input.takes, "default": input.default });
            match contents {
                Ok(contents) => {
                    let cells: Vec<&String> = contents.cells.iter().map(|cell| &cell.name).collect();
                    let inputs: Vec<Value> = contents.inputs.iter().map(input).collect();
                    json!({ "path": path, "cells": cells, "inputs": inputs })
                }
                Err(error) => json!({ "path": path, "problem": error }),
            }
        };
        json!({ "runbooks": shelf.list().into_iter().map(one).collect::<Vec<_>>() })
    }
}

/// The problem document of an error.
fn problem(error: ApiError) -> Value {
    let (status, title, detail, hint) = error.for_page();
    json!({ "status": status.as_u16(), "title": title, "detail": detail, "hint": hint })
}

fn query(arguments: &JsonObject) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in arguments {
        match value {
            Value::Null => {}
            Value::String(text) => drop(query.append_pair(name, text)),
            Value::Array(list) => {
                for text in list.iter().filter_map(Value::as_str) {
                    query.append_pair(name, text);
                }
            }
            other => drop(query.append_pair(name, &other.to_string())),
        }
    }
    format!("?{}", query.finish())
}

/// Holds a call to what the tool says it takes; the error names the argument.
fn check(offer: &Offer, arguments: &JsonObject) -> Result<(), String> {
    let known = |name: &str| offer.arguments.iter().find(|(known, ..)| *known == name);
    for (name, value) in arguments {
        let kind = match known(name) {
            Some((_, _, kind, _)) => kind,
            None if name == "org" => "string",
            None => {
                let names: Vec<&str> =
                    offer.arguments.iter().map(|(name, ..)| *name).chain(["org"]).collect();
                return Err(format!("{} takes no {name:?}, only {}", offer.name, names.join(", ")));
            }
        };
        let fits = match kind {
            "integer" => value.is_i64() || value.is_u64(),
            "array" => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            "object" => value.is_object(),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        if !fits {
            let wanted = match kind {
                "integer" => "an integer",
                "array" => "an array of strings",
                "object" => "an object",
                _ => "a string that is not empty",
            };
            return Err(format!("{name} is {wanted}"));
        }
    }
    let missing = |name: &str| !arguments.contains_key(name);
    match offer.arguments.iter().find(|(name, _, _, required)| *required && missing(name)) {
        Some((name, ..)) => Err(format!("{} needs {name:?}", offer.name)),
        None => Ok(()),
    }
}

fn tool(offer: &Offer) -> Tool {
    let mut properties = Map::new();
    properties.insert(
        "org".to_owned(),
        json!({ "type": "string", "minLength": 1, "description": "Organisation; `default` where none is named." }),
    );
    for (name, description, kind, _) in offer.arguments {
        let mut schema = json!({ "type": kind, "description": description });
        match *kind {
            "array" => schema["items"] = json!({ "type": "string" }),
            "string" => schema["minLength"] = json!(1),
            _ => {}
        }
        properties.insert((*name).to_owned(), schema);
    }
    let required: Vec<&str> =
        offer.arguments.iter().filter(|(_, _, _, required)| *required).map(|(name, ..)| *name).collect();
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("required".to_owned(), json!(required));
    schema.insert("additionalProperties".to_owned(), json!(false));
    let reads = !matches!(offer.way, Way::Post(_));
    let mut tool = Tool::new(offer.name, offer.description, schema);
    tool.annotations = Some(ToolAnnotations::new().read_only(reads).destructive(false));
    tool
}
