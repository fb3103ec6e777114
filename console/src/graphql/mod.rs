//! The catalog over GraphQL: `POST` and `GET /graphql` (GraphQL over HTTP), `/graphql/ws` (graphql-transport-ws), and the
//! schema at `/graphql/schema.graphql`.
//!
//! A gateway, and nothing beside it: every resolver asks what the API's handlers ask, with the caller's rights, and an
//! error is the API's own, its problem type in `extensions.code`. The organisation is the query parameter `org`,
//! `default` where it is left out.

mod http;
mod schema;
mod subscribe;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use async_graphql::{
    Schema,
    dataloader::{DataLoader, Loader},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get},
};
use harmony_eventlog::catalog::StoredRun;
use harmony_incidents::ReleaseId;
use serde_json::Value;

use crate::{App, auth::Caller, call::Call, catalog::releases, error::ApiError, ui::Pages};

pub(crate) use http::typed;

/// Largest request body, and largest message of a socket.
pub(crate) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Deepest selection.
const DEPTH_LIMIT: usize = 12;
/// Most fields, those of a list counted as often as the list may be long.
const COMPLEXITY_LIMIT: usize = 1_000;

/// Most runs of one release.
const RUNS_LIMIT: u32 = 200;

type CatalogSchema = Schema<schema::Query, schema::Mutation, subscribe::Subscription>;

/// Who asks, for one operation.
#[derive(Clone)]
struct Asker {
    app: App,
    caller: Caller,
    /// What tells this request from others, for the keys of what it writes.
    request: Arc<str>,
    /// Reads the runs of all the releases that are asked for at once.
    runs: Arc<DataLoader<RunsLoader>>,
}

impl Asker {
    fn new(app: App, caller: Caller, request: &str) -> Self {
        let request = Arc::from(request);
        let asking = (app.clone(), caller.clone());
        let runs = Arc::new(DataLoader::new(RunsLoader(asking.0, asking.1), tokio::spawn));
        Self { app, caller, request, runs }
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

/// Runs by release, for whoever asks.
struct RunsLoader(App, Caller);

impl Loader<ReleaseId> for RunsLoader {
    type Value = Vec<StoredRun>;
    type Error = async_graphql::Error;

    async fn load(&self, releases: &[ReleaseId]) -> async_graphql::Result<HashMap<ReleaseId, Self::Value>> {
        let Self(app, caller) = self;
        let call = Call::by_door(app.clone(), caller.clone(), "graphql/runs".to_owned(), &[], &Value::Null);
        let limit = RUNS_LIMIT.saturating_mul(u32::try_from(releases.len()).unwrap_or(u32::MAX));
        let found = releases::runs_by_release(&call, releases, limit).await;
        Ok(found.map_err(|error| problem(&error))?.into_iter().collect())
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
