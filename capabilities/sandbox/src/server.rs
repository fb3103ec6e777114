//! One stand-in's server: binds, accepts, and takes every request the same way: read it
//! completely, record it, look for a fault, let the vendor work, answer.
//!
//! The work runs on a task of its own, so that a client that hangs up cannot undo or prevent
//! it. A cut connection is one whose service fails: nothing is written, the socket closes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use crate::call::Call;
use crate::faults::{FaultKind, Faults};
use crate::inspection;
use crate::keep::{Keeper, Save};
use crate::limits::Limits;
use crate::overview;
use crate::requests::RequestLog;
use crate::stand_in::StandIn;

/// Above the largest body a vendor here takes (Confluence, 5 MB), so that it is the vendor's
/// rule that refuses.
const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Pause after a failed accept (no file handles left, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound port that nobody serves yet.
pub(crate) struct Listener {
    listener: TcpListener,
    origin: String,
}

/// A running server. Dropping it closes the port and every connection, and writes down what is to be kept.
pub(crate) struct Server {
    accepting: JoinHandle<()>,
    keeping: Option<(JoinHandle<()>, Arc<dyn Save>)>,
}

/// What the handlers of one server share.
pub(crate) struct Served<S> {
    pub(crate) stand_in: Arc<S>,
    pub(crate) requests: RequestLog,
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
}

impl Listener {
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("127.0.0.1:{port}: {error}")))?;
        let origin = format!("http://{}", listener.local_addr()?);
        Ok(Self { listener, origin })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Serves from now on; with a folder the stand-in goes on from what it remembered there.
    pub(crate) fn serve<S: StandIn>(self, stand_in: S, folder: Option<&Path>) -> io::Result<Server> {
        let stand_in = Arc::new(stand_in);
        let keeping = match folder {
            Some(folder) => {
                let file = folder.join(format!("{}.json", S::NAME.to_ascii_lowercase()));
                let keeper = Arc::new(Keeper::take_up(Arc::clone(&stand_in), file)?);
                Some((tokio::spawn(Arc::clone(&keeper).keep()), keeper as Arc<dyn Save>))
            }
            None => None,
        };
        let served = Arc::new(Served {
            stand_in,
            requests: RequestLog::default(),
            faults: Faults::default(),
            limits: Limits::default(),
        });
        let router = inspection::routes(Arc::clone(&served))
            .merge(Router::new().fallback(take_request::<S>).with_state(served));
        Ok(Server { accepting: tokio::spawn(accept(self.listener, router)), keeping })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("keeps", &self.keeping.is_some()).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Some((writing, keeper)) = &self.keeping {
            writing.abort();
            keeper.save();
        }
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = match router.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            match response.extensions().get::<Cut>() {
                Some(_) => Err(Cut),
                None => Ok(response),
            }
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Marks an answer that must not be sent: the connection is cut instead.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is cut, as ordered")]
struct Cut;

async fn take_request<S: StandIn>(State(served): State<Arc<Served<S>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_LIMIT_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = Call::new(head.method, &head.uri, head.headers, &bytes);
    if let Some(page) = page_for_people(&*served.stand_in, &call) {
        return page;
    }
    let task = tokio::spawn(async move { carry_out(&served, &call).await });
    task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn page_for_people<S: StandIn>(stand_in: &S, call: &Call) -> Option<Response> {
    if call.path.starts_with("/_sandbox") {
        return Some((StatusCode::NOT_FOUND, "no such inspection route").into_response());
    }
    if call.method != Method::GET {
        return None;
    }
    if let Some(page) = stand_in.page(call) {
        return Some(page);
    }
    match call.path.as_str() {
        "/" => {
            let title = format!("{} (sandbox)", S::NAME);
            Some(overview::document(&title, &stand_in.overview()))
        }
        "/favicon.ico" => Some(StatusCode::NOT_FOUND.into_response()),
        _ => None,
    }
}

async fn carry_out<S: StandIn>(served: &Served<S>, call: &Call) -> Response {
    let stand_in = &*served.stand_in;
    served.requests.record(call, stand_in.idempotency_key(call));
    let kind = stand_in.limited_as(call);
    served.limits.came(&kind);
    let fault = served.faults.take(call).or_else(|| {
        let rate = stand_in.rate(call)?;
        served.limits.take(&kind, rate).map(FaultKind::RateLimit)
    });
    match fault {
        None => stand_in.answer(call),
        Some(FaultKind::Status(status)) => stand_in.failure(status),
        Some(FaultKind::RateLimit(seconds)) => {
            served.limits.refused(&kind, seconds);
            stand_in.rate_limited(seconds)
        }
        Some(FaultKind::DropBefore) => cut(),
        Some(FaultKind::DropAfter) => {
            stand_in.answer(call);
            cut()
        }
        Some(FaultKind::Delay(delay)) => {
            let answer = stand_in.answer(call);
            tokio::time::sleep(delay).await;
            answer
        }
        Some(FaultKind::DelayWork(delay)) => {
            tokio::time::sleep(delay).await;
            stand_in.answer(call)
        }
    }
}

fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}
