//! The `/_sandbox` routes every stand-in has: requests, state and faults.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::server::Served;
use crate::stand_in::{self, StandIn};

/// The routes, with those only this vendor has.
pub(crate) fn routes<S: StandIn>(served: Arc<Served<S>>) -> Router {
    let own = Arc::clone(&served.stand_in).inspection();
    Router::new()
        .route("/_sandbox/requests", get(requests::<S>))
        .route("/_sandbox/state", get(state::<S>))
        .route("/_sandbox/limits", get(limits::<S>).post(set_limits::<S>))
        .route("/_sandbox/faults", get(faults::<S>).post(add_fault::<S>).delete(clear_faults::<S>))
        .with_state(served)
        .merge(own)
}

async fn requests<S: StandIn>(State(served): State<Arc<Served<S>>>) -> Json<Value> {
    Json(served.requests.to_json())
}

async fn state<S: StandIn>(State(served): State<Arc<Served<S>>>) -> Json<Value> {
    Json(served.stand_in.state())
}

async fn limits<S: StandIn>(State(served): State<Arc<Served<S>>>) -> Json<Value> {
    Json(served.limits.to_json())
}

async fn set_limits<S: StandIn>(State(served): State<Arc<Served<S>>>, body: String) -> Response {
    let order = serde_json::from_str(&body).unwrap_or_default();
    match served.limits.set(&order) {
        Ok(()) => stand_in::json(StatusCode::OK, served.limits.to_json()),
        Err(error) => stand_in::json(StatusCode::BAD_REQUEST, json!({ "error": error })),
    }
}

async fn faults<S: StandIn>(State(served): State<Arc<Served<S>>>) -> Json<Value> {
    Json(json!({"faults": served.faults.to_json()}))
}

async fn add_fault<S: StandIn>(State(served): State<Arc<Served<S>>>, body: String) -> Response {
    let fault = serde_json::from_str::<Value>(&body)
        .map_err(|error| format!("the body is not JSON: {error}"))
        .and_then(|value| Fault::parse(&value));
    match fault {
        Ok(fault) => {
            served.faults.add(fault);
            stand_in::json(StatusCode::CREATED, json!({"faults": served.faults.to_json()}))
        }
        Err(error) => stand_in::json(StatusCode::BAD_REQUEST, json!({"error": error})),
    }
}

async fn clear_faults<S: StandIn>(State(served): State<Arc<Served<S>>>) -> StatusCode {
    served.faults.clear();
    StatusCode::NO_CONTENT
}
