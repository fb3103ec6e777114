//! The one connection of this process that writes, and the commit that writers share.
//!
//! Writers take turns on it, in the order they came. Each turn but the first is a savepoint in a transaction that holds
//! other turns; what a turn refuses or fails at is rolled back to its savepoint and leaves the others alone. Who finds
//! nobody waiting behind them commits; otherwise the next ones are let in first, and all are acknowledged by one
//! commit, so that many writers pay for one sync of the disk. Nobody is acknowledged before it, not even with a
//! refusal, which may rest on what another turn wrote.
//!
//! A turn that is dropped half-way (its caller was cancelled) is rolled back by whoever comes next, and a task commits
//! what nobody is left to commit. Where the commit fails, everybody in it is told so, and nothing of it is there.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard, watch},
    task::JoinHandle,
};

use super::{is_unwritable, schema, unavailable};
use crate::{sql::reason, store::LogError};

/// Turns in one commit: other processes wait for the file meanwhile.
const MOST_TURNS: usize = 64;

/// How often the others are let go on before a commit that fewer share than the last. They are on the run queues of the
/// runtime's threads; each time lets each thread take up some of them.
const YIELDS: usize = 16;

/// What became of a commit: `None` while it is open, else whether it holds, or why not.
type Outcome = Option<Result<(), Failed>>;

/// Why a commit failed, for everybody who is in it.
#[derive(Clone)]
struct Failed {
    /// It is the disk, not another process.
    is_unwritable: bool,
    why: Arc<str>,
}

impl Failed {
    fn of(error: &sqlx::Error) -> Self {
        Self { is_unwritable: is_unwritable(error), why: reason(error).into() }
    }
}

impl From<Failed> for LogError {
    fn from(failed: Failed) -> Self {
        let reason = failed.why.to_string();
        if failed.is_unwritable { Self::Unwritable { reason } } else { Self::Unavailable(reason.into()) }
    }
}

/// The writer of a file.
pub(super) struct Writer {
    lane: Arc<Lane>,
    /// Commits what nobody is left to commit.
    sweeper: JoinHandle<()>,
}

struct Lane {
    /// Fair: turns are taken in the order they were asked for.
    state: Arc<Mutex<State>>,
    /// How many wait for their turn.
    waiting: AtomicUsize,
    /// There may be something that nobody commits.
    left_over: Notify,
}

struct State {
    connection: SqliteConnection,
    /// Invariant: `Some` exactly while a transaction is open.
    batch: Option<Batch>,
    /// What the savepoint holds.
    savepoint: Savepoint,
    /// Turns of the last commit: as many are likely to ask again.
    last_turns: usize,
}

/// What a turn can be taken back to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// No turn is under way, and none has a savepoint.
    None,
    /// The first turn of a transaction is under way, or was dropped: the whole transaction is its own.
    Whole,
    /// The savepoint of a later turn that is under way, or was dropped.
    Open,
    /// What a turn wrote that stands. Whoever comes next releases it along with making their own, which saves a turn of
    /// the connection's thread.
    Kept,
}

struct Batch {
    turns: usize,
    outcome: watch::Sender<Outcome>,
}

/// A turn at writing. Everything on its connection is one unit; [`end`](Self::end) says whether it stands.
pub(super) struct Turn {
    state: OwnedMutexGuard<State>,
    lane: Arc<Lane>,
}

impl Writer {
    /// Opens the connection and brings the schema up to date.
    pub(super) async fn open(options: SqliteConnectOptions, path: &Path) -> Result<Self, LogError> {
        let mut connection = options.connect().await.map_err(|error| schema::failed(path, &error))?;
        schema::migrate(&mut connection, path).await?;
        let state = State { connection, batch: None, savepoint: Savepoint::None, last_turns: 0 };
        let lane = Arc::new(Lane {
            state: Arc::new(Mutex::new(state)),
            waiting: AtomicUsize::new(0),
            left_over: Notify::new(),
        });
        let swept = lane.clone();
        let sweeper = tokio::spawn(async move {
            loop {
                swept.left_over.notified().await;
                // Fair: whoever waited already is in the commit.
                swept.state.lock().await.commit().await;
            }
        });
        Ok(Self { lane, sweeper })
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Result<Turn, LogError> {
        let mut state = self.lane.enter().await;
        state.undo_dropped_turn().await;
        // Cancelled while it begins, it is a turn that was dropped.
        let mut turn = Turn { state, lane: self.lane.clone() };
        let state = &mut *turn.state;
        let (begin, savepoint) = match (&state.batch, state.savepoint) {
            (None, _) => ("BEGIN IMMEDIATE", Savepoint::Whole),
            (Some(_), Savepoint::Kept) => ("RELEASE turn; SAVEPOINT turn", Savepoint::Open),
            (Some(_), _) => ("SAVEPOINT turn", Savepoint::Open),
        };
        if state.batch.is_none() {
            state.savepoint = savepoint;
            state.batch = Some(Batch { turns: 0, outcome: watch::channel(None).0 });
        }
        if let Err(error) = sqlx::raw_sql(begin).execute(&mut state.connection).await {
            state.abandon(Failed::of(&error)).await;
            return Err(unavailable(error));
        }
        state.savepoint = savepoint;
        Ok(turn)
    }

    /// The connection outside of any transaction, nobody else writing.
    pub(super) async fn alone(&self) -> Alone {
        let mut state = self.lane.enter().await;
        state.commit().await;
        Alone(state)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl Lane {
    async fn enter(self: &Arc<Self>) -> OwnedMutexGuard<State> {
        let waiting = Waiting::new(self);
        let state = self.state.clone().lock_owned().await;
        drop(waiting);
        state
    }
}

/// One who waits; cancelled, they wait no more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.waiting.fetch_add(1, Ordering::SeqCst);
        Self(&lane.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sole use of the connection.
pub(super) struct Alone(OwnedMutexGuard<State>);

impl Alone {
    /// Outside of any transaction.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0.connection
    }
}

impl Turn {
    /// Inside the turn's savepoint.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.state.connection
    }

    /// Ends the turn: what it wrote stands if its result is good, and is durable when this returns.
    pub(super) async fn end<T>(mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        let is_alone = self.state.batch.as_ref().is_none_or(|batch| batch.turns == 0);
        if result.is_err() {
            if is_alone {
                self.state.abandon(Failed { is_unwritable: false, why: "rolled back".into() }).await;
                return result;
            }
            self.state.undo_dropped_turn().await;
        } else if let Some(batch) = &mut self.state.batch {
            batch.turns += 1;
        }
        let Some(outcome) = self.state.batch.as_ref().map(|batch| batch.outcome.subscribe()) else {
            // Undoing it took the whole transaction with it.
            return Err(LogError::Unavailable("the transaction was rolled back".into()));
        };
        self.state.savepoint = match self.state.savepoint {
            Savepoint::Open | Savepoint::Kept => Savepoint::Kept,
            Savepoint::Whole | Savepoint::None => Savepoint::None,
        };
        let turns = self.state.batch.as_ref().map_or(0, |batch| batch.turns);
        if turns >= MOST_TURNS || !self.has_company(turns).await {
            self.state.commit().await;
        }
        // Dropping lets the next in, and tells the sweeper where the transaction is still open.
        drop(self);
        committed(outcome).await?;
        result
    }

    /// Whether somebody waits for the next turn. Those who were acknowledged along with the last commit are about to
    /// ask again: they are given the time to, which is nothing where there was nobody.
    async fn has_company(&self, turns: usize) -> bool {
        for _ in 0..YIELDS {
            if self.lane.waiting.load(Ordering::SeqCst) > 0 {
                return true;
            }
            if turns >= self.state.last_turns {
                return false;
            }
            tokio::task::yield_now().await;
        }
        self.lane.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.state.batch.is_some() {
            self.lane.left_over.notify_one();
        }
    }
}

async fn committed(mut outcome: watch::Receiver<Outcome>) -> Result<(), LogError> {
    let gone = |_| LogError::Unavailable("the log was closed before it committed".into());
    let outcome = outcome.wait_for(Option::is_some).await.map_err(gone)?;
    match outcome.as_ref() {
        Some(Err(why)) => Err(why.clone().into()),
        _ => Ok(()),
    }
}

impl State {
    /// Takes back what a turn wrote that did not end. Where SQLite took back the whole transaction, so do we.
    async fn undo_dropped_turn(&mut self) {
        match self.savepoint {
            Savepoint::None | Savepoint::Kept => return,
            Savepoint::Whole => {
                return self.abandon(Failed { is_unwritable: false, why: "rolled back".into() }).await;
            }
            Savepoint::Open => self.savepoint = Savepoint::None,
        }
        let undone = sqlx::raw_sql("ROLLBACK TO turn; RELEASE turn").execute(&mut self.connection).await;
        if let Err(error) = undone {
            self.abandon(Failed::of(&error)).await;
        }
    }

    async fn commit(&mut self) {
        self.undo_dropped_turn().await;
        let Some(batch) = &self.batch else { return };
        self.last_turns = batch.turns;
        // Committing releases it.
        self.savepoint = Savepoint::None;
        match sqlx::raw_sql("COMMIT").execute(&mut self.connection).await {
            Ok(_) => self.tell(Ok(())),
            Err(error) => self.abandon(Failed::of(&error)).await,
        }
    }

    /// Rolls everything back and tells everybody why.
    async fn abandon(&mut self, why: Failed) {
        self.savepoint = Savepoint::None;
        // SQLite may have done so already, which is then all the same.
        let rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        if let Err(error) = rolled_back {
            tracing::debug!(%error, "nothing was left to roll back");
        }
        self.tell(Err(why));
    }

    fn tell(&mut self, outcome: Result<(), Failed>) {
        if let Some(batch) = self.batch.take() {
            batch.outcome.send_replace(Some(outcome));
        }
    }
}
