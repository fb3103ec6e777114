//! The catalog over GraphQL: `POST` and `GET /graphql` (GraphQL over HTTP), `/graphql/ws` (graphql-transport-ws), and the
//! schema at `/graphql/schema.graphql`.
//!
//! A gateway, and nothing beside it: every resolver asks what the API's handlers ask, with the caller's rights, and an
//! error is the API's own, its problem type in `extensions.code`. The organisation is the query parameter `org`,
//! `default` where it is left out.

mod http;
mod loader;
mod schema;
mod subscribe;

use std::sync::{Arc, LazyLock};

use async_graphql::Schema;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get},
};
use serde_json::Value;

use crate::{App, auth::Caller, call::Call, error::ApiError, ui::Pages};

pub(crate) use http::typed;

use loader::RunsLoader;

/// Largest request body, and largest message of a socket.
pub(crate) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Deepest selection.
const DEPTH_LIMIT: usize = 12;
/// Most fields, those of a list counted as often as the list may be long.
const COMPLEXITY_LIMIT: usize = 1_000;

type CatalogSchema = Schema<schema::Query, schema::Mutation, subscribe::Subscription>;

/// Who asks, for one operation.
#[derive(Clone)]
struct Asker {
    app: App,
    caller: Caller,
    /// What tells this request from others, for the keys of what it writes.
    request: Arc<str>,
    runs: Arc<RunsLoader>,
}

impl Asker {
    fn new(app: App, caller: Caller, request: &str) -> Self {
        Self { app, caller, request: Arc::from(request), runs: Arc::default() }
    }

    /// A request to the API by whoever asks; `field` tells several of one operation from each other.
    fn call(&self, field: &str, body: &Value) -> Call {
        Call::by_door(
            self.app.clone(),
            self.caller.clone(),
            format!("graphql/{}/{field}", self.request),
            &[],
            body,
        )
    }
}

/// An error of the API as GraphQL tells it.
fn problem(error: &ApiError) -> async_graphql::Error {
    let (code, detail, hint) = error.told();
    let mut told = async_graphql::Error::new(detail);
    let extensions = told.extensions.get_or_insert_default();
    extensions.set("code", code);
    extensions.set("hint", hint);
    told
}

fn schema() -> CatalogSchema {
    static SCHEMA: LazyLock<CatalogSchema> = LazyLock::new(|| {
        Schema::build(schema::Query, schema::Mutation, subscribe::Subscription)
            .limit_depth(DEPTH_LIMIT)
            .limit_complexity(COMPLEXITY_LIMIT)
            .finish()
    });
    SCHEMA.clone()
}

/// What the schema says of itself, in its own language.
pub(crate) fn sdl() -> String {
    Schema::build(schema::Query, schema::Mutation, subscribe::Subscription).finish().sdl()
}

/// The routes of GraphQL.
pub(crate) fn routes(app: App, pages: Pages) -> Router {
    let schema = schema();
    Router::new()
        .route("/graphql", any(http::graphql))
        .route("/graphql/ws", get(subscribe::socket))
        .route("/graphql/schema.graphql", get(async || sdl()))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(http::Gateway { app, schema, pages })
}
