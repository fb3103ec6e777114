//! The HTTP server: hyper, held to limits that a slow or hostile client cannot use up.
//!
//! A client has [`Timeouts::head`] to send a request's head, also after the one before, [`Timeouts::body`] for its body,
//! and is cut off when it takes nothing of an answer for [`Timeouts::write`]. Where as many connections are open as may
//! be, in all or from one address, a new one takes the place of the oldest that waits for its client, so that half-sent
//! requests keep nobody out. Only where every one of them is being answered is the new one refused, with 503.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tower::ServiceExt;

use crate::limits::network;

/// Nothing can be taken just now, mostly because this process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To send the head of a request, counted from the connection or the answer before.
    pub head: Duration,
    /// To send its body: 256 KiB in 30 s are less than 9 KiB a second.
    pub body: Duration,
    /// To take anything at all of an answer: long enough for a phone that goes through a tunnel.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { head: seconds(10), body: seconds(30), write: seconds(30) }
    }
}

/// How many connections may be open.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    connections: usize,
    per_address: usize,
}

impl Capacity {
    /// Room for every stream and as many requests beside them.
    const MOST: usize = 2 * crate::streams::WATCHERS;

    /// For a process that may open this many files. A quarter of them stays for everything that is not a connection: the
    /// store, Temporal, the vendors. A proxy has one address, so one address has half of the rest.
    pub fn for_open_files(files: usize) -> Self {
        let connections = (files - files / 4).clamp(2, Self::MOST);
        Self { connections, per_address: connections / 2 }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::for_open_files(usize::MAX)
    }
}

/// Serves until it is told to stop and everything that was begun is answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    capacity: Capacity,
    timeouts: Timeouts,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections { capacity, open: Mutex::default() });
    let mut tasks = JoinSet::new();
    let told = stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            // An error means that nobody is left who could want more.
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small events must not wait for each other; where it cannot be set they only come later.
        drop(stream.set_nodelay(true));
        match connections.admit(address.ip()) {
            Some(place) => {
                tasks.spawn(answer(stream, address, place, router.clone(), timeouts, told.clone()));
            }
            None => drop(stream.try_write(FULL)),
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Answers one connection's requests until either side has had enough.
async fn answer(
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    router: Router,
    timeouts: Timeouts,
    mut stopping: watch::Receiver<bool>,
) {
    let connection = &place.connection;
    let stream = PatientStream { stream, patience: timeouts.write, stuck: None };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(|body| {
            let until = tokio::time::sleep(timeouts.body);
            Body::new(Received::new(body, until, Arc::clone(connection)))
        });
        request.extensions_mut().insert(ConnectInfo(address));
        let answer = router.clone().oneshot(request);
        async move {
            let Ok(response) = answer.await;
            Ok::<_, Infallible>(response.map(|body| Sent { body, connection: Arc::clone(connection) }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .serve_connection(TokioIo::new(stream), service)
        // A subscription leaves HTTP for a socket of its own.
        .with_upgrades();
    let mut served = pin!(served);
    let mut stops = false;
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = connection.closed.notified() => return,
            _ = stopping.wait_for(|stop| *stop), if !stops => {
                stops = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Every open connection.
struct Connections {
    capacity: Capacity,
    open: Mutex<Open>,
}

/// By a number that grows, so the oldest comes first.
#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

struct Connection {
    network: IpAddr,
    /// Whether nothing can be done before the client sends more.
    waits: AtomicBool,
    /// Another connection has its place.
    closed: Notify,
}

/// A connection's place among the others, until it is dropped.
struct Place {
    number: u64,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Connections {
    /// A place for a connection from there, if need be that of one that waits for its client; `None` where there is none.
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = open.connections.values().filter(|one| one.network == network).count();
        let is_full_there = from_there >= self.capacity.per_address;
        if is_full_there || open.connections.len() >= self.capacity.connections {
            let mut oldest = open.connections.iter();
            let waits = |one: &Connection| one.waits.load(Ordering::Relaxed);
            let (number, _) =
                oldest.find(|(_, one)| waits(one) && (!is_full_there || one.network == network))?;
            let number = *number;
            open.connections.remove(&number)?.closed.notify_one();
        }
        let number = open.next;
        open.next += 1;
        let connection =
            Arc::new(Connection { network, waits: AtomicBool::new(true), closed: Notify::new() });
        open.connections.insert(number, Arc::clone(&connection));
        Some(Place { number, connection, connections: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections.remove(&self.number);
    }
}

/// A request's body, for as long as it may take. From its end on the connection no longer waits for its client.
struct Received {
    body: Incoming,
    until: Pin<Box<Sleep>>,
    connection: Arc<Connection>,
}

impl Received {
    fn new(body: Incoming, until: Sleep, connection: Arc<Connection>) -> Self {
        connection.waits.store(!body.is_end_stream(), Ordering::Relaxed);
        Self { body, until: Box::pin(until), connection }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.until.as_mut().poll(cx).map(|()| {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
                Some(Err(late.into()))
            });
        };
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    /// Whoever read it has all that they want.
    fn drop(&mut self) {
        self.connection.waits.store(false, Ordering::Relaxed);
    }
}

/// An answer's body. When it is sent the connection waits for the next request.
struct Sent {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.connection.waits.store(true, Ordering::Relaxed);
    }
}

/// A connection that fails when the other side takes nothing of what it is sent for too long. The operating system
/// might never give up.
struct PatientStream {
    stream: TcpStream,
    patience: Duration,
    /// Runs while the other side takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl PatientStream {
    /// Passes on what a write came to, and fails one that has waited too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            return outcome;
        }
        let until = Instant::now() + self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match stuck.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
