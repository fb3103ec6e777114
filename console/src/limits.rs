//! How fast one principal may ask, and how much one may hold open, so that nobody takes the console from everybody else.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{error::ApiError, streams::WATCHERS};

/// Requests that may come at once, for each that may come a second.
const BURST: u32 = 4;
/// Sign-ins without a good token, a second, from one address: people type slowly, and tokens are not guessed quickly.
const SIGN_INS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Times that the whole log is read, verified or replayed, at once: each takes a processor and a connection of the
/// store for as long as it lasts.
const AUDITS: usize = 2;
/// When to ask again where that many are under way.
const AUDIT_RETRY_S: u64 = 10;

/// Addresses that are remembered before those are forgotten that have paused.
const ADDRESSES: usize = 10_000;
/// Streams that one principal may hold open: a wall of screens, and a quarter of all the places there are.
const STREAMS: usize = WATCHERS / 4;

/// Counts requests and what they hold open.
pub(crate) struct Limits {
    audits: Semaphore,
    calls: DefaultKeyedRateLimiter<String>,
    sign_ins: DefaultKeyedRateLimiter<Option<IpAddr>>,
    streams: Arc<Mutex<HashMap<String, usize>>>,
    clock: DefaultClock,
}

impl Limits {
    /// `per_second` requests for each principal in the long run, a burst of four times as many.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST - 1));
        Self {
            audits: Semaphore::new(AUDITS),
            calls: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            sign_ins: RateLimiter::keyed(Quota::per_second(SIGN_INS)),
            streams: Arc::default(),
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

    /// Counts a sign-in without a good token; whether there were few enough from there. A good token is not counted,
    /// so that a stranger behind the same proxy keeps nobody out.
    pub(crate) fn may_try(&self, peer: Peer) -> bool {
        // Whoever sends from all over the place is forgotten again as soon as they pause.
        if self.sign_ins.len() > ADDRESSES {
            self.sign_ins.retain_recent();
        }
        self.sign_ins.check_key(&peer.0).is_ok()
    }

    /// A stream of this principal, until it is dropped.
    pub(crate) fn open_stream(&self, principal: &str) -> Result<OpenStream, ApiError> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(principal.to_owned()).or_default();
        if *open >= STREAMS {
            return Err(ApiError::TooManyStreams);
        }
        *open += 1;
        Ok(OpenStream { principal: principal.to_owned(), streams: Arc::clone(&self.streams) })
    }
}

/// One open stream of a principal.
pub(crate) struct OpenStream {
    principal: String,
    streams: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = streams.get_mut(&self.principal) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.principal);
            }
        }
    }
}

/// Where a connection comes from: its address, or its network where it has an IPv6 address, since a customer of any
/// provider has 2^64 of those. Nothing where the request came through no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(Option<IpAddr>);

impl Peer {
    fn of(address: IpAddr) -> Self {
        Self(Some(network(address)))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(address.map_or(Self(None), |ConnectInfo(address)| Self::of(address.ip())))
    }
}

/// What one customer of a provider sends from.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
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

    #[test]
    fn wrong_tokens_from_one_address_are_slowed_down_there_alone() {
        let limits = Limits::new(NonZeroU32::MIN);
        let peer = |address: &str| Peer::of(address.parse().unwrap());
        let tries = |address: &str| (0..100).filter(|_| limits.may_try(peer(address))).count();
        assert!(tries("192.0.2.1") < 50);
        assert!(limits.may_try(peer("192.0.2.2")));
        assert!(tries("2001:db8:1:2::1") < 50);
        assert!(!limits.may_try(peer("2001:db8:1:2:ffff::9")), "the same network");
        assert!(limits.may_try(peer("2001:db8:1:3::1")));
        assert!(!limits.may_try(peer("::ffff:192.0.2.1")), "the same address");
    }

    #[test]
    fn one_principals_streams_leave_room_for_anothers() {
        let limits = Limits::new(NonZeroU32::MIN);
        let held: Vec<OpenStream> = (0..STREAMS).map(|_| limits.open_stream("screen").unwrap()).collect();
        assert!(matches!(limits.open_stream("screen"), Err(ApiError::TooManyStreams)));
        drop(limits.open_stream("somebody else").unwrap());
        drop(held);
        drop(limits.open_stream("screen").unwrap());
        assert!(limits.streams.lock().unwrap().is_empty(), "nothing is kept of who has left");
    }
}
