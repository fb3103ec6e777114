//! Checkpoints that nobody has to think of: one at every close-out, and one an hour where the log has grown; kept in a
//! directory and sent to the sinks.
//!
//! Making one follows a command like everything else, through the outbox: the close-out's record and the wish for a
//! checkpoint are one transaction, so a process that dies in between forgets neither. A checkpoint that a sink has not
//! taken waits in the outbox on its own, and holds up neither records nor commands.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use harmony_blueprints::contracts::Scope;
use harmony_eventlog::{
    Checkpoint, CheckpointKey, OutboxItem, Pending, SharedLog, fanout::CloudEvent, fanout::Sink,
};
use harmony_incidents::{
    Command, OrgId, RulesSource, RunStatus, StreamId,
    follow_up::{self, FollowUp},
    log::payload::Kind,
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Carried, event::send};

/// The wish for a checkpoint.
const MAKE: FollowUp = FollowUp::Checkpoint(follow_up::Checkpoint::Make);
/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_secs(3600);

/// See the module.
pub struct Checkpoints {
    log: SharedLog,
    key: CheckpointKey,
    directory: Option<PathBuf>,
    sinks: Vec<Arc<dyn Sink>>,
}

impl Checkpoints {
    /// `None` where there is neither a directory nor a sink that could keep them.
    pub fn new(
        log: SharedLog,
        key: CheckpointKey,
        directory: Option<PathBuf>,
        sinks: Vec<Arc<dyn Sink>>,
    ) -> Option<Self> {
        (directory.is_some() || !sinks.is_empty()).then_some(Self { log, key, directory, sinks })
    }

    /// Asks for one an hour, for every organisation that the directory names, until told to stop. Nothing is asked for
    /// where the heads are those of a checkpoint that was made before.
    pub async fn hourly(self: Arc<Self>, rules: Arc<dyn RulesSource>, stop: CancellationToken) {
        loop {
            for org in rules.current().directory.orgs() {
                if let Err(error) = self.ask(&org).await {
                    tracing::warn!(%org, error = %format!("{error:#}"), "no checkpoint was made this hour");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn ask(&self, org: &OrgId) -> anyhow::Result<()> {
        let checkpoint = Checkpoint::of(self.log.as_ref(), org).await?;
        let Some(last) = checkpoint.heads().last() else { return Ok(()) };
        // The name is that of the heads: asked again before anything was appended, it is the same item.
        let heads = digest(&self.key.sign(&checkpoint));
        let item = OutboxItem::new(format!("make/hour/{heads}"), &MAKE);
        Ok(self.log.enqueue(org, Some(&last.stream), &item).await?)
    }

    /// Carries out what was asked for: makes one, or sends one on.
    pub(crate) async fn carry(&self, pending: &Pending, what: &follow_up::Checkpoint) -> Carried {
        match what {
            follow_up::Checkpoint::Make => Ok(self.make(&pending.org, pending.stream.as_ref()).await?),
            follow_up::Checkpoint::Send { sink, note } => {
                let checkpoint = Checkpoint::unverified(note).map_err(anyhow::Error::from)?;
                send(&self.sinks, sink, &CloudEvent::of_checkpoint(&checkpoint, note)).await
            }
        }
    }

    /// Over what is on record now.
    async fn make(&self, org: &OrgId, stream: Option<&StreamId>) -> anyhow::Result<()> {
        let stream = stream.context("the wish for a checkpoint names no stream")?;
        let checkpoint = Checkpoint::of(self.log.as_ref(), org).await?;
        let note = self.key.sign(&checkpoint);
        if let Some(directory) = &self.directory {
            keep(directory, org, &checkpoint, &note)
                .with_context(|| format!("the checkpoint cannot be written to {}", directory.display()))?;
        }
        for sink in &self.sinks {
            let name = format!("send/{}/{}", sink.name(), digest(&note));
            let send = follow_up::Checkpoint::Send { sink: sink.name().to_string(), note: note.clone() };
            let item = OutboxItem::new(name, &FollowUp::Checkpoint(send));
            self.log.enqueue(org, Some(stream), &item).await?;
        }
        Ok(())
    }
}

/// What follows a command: a checkpoint, where it ends a close-out.
pub(crate) fn following(scope: &Scope, command: &Command) -> Vec<OutboxItem> {
    let ends = match command {
        Command::Record { payload } => {
            matches!(&payload.kind, Some(Kind::BlueprintCompleted(done)) if done.blueprint == "close-out" && done.status == RunStatus::Completed.name())
        }
        _ => false,
    };
    let item = || OutboxItem::new(format!("make/close-out/{}/{}", scope.stream, scope.attempt), &MAKE);
    if ends { vec![item()] } else { Vec::new() }
}

/// Writes it under a name that sorts by how much it covers, all of it or nothing. The same checkpoint is one file.
fn keep(directory: &Path, org: &OrgId, checkpoint: &Checkpoint, note: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let name = format!("{org}-{:012}-{}.checkpoint", checkpoint.records(), &digest(note)[..12]);
    let path = directory.join(&name);
    if path.exists() {
        return Ok(());
    }
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    fs::File::open(directory)?.sync_all()
}

fn digest(note: &str) -> String {
    hex::encode(Sha256::digest(note.as_bytes()))
}
