//! Which signed requests were taken already.
//!
//! A signature verifies again within its window, so it is remembered for as long as it could. Bounded: only requests
//! that verified are remembered, and the oldest goes when there is no room. A request that slips through then, or
//! reaches another process, still happens once, because what it asks for has an id of its own.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A timestamp may be five minutes old or ahead, so a signature verifies for ten minutes at most.
const WINDOW: Duration = Duration::from_secs(600);
/// Twenty-seven clicks a second for ten minutes.
const ROOM: usize = 16_384;

/// Signatures of the last ten minutes.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Invariant: holds what `order` holds.
    known: HashSet<String>,
    /// Oldest first.
    order: VecDeque<(Instant, String)>,
}

impl Seen {
    /// Whether this signature is new; it is not any more after this.
    pub(crate) fn is_new(&self, signature: &str, now: Instant) -> bool {
        // Hexadecimal digits verify in either case.
        let signature = signature.to_ascii_lowercase();
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, _)) = memory.order.front()
            && (now.duration_since(*at) > WINDOW || memory.order.len() >= ROOM)
        {
            if let Some((_, oldest)) = memory.order.pop_front() {
                memory.known.remove(&oldest);
            }
        }
        if !memory.known.insert(signature.clone()) {
            return false;
        }
        memory.order.push_back((now, signature));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_new_once_until_it_could_not_verify_any_more() {
        let seen = Seen::default();
        let start = Instant::now();
        assert!(seen.is_new("v0=ab", start));
        assert!(!seen.is_new("v0=AB", start + Duration::from_secs(599)));
        assert!(seen.is_new("v0=ab", start + Duration::from_secs(601)));
    }

    #[test]
    fn memory_is_bounded() {
        let seen = Seen::default();
        let now = Instant::now();
        for number in 0..ROOM + 10 {
            assert!(seen.is_new(&number.to_string(), now));
        }
        assert!(seen.0.lock().unwrap().order.len() <= ROOM);
        assert!(!seen.is_new(&(ROOM + 9).to_string(), now));
    }
}
