//! `<data-dir>/audit/control-plane.log`: who did what over all streams, as JSON Lines, for whoever ships logs.
//!
//! Every stream is followed by its seq and not by time, because a record may be written later than it happened: nothing
//! is passed over. The file itself says how far it got. Lines are written whole and then synced; after a crash half a
//! line is cut off and the file goes on behind the last whole one, so that nothing stands in it twice. Lines that were
//! found together stand in order of time. Without the file, the next start writes all of it again.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use harmony_catalog::entity::AuditEvent;
use harmony_eventlog::EventLog;
use harmony_incidents::OrgId;

use crate::{config::Config, keys};

/// How often to look, unless a look takes long: then it is given twenty times as long a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Records of one read.
const PAGE: u32 = 500;
/// Events that are kept in memory before they are written.
const BATCH: usize = 5_000;

/// The file, and how far it got.
struct AuditFile {
    file: File,
    /// The last seq of each stream that was looked at.
    seen: BTreeMap<String, u64>,
}

/// Writes what is new for as long as it is polled. It never ends.
pub(super) async fn follow(config: &Config) {
    loop {
        let Err(error) = try_following(config).await;
        tracing::error!(error = format!("{error:#}"), "the audit file is not written; trying again");
        tokio::time::sleep(PAUSE * 10).await;
    }
}

async fn try_following(config: &Config) -> anyhow::Result<std::convert::Infallible> {
    keys::private_dir(&config.in_data_dir("audit"))?;
    let mut audit = AuditFile::open(&config.in_data_dir("audit/control-plane.log"))?;
    let log = config.open_log().await?;
    loop {
        let begun = Instant::now();
        audit.catch_up(&*log, &config.org).await?;
        tokio::time::sleep(PAUSE.max(begun.elapsed() * 20)).await;
    }
}

impl AuditFile {
    /// Opens the file behind its last whole line, and learns from it how far it got.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot open {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .with_context(cannot)?;
        let mut seen = BTreeMap::new();
        let mut reader = BufReader::new(&file);
        let (mut line, mut whole) = (Vec::new(), 0_u64);
        while reader.read_until(b'\n', &mut line).with_context(cannot)? > 0 {
            if line.last() != Some(&b'\n') {
                break;
            }
            whole += line.len() as u64;
            // A line that somebody else wrote says nothing about how far we got.
            if let Ok(AuditEvent { stream: Some(stream), seq: Some(seq), .. }) = serde_json::from_slice(&line)
            {
                let last = seen.entry(stream.to_string()).or_insert(seq);
                *last = seq.max(*last);
            }
            line.clear();
        }
        drop(reader);
        file.set_len(whole).with_context(cannot)?;
        Ok(Self { file, seen })
    }

    /// Writes the events that are new.
    async fn catch_up(&mut self, log: &dyn EventLog, org: &OrgId) -> anyhow::Result<()> {
        let mut events: Vec<AuditEvent> = Vec::new();
        let mut seen = self.seen.clone();
        for stream in log.streams(org).await? {
            loop {
                let last = seen.entry(stream.to_string()).or_default();
                let page = log.records(org, &stream, *last, PAGE).await?;
                let Some(end) = page.last() else { break };
                *last = end.record.seq;
                events.extend(page.iter().filter_map(|entry| harmony_catalog::audit::event(&entry.record)));
                if events.len() >= BATCH {
                    self.write(&mut events)?;
                    self.seen.clone_from(&seen);
                }
            }
        }
        self.write(&mut events)?;
        self.seen = seen;
        Ok(())
    }

    /// All of these, in order of time, or none.
    fn write(&mut self, events: &mut Vec<AuditEvent>) -> anyhow::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let stream = |event: &AuditEvent| event.stream.as_ref().map(ToString::to_string);
        events.sort_by_cached_key(|event| (event.ts, stream(event), event.seq));
        let mut lines = Vec::new();
        for event in events.drain(..) {
            serde_json::to_writer(&mut lines, &event).context("an event of the audit cannot be written")?;
            lines.push(b'\n');
        }
        let before = self.file.seek(SeekFrom::End(0)).context("the audit file cannot be written")?;
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // A full disk leaves half a line, which the next write would go on behind.
            self.file.set_len(before).context("the audit file cannot be cut")?;
        }
        written.context("the audit file cannot be written")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use harmony_catalog::{Command, Facts, entity::Environment, judge_environment};
    use harmony_eventlog::{CatalogAppend, Log as _, SqliteLog, StreamState};
    use harmony_incidents::{
        Context, EnvironmentId, Refusal, StreamId,
        log::{Authority, Cause},
        record::SaltKey,
    };

    use super::*;

    async fn write(log: &SqliteLog, id: &str, region: &str, second: i64) {
        let id: EnvironmentId = id.parse().unwrap();
        let environment = Environment {
            id: id.clone(),
            name: "staging".to_owned(),
            region: region.to_owned(),
            cluster: "c1".to_owned(),
            policy_refs: Vec::new(),
            production: None,
            region_defaulted: false,
            cluster_defaulted: false,
            labels: BTreeMap::new(),
            retired: false,
        };
        let context = Context {
            actor: "deployer".to_owned(),
            authority: Authority::HumanOperator,
            cause: Cause::default(),
            occurred_at: jiff::Timestamp::from_second(second).unwrap(),
        };
        let command = Command::WriteEnvironment { environment: Box::new(environment), adapter: None };
        let judge = |state: &StreamState, _: &Facts| match state {
            StreamState::Environment(state) => judge_environment(state, &command, &context),
            _ => Err(Refusal::Invalid { explanation: "another stream".to_owned() }),
        };
        let append = CatalogAppend {
            org: &OrgId::default(),
            stream: &StreamId::from(id.clone()),
            key: &format!("{id}/{second}"),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow: Vec::new(),
        };
        log.append_catalog(append).await.unwrap();
    }

    fn places(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let place = |line: &str| {
            let event: AuditEvent = serde_json::from_str(line).unwrap();
            format!("{} {} {}", event.action, event.stream.unwrap(), event.seq.unwrap())
        };
        text.lines().map(place).collect()
    }

    #[tokio::test]
    async fn it_goes_on_behind_its_last_whole_line_and_passes_nothing_over() {
        let home = tempfile::tempdir().unwrap();
        let org = OrgId::default();
        let salt = SaltKey::parse(&"5a".repeat(32)).unwrap();
        let log = SqliteLog::open(&home.path().join("harmony.db"), salt).await.unwrap();
        let path = home.path().join("control-plane.log");

        write(&log, "env-b", "one", 20).await;
        write(&log, "env-a", "one", 30).await;
        let mut audit = AuditFile::open(&path).unwrap();
        audit.catch_up(&log, &org).await.unwrap();
        audit.catch_up(&log, &org).await.unwrap();
        let first = ["environment.write env/env-b 1", "environment.write env/env-a 1"];
        assert_eq!(places(&path), first);

        // Killed in the midst of a line; meanwhile something is written that happened before all of it.
        drop(audit);
        let mut half = OpenOptions::new().append(true).open(&path).unwrap();
        half.write_all(b"{\"ts\":\"2026-01-01T00:0").unwrap();
        write(&log, "env-b", "two", 10).await;
        let mut audit = AuditFile::open(&path).unwrap();
        audit.catch_up(&log, &org).await.unwrap();
        let all = [&first[..], &["environment.write env/env-b 2"]].concat();
        assert_eq!(places(&path), all);

        let mut again = AuditFile::open(&path).unwrap();
        again.catch_up(&log, &org).await.unwrap();
        assert_eq!(places(&path), all);
    }
}
