//! The `/_sandbox` routes every stand-in has: requests, state and faults.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn};
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
        .layer(from_fn(not_from_other_sites))
}

/// What is asked for here acts as a person, so no page of another site may ask: it may send text or a form without
/// asking this server first, but its browser says where the request comes from.
async fn not_from_other_sites(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let own = format!("http://{}", text(header::HOST).unwrap_or_default());
    let foreign =
        headers.contains_key(header::ORIGIN) && text(header::ORIGIN).is_none_or(|origin| origin != own);
    let is_text = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/"));
    if request.method().is_safe() || !(foreign || is_text) {
        return next.run(request).await;
    }
    let (status, error) = if foreign {
        (
            StatusCode::FORBIDDEN,
            "this was sent by a page of another site; send it from here, or without Origin",
        )
    } else {
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON as application/json")
    };
    stand_in::json(status, json!({ "error": error }))
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
