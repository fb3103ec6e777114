//! How fast one principal may ask, so that nobody's loop takes the API from everybody else.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;

/// Requests that may come at once, for each that may come a second.
const BURST: u32 = 4;
/// Tries to sign in, a second, by everybody together: people type slowly, and tokens are not guessed quickly.
const SIGN_INS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Times that the whole log is read, verified or replayed, at once: each takes a processor and a connection of the
/// store for as long as it lasts.
const AUDITS: usize = 2;
/// When to ask again where that many are under way.
const AUDIT_RETRY_S: u64 = 10;

/// Counts requests.
pub(crate) struct Limits {
    audits: Semaphore,
    calls: DefaultKeyedRateLimiter<String>,
    sign_ins: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Limits {
    /// `per_second` requests for each principal in the long run, a burst of four times as many.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST - 1));
        Self {
            audits: Semaphore::new(AUDITS),
            calls: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            sign_ins: RateLimiter::direct(Quota::per_second(SIGN_INS)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of this principal; refuses it where there were too many.
    pub(crate) fn count(&self, principal: &str) -> Result<(), ApiError> {
        self.calls.check_key(&principal.to_owned()).map_err(|until| ApiError::TooMany {
            retry_after: whole_seconds(until.wait_time_from(self.clock.now())),
        })
    }

    /// Lets somebody read the whole log for as long as what this gives is held; refuses where too many do.
    pub(crate) fn audit(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.audits.try_acquire().map_err(|_| ApiError::TooMany { retry_after: AUDIT_RETRY_S })
    }

    /// Whether somebody may try to sign in now.
    pub(crate) fn may_sign_in(&self) -> bool {
        self.sign_ins.check().is_ok()
    }
}

/// Rounded up: who waits this long does not come too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_in_a_loop_does_not_take_anothers_turn() {
        let limits = Limits::new(NonZeroU32::MIN);
        let taken = (0..100).filter(|_| limits.count("loop").is_ok()).count();
        assert_eq!(taken, 4, "the burst, and no more");
        assert!(matches!(limits.count("loop"), Err(ApiError::TooMany { retry_after: 1 })));
        assert!(limits.count("somebody else").is_ok());
    }
}
