//! What running cells print, on its way to whoever looks: from the runbook pool to the console.
//!
//! All cells of this process share one round: what they printed since the last is handed on together, at most every
//! [`ROUND`] and at most 64 KiB of each cell, whatever they print. Where the console is slow or away, the pieces are lost
//! and the rounds wait; cells never do. At its end a cell hands in the whole, whose SHA-256 goes on record; where that
//! cannot be kept, the record has the end of the output alone.
//!
//! None of it goes through the workflow.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use harmony_incidents::ticket::OutputTicket;
use harmony_runner::{Piece, Printed};
use tokio::sync::Semaphore;

/// Shortest time between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// How long the end of a cell waits for its output to be handed in. The activity has 20 s beyond the cell's own time, and
/// killing it may take 11 of them.
const HAND_IN: Duration = Duration::from_secs(6);
/// Whole outputs that are in memory at the same time, each up to 10 MiB.
const WHOLE_AT_ONCE: usize = 4;

/// Takes what cells print.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// What cells printed lately. An error says why nobody sees it.
    async fn pieces(&self, pieces: &[CellPiece]) -> Result<(), String>;

    /// All that a cell printed, once it has ended.
    async fn whole(&self, ticket: &OutputTicket, bytes: Vec<u8>) -> Result<(), String>;
}

/// What one cell printed.
#[derive(Debug, Clone)]
pub struct CellPiece {
    /// Names the cell, and shows that this worker runs it.
    pub ticket: OutputTicket,
    /// Which try of the cell's activity, from 1.
    pub attempt: u32,
    /// What it printed since its last piece, masked.
    pub piece: Piece,
}

/// The cells that run here and are followed.
pub(crate) struct Followed {
    sink: Option<Arc<dyn OutputSink>>,
    cells: Mutex<Cells>,
    whole: Semaphore,
}

#[derive(Default)]
struct Cells {
    list: Vec<Arc<Running>>,
    /// Whether a task hands on what they print.
    is_going_round: bool,
}

/// A cell that runs.
struct Running {
    ticket: OutputTicket,
    attempt: u32,
    printed: Printed,
}

impl Running {
    /// What it printed since this was asked last.
    fn piece(&self) -> Option<CellPiece> {
        let piece = self.printed.take()?;
        Some(CellPiece { ticket: self.ticket.clone(), attempt: self.attempt, piece })
    }
}

/// One of them. Dropped, it is not followed any more.
pub(crate) struct Following {
    cell: Arc<Running>,
    followed: Arc<Followed>,
}

impl Followed {
    pub(crate) fn new(sink: Option<Arc<dyn OutputSink>>) -> Arc<Self> {
        Arc::new(Self { sink, cells: Mutex::default(), whole: Semaphore::new(WHOLE_AT_ONCE) })
    }

    /// Follows a cell from its start; `None` where nobody would take what it prints.
    pub(crate) fn follow(self: &Arc<Self>, ticket: OutputTicket, attempt: u32) -> Option<Following> {
        self.sink.as_ref()?;
        let cell = Arc::new(Running { ticket, attempt, printed: Printed::default() });
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.list.push(Arc::clone(&cell));
        if !std::mem::replace(&mut cells.is_going_round, true) {
            tokio::spawn(Arc::clone(self).go_round());
        }
        drop(cells);
        Some(Following { cell, followed: Arc::clone(self) })
    }

    /// Hands on what was printed, until no cell runs.
    async fn go_round(self: Arc<Self>) {
        let mut was_lost = false;
        loop {
            tokio::time::sleep(ROUND).await;
            let pieces: Vec<CellPiece> = {
                let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
                if cells.list.is_empty() {
                    cells.is_going_round = false;
                    return;
                }
                cells.list.iter().filter_map(|cell| cell.piece()).collect()
            };
            was_lost = !self.hand_on(&pieces, was_lost).await;
        }
    }

    /// Whether it was taken. What is not is told once, until something is.
    async fn hand_on(&self, pieces: &[CellPiece], was_lost: bool) -> bool {
        let Some(sink) = self.sink.as_ref().filter(|_| !pieces.is_empty()) else { return !was_lost };
        let Err(problem) = sink.pieces(pieces).await else { return true };
        if !was_lost {
            tracing::warn!(problem, "what cells print is not seen while they run");
        }
        false
    }
}

impl Following {
    /// Where the runner puts what the cell prints.
    pub(crate) fn printed(&self) -> Printed {
        self.cell.printed.clone()
    }

    /// Hands in the rest and the whole. Gives the SHA-256 of the file that the whole is now, where it is kept.
    pub(crate) async fn ended(self) -> Option<String> {
        let handed_in = tokio::time::timeout(HAND_IN, self.hand_in()).await;
        let problem = match handed_in {
            Ok(Ok(sha256)) => return sha256,
            Ok(Err(problem)) => problem,
            Err(_) => "the console did not take it in time".to_owned(),
        };
        let ticket = &self.cell.ticket;
        tracing::warn!(cell = %ticket.cell, incident.id = %ticket.incident, problem, "a cell's whole output is not kept");
        None
    }

    async fn hand_in(&self) -> Result<Option<String>, String> {
        let Some(sink) = &self.followed.sink else { return Ok(None) };
        if let Some(rest) = self.cell.piece() {
            self.followed.hand_on(&[rest], false).await;
        }
        let _place = self.followed.whole.acquire().await;
        let Some(whole) = self.cell.printed.whole().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        sink.whole(&self.cell.ticket, whole.bytes).await?;
        Ok(Some(whole.sha256))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut cells = self.followed.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.list.retain(|cell| !Arc::ptr_eq(cell, &self.cell));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Keeps what it is given, or refuses it.
    #[derive(Default)]
    struct Kept {
        pieces: Mutex<Vec<(String, String)>>,
        wholes: Mutex<Vec<Vec<u8>>>,
        away: bool,
    }

    #[async_trait]
    impl OutputSink for Kept {
        async fn pieces(&self, pieces: &[CellPiece]) -> Result<(), String> {
            if self.away {
                return Err("it is away".to_owned());
            }
            let told = pieces.iter().map(|one| (one.ticket.cell.clone(), one.piece.text.clone()));
            self.pieces.lock().unwrap().extend(told);
            Ok(())
        }

        async fn whole(&self, _ticket: &OutputTicket, bytes: Vec<u8>) -> Result<(), String> {
            if self.away {
                return Err("it is away".to_owned());
            }
            self.wholes.lock().unwrap().push(bytes);
            Ok(())
        }
    }

    fn ticket(cell: &str) -> OutputTicket {
        OutputTicket {
            org: "default".to_owned(),
            incident: "INC-2026-0001".to_owned(),
            workflow_id: "w".to_owned(),
            run_id: "r".to_owned(),
            attempt: 1,
            step: format!("remediation/{cell}/1/started"),
            cell: cell.to_owned(),
            until: Timestamp::UNIX_EPOCH,
            signature: String::new(),
        }
    }

    /// Runs a cell that is followed.
    async fn run(following: &Following, commands: &str) {
        use harmony_runner::{CellRun, OutcomeLimits, Progress, Runner};
        let run = CellRun {
            snapshot: format!("```sh {{ name=it }}\n{commands}\n```\n"),
            cell: "it".to_owned(),
            env: Default::default(),
            carried: Default::default(),
            secrets: Default::default(),
            workdir: std::env::temp_dir(),
            timeout: Duration::from_secs(60),
            limits: OutcomeLimits::default(),
            printed: Some(following.printed()),
            job: None,
        };
        let (progress, _watch) = tokio::sync::watch::channel(Progress::default());
        Runner::new(Vec::new()).run_cell(run, progress, std::future::pending()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_cell_prints_is_handed_on_while_it_runs_and_whole_at_its_end() {
        let kept = Arc::new(Kept::default());
        let followed = Followed::new(Some(kept.clone()));
        let go = std::env::temp_dir().join(format!("harmony-outputs-{}", uuid::Uuid::now_v7()));
        let following = followed.follow(ticket("look"), 1).unwrap();
        let commands =
            format!("echo one; until [ -e '{}' ]; do sleep 0.05; done; echo two >&2", go.display());
        let running = async {
            run(&following, &commands).await;
        };
        let looking = async {
            while kept.pieces.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(*kept.pieces.lock().unwrap(), [("look".to_owned(), "one\n".to_owned())]);
            // Only now may it end.
            std::fs::write(&go, "").unwrap();
        };
        tokio::join!(running, looking);
        std::fs::remove_file(&go).unwrap();
        let sha256 = following.ended().await.unwrap();
        assert_eq!(*kept.wholes.lock().unwrap(), [b"one\ntwo\n".to_vec()]);
        use sha2::Digest as _;
        assert_eq!(sha256, hex::encode(sha2::Sha256::digest(b"one\ntwo\n")));
        let all: String = kept.pieces.lock().unwrap().iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(all, "one\ntwo\n");
        assert!(followed.cells.lock().unwrap().list.is_empty());
    }

    #[tokio::test]
    async fn cell_ends_as_it_would_where_nobody_takes_what_it_prints() {
        let followed = Followed::new(Some(Arc::new(Kept { away: true, ..Kept::default() })));
        let following = followed.follow(ticket("look"), 1).unwrap();
        run(&following, "echo one").await;
        assert_eq!(following.ended().await, None);
        assert!(Followed::new(None).follow(ticket("look"), 1).is_none());
    }
}
