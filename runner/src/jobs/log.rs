//! The log of one container, from its beginning to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::client::{Api, Refused};
use super::manifest::CONTAINER;

/// Before a log that broke off is asked for again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often one is asked for once its container has ended.
const LAST_TRIES: u32 = 2;

/// Dropped, it is not read any more.
pub(super) struct Log {
    pieces: mpsc::Receiver<Vec<u8>>,
    over: watch::Sender<bool>,
    state: Arc<Mutex<State>>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Since when it is read.
    open_since: Option<Instant>,
    /// Why not all of it was read.
    problem: Option<String>,
}

impl Log {
    pub(super) fn follow(api: Arc<Api>, pod: String) -> Self {
        let (sender, pieces) = mpsc::channel(16);
        let (over, is_over) = watch::channel(false);
        let state = Arc::default();
        let reading = tokio::spawn(read(api, pod, sender, is_over, Arc::clone(&state)));
        Self { pieces, over, state, reading }
    }

    /// What comes next; `None` at its end. May be cancelled without losing a byte.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.pieces.recv().await
    }

    /// The container has ended: the log has an end.
    pub(super) fn over(&self) {
        self.over.send_if_modified(|over| !std::mem::replace(over, true));
    }

    /// Why not all of it was read, if so.
    pub(super) fn problem(&self) -> Option<String> {
        locked(&self.state).problem.clone()
    }

    /// Since when it is read; none while the request for it waits for its turn.
    pub(super) fn open_since(&self) -> Option<Instant> {
        locked(&self.state).open_since
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until the container has ended and all was read. A log that breaks off is read again from its beginning, less
/// what was taken already: it has no other place to go on from.
async fn read(
    api: Arc<Api>,
    pod: String,
    pieces: mpsc::Sender<Vec<u8>>,
    mut over: watch::Receiver<bool>,
    state: Arc<Mutex<State>>,
) {
    let mut taken = 0;
    let mut tries = 0;
    let path = format!("{}/{pod}/log?container={CONTAINER}&follow=true", api.pods());
    loop {
        let was_over = *over.borrow();
        let ended = match api.stream(&path).await {
            Ok(body) => {
                locked(&state).open_since.get_or_insert_with(Instant::now);
                once(body, &pieces, &mut taken).await
            }
            Err(refused) => Err(refused),
        };
        locked(&state).problem = ended.as_ref().err().map(ToString::to_string);
        tries += u32::from(was_over);
        match ended {
            // A log that ends with its container is whole.
            Ok(()) if was_over || *over.borrow() => return,
            Err(_) if tries >= LAST_TRIES => return,
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            changed = over.changed() => if changed.is_err() { return },
            () = sleep(AGAIN) => {}
        }
        if ended.is_ok() && *over.borrow() {
            return;
        }
    }
}

async fn once(mut body: Body, pieces: &mpsc::Sender<Vec<u8>>, taken: &mut u64) -> Result<(), Refused> {
    let mut at = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refused::Lost(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let known = usize::try_from(taken.saturating_sub(at)).unwrap_or(usize::MAX).min(data.len());
        at += data.len() as u64;
        if known < data.len() {
            *taken += (data.len() - known) as u64;
            if pieces.send(data[known..].to_vec()).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
