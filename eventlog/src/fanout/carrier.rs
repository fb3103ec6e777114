//! Carries the log to its sinks: claims lanes sink by sink, sends what waits in order, and says how far it got.
//!
//! Each sink has a loop of its own, so that one that is down delays nobody else. A lane that failed waits longer each
//! time; what was sent but not yet marked when the process died is sent again by the next.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{CloudEvent, Lane, NotTaken, Sink, cdevent};
use crate::store::{Entry, LogError, SharedLog};

/// How often an idle loop looks.
const IDLE: Duration = Duration::from_millis(500);
/// Lanes of one sink that are carried side by side.
const LANES: usize = 8;
/// Records read at a time.
const PAGE: u64 = 50;
/// A lane is given back after this long, so that its lease outlives the last try (10 s).
const TURN: Duration = Duration::from_secs(5);
/// How long a claimed lane is ours. What a killed worker held goes on after this.
const LEASE: Duration = Duration::from_secs(20);
/// Longest wait between two tries, unless the receiver asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// See the module.
pub struct FanOut {
    log: SharedLog,
    sinks: Vec<Arc<dyn Sink>>,
}

impl FanOut {
    /// To these sinks.
    pub fn new(log: SharedLog, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self { log, sinks }
    }

    /// Carries until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let loops = self.sinks.into_iter().map(|sink| one_sink(self.log.clone(), sink, stop.clone()));
        futures_util::future::join_all(loops).await;
    }
}

async fn one_sink(log: SharedLog, sink: Arc<dyn Sink>, stop: CancellationToken) {
    let mut carried = JoinSet::new();
    while !stop.is_cancelled() {
        let free = u32::try_from(LANES - carried.len()).unwrap_or_default();
        let claimed = match log.claim_lanes(sink.name(), free, LEASE).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(sink = %sink.name(), error = %error, "the lanes of a sink cannot be read");
                Vec::new()
            }
        };
        let idle = claimed.is_empty();
        for lane in claimed {
            let (log, sink) = (log.clone(), sink.clone());
            carried.spawn(async move { carry(&log, sink.as_ref(), lane).await });
        }
        // With every slot taken there is nothing to claim until one is free.
        let full = carried.len() >= LANES;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = carried.join_next(), if full => {}
            () = tokio::time::sleep(if idle { IDLE } else { Duration::ZERO }), if !full => {}
        }
        while carried.try_join_next().is_some() {}
    }
    // What is under way ends or is repeated by the next.
    let drained = async { while carried.join_next().await.is_some() {} };
    drop(tokio::time::timeout(Duration::from_secs(2), drained).await);
}

async fn carry(log: &SharedLog, sink: &dyn Sink, lane: Lane) {
    let mut sent = lane.first - 1;
    let failed = match send(log, sink, &lane, &mut sent).await {
        Ok(None) => None,
        Ok(Some(not_taken)) => {
            let wait = not_taken.retry_after.unwrap_or_else(|| backoff(lane.attempts));
            Some((wait, not_taken.why))
        }
        Err(error) => Some((backoff(lane.attempts), error.to_string())),
    };
    if let Some((_, why)) = &failed {
        tracing::warn!(
            sink = %lane.sink,
            stream.id = %lane.stream,
            seq = sent + 1,
            attempts = lane.attempts,
            error = %why,
            "a record waits for its sink"
        );
    }
    let failed = failed.as_ref().map(|(wait, why)| (*wait, why.as_str()));
    if let Err(error) = log.settle_lane(&lane, sent, failed).await {
        tracing::warn!(sink = %lane.sink, error = %error, "a lane cannot be written; its records will be repeated");
    }
}

/// Sends records in order; says why the first that was not taken was not. `sent` is the last that was.
async fn send(
    log: &SharedLog,
    sink: &dyn Sink,
    lane: &Lane,
    sent: &mut u64,
) -> Result<Option<NotTaken>, LogError> {
    let begun = Instant::now();
    // Nobody outside learns of a private incident.
    if let Some(incident) = lane.stream.incident()
        && log.state(&lane.org, &incident).await?.is_some_and(|state| state.private)
    {
        *sent = lane.last;
        return Ok(None);
    }
    while *sent < lane.last && begun.elapsed() < TURN {
        let limit = u32::try_from((lane.last - *sent).min(PAGE)).unwrap_or_default();
        let entries = log.records(&lane.org, &lane.stream, *sent, limit).await?;
        if entries.first().is_none_or(|entry| entry.record.seq != *sent + 1) {
            return Err(LogError::Corrupt { place: format!("{} seq {}", lane.stream, *sent + 1) });
        }
        let (events, ends) = events(log, lane, &entries).await?;
        for (some, ends) in events.chunks(sink.at_once()).zip(ends.chunks(sink.at_once())) {
            for (end, outcome) in ends.iter().zip(sink.send(some).await) {
                match outcome {
                    Ok(()) => *sent = end.unwrap_or(*sent),
                    Err(not_taken) => return Ok(Some(not_taken)),
                }
            }
            if begun.elapsed() >= TURN {
                break;
            }
        }
    }
    Ok(None)
}

/// What goes out for these records, in order; beside each event the seq that was sent with it, where it is the last that
/// its record makes.
async fn events(
    log: &SharedLog,
    lane: &Lane,
    entries: &[Entry],
) -> Result<(Vec<CloudEvent>, Vec<Option<u64>>), LogError> {
    let (mut events, mut ends) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
    for entry in entries {
        events.push(CloudEvent::of_record(entry));
        if let Some(event) = cdevent::of_record(log.as_ref(), &lane.org, entry).await? {
            ends.push(None);
            events.push(event);
        }
        ends.push(Some(entry.record.seq));
    }
    Ok((events, ends))
}

fn backoff(attempts: u32) -> Duration {
    (Duration::from_millis(500) * 2_u32.saturating_pow(attempts.min(10))).min(LONGEST_BACKOFF)
}
