//! A server between a worker and the API server, which counts what passes, refuses everything, or loses an answer.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{Method, Request, Response, StatusCode},
};
use kube::Client;

/// See the module.
pub(crate) struct Counted {
    pub(crate) url: String,
    between: Between,
}

#[derive(Clone)]
struct Between {
    client: Client,
    passed: Arc<Mutex<Vec<(Instant, String)>>>,
    creations: Arc<AtomicU32>,
    refuses: Arc<AtomicBool>,
    loses: Arc<AtomicBool>,
}

impl Counted {
    pub(crate) async fn start(client: Client) -> Self {
        let between = Between {
            client,
            passed: Arc::default(),
            creations: Arc::default(),
            refuses: Arc::default(),
            loses: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(between.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, between }
    }

    /// Whether everything is refused.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.between.refuses.store(refuses, Ordering::SeqCst);
    }

    /// The answer to the next request that makes something is lost.
    pub(crate) fn lose_one_creation(&self) {
        self.between.loses.store(true, Ordering::SeqCst);
    }

    /// Requests that would make something, and reached the API server.
    pub(crate) fn creations(&self) -> u32 {
        self.between.creations.load(Ordering::SeqCst)
    }

    /// How many requests passed, and how many at most in any second.
    pub(crate) fn requests(&self) -> (usize, usize) {
        let passed = self.between.passed.lock().unwrap();
        let within = |from: Instant| {
            passed.iter().filter(|(at, _)| *at >= from && *at < from + Duration::from_secs(1)).count()
        };
        (passed.len(), passed.iter().map(|(at, _)| within(*at)).max().unwrap_or_default())
    }

    /// How many requests of each kind passed.
    pub(crate) fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (_, kind) in self.between.passed.lock().unwrap().iter() {
            *kinds.entry(kind.clone()).or_default() += 1;
        }
        kinds
    }
}

async fn pass(State(between): State<Between>, request: Request<Body>) -> Response<Body> {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let what = if ["events", "jobs", "log", "pods"].contains(&last) { last } else { "one" };
    between.passed.lock().unwrap().push((Instant::now(), format!("{} {what}", request.method())));
    if between.refuses.load(Ordering::SeqCst) {
        return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty()).unwrap();
    }
    let is_creation = request.method() == Method::POST;
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    for name in ["host", "authorization"] {
        parts.headers.remove(name);
    }
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = match between.client.send(request).await {
        Ok(answer) => answer,
        Err(error) => panic!("the API server: {error}"),
    };
    if is_creation {
        between.creations.fetch_add(1, Ordering::SeqCst);
        if between.loses.swap(false, Ordering::SeqCst) {
            let gone = async { Err::<Bytes, _>(io::Error::other("gone")) };
            return Response::new(Body::from_stream(futures_util::stream::once(gone)));
        }
    }
    answer.map(Body::new)
}
