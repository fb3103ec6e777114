//! The vendors' rate limits, and whether a client that was told to wait did wait: `/_sandbox/limits`.
//!
//! Nobody is limited until `POST /_sandbox/limits {"speed": N}` asks for it: 1 is the vendor's own pace, 60 lets a
//! minute's calls through each second, 0 lifts the limits again. `GET` tells how many calls were refused, and how many
//! came within the `Retry-After` that was given for calls of their kind (but for those that may have been under way when
//! the refusal was sent).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A call that was sent before the refusal was read comes within this time.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// So many calls of a kind within any such time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) calls: usize,
    pub(crate) within: Duration,
}

impl Rate {
    pub(crate) const fn per_minute(calls: usize) -> Self {
        Self { calls, within: Duration::from_secs(60) }
    }
}

#[derive(Debug, Default)]
struct Counts {
    /// How many times the vendor's pace is allowed; 0 is any.
    speed: u32,
    /// When calls of a kind were let through, no longer ago than their rate looks back.
    taken: BTreeMap<String, VecDeque<Instant>>,
    /// When the last refusal was sent for calls of a kind, and until when they were asked to wait.
    refused: BTreeMap<String, (Instant, Instant)>,
    limited: u64,
    too_early: u64,
}

/// The limits of one stand-in.
#[derive(Debug, Default)]
pub(crate) struct Limits(Mutex<Counts>);

impl Limits {
    /// Sets the pace; the error says what is wrong with the order.
    pub(crate) fn set(&self, order: &Value) -> Result<(), &'static str> {
        let speed = order["speed"].as_u64().and_then(|speed| u32::try_from(speed).ok());
        let speed = speed.ok_or("an order is {\"speed\": N}: 1 is the vendor's pace, 0 lifts the limits")?;
        let mut counts = self.lock();
        counts.speed = speed;
        counts.taken.clear();
        Ok(())
    }

    /// A call of this kind came in.
    pub(crate) fn came(&self, kind: &str) {
        let mut counts = self.lock();
        let now = Instant::now();
        let is_early = |(sent, until): &(Instant, Instant)| now > *sent + UNDER_WAY && now < *until;
        if counts.refused.get(kind).is_some_and(is_early) {
            counts.too_early += 1;
        }
    }

    /// Lets a call through, or tells after how many whole seconds the next one will be.
    pub(crate) fn take(&self, kind: &str, rate: Rate) -> Option<u64> {
        let mut counts = self.lock();
        let window = rate.within.checked_div(counts.speed)?;
        let now = Instant::now();
        let taken = counts.taken.entry(kind.to_owned()).or_default();
        while taken.front().is_some_and(|first| now.duration_since(*first) >= window) {
            taken.pop_front();
        }
        match taken.front() {
            Some(first) if taken.len() >= rate.calls => {
                let wait = (*first + window).duration_since(now);
                Some(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
            }
            _ => {
                taken.push_back(now);
                None
            }
        }
    }

    /// Calls of this kind were asked to wait.
    pub(crate) fn refused(&self, kind: &str, retry_after_seconds: u64) {
        let mut counts = self.lock();
        let now = Instant::now();
        let until = now + Duration::from_secs(retry_after_seconds);
        counts.limited += 1;
        counts.refused.insert(kind.to_owned(), (now, until));
    }

    pub(crate) fn to_json(&self) -> Value {
        let counts = self.lock();
        json!({ "speed": counts.speed, "limited": counts.limited, "tooEarly": counts.too_early })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
