//! Lanes: what waits for a sink is written with the records, goes out in order, and is one carrier's at a time.

use std::time::Duration;

use harmony_eventlog::{
    Onward, SharedLog, SinkName,
    fanout::{Lane, LaneBacklog},
};
use harmony_incidents::{OrgId, log::Severity};

use crate::stores::{Backend, Rows, stories};
use crate::world::{Ask, World, ask, declaration, id, named, new, note, say, tell};

stories! {
    without_a_sink_nothing_waits,
    what_is_appended_waits_for_every_sink_in_order,
    claimed_lanes_are_nobody_elses_until_the_lease_ends,
    what_was_sent_is_not_sent_again_and_the_rest_follows,
    refused_record_waits_and_is_counted,
    carrier_that_is_too_late_changes_nothing,
    refused_or_repeated_command_puts_nothing_into_a_lane,
    many_carriers_claim_each_lane_once,
    organisations_have_lanes_of_their_own,
}

const LEASE: Duration = Duration::from_secs(60);

fn sink(name: &str) -> SinkName {
    name.parse().unwrap()
}

fn to(sinks: &[&str]) -> Onward {
    Onward { sinks: sinks.iter().map(|name| sink(name)).collect(), notices: false }
}

async fn told(on: Backend) -> (World, SharedLog) {
    let world = World::new(on).await;
    let log = world.store.open_for(to(&["audit", "siem"])).await;
    tell(&log).await;
    (world, log)
}

/// Incident, first and last record, which try.
type Waiting = (u64, u64, u64, u32);

fn spans(lanes: &[Lane]) -> Vec<Waiting> {
    let one = |lane: &Lane| (lane.stream.incident().unwrap().parts().1, lane.first, lane.last, lane.attempts);
    let mut spans: Vec<Waiting> = lanes.iter().map(one).collect();
    spans.sort_unstable();
    spans
}

async fn claim(log: &SharedLog, name: &str) -> Vec<Lane> {
    log.claim_lanes(&sink(name), 10, LEASE).await.unwrap()
}

async fn of(log: &SharedLog, name: &str, number: u64) -> Lane {
    claim(log, name).await.into_iter().find(|lane| lane.stream == *id(number)).unwrap()
}

async fn without_a_sink_nothing_waits(on: Backend) {
    let world = World::told(on).await;
    assert!(claim(&world.log, "audit").await.is_empty());
    assert_eq!(world.log.lane_backlog(&sink("audit")).await.unwrap(), LaneBacklog::default());
    // A sink that comes later is sent what is appended from then on.
    let log = world.store.open_for(to(&["audit"])).await;
    say(&log, ask(named(1), "n9", note("later"))).await.unwrap();
    assert_eq!(spans(&claim(&log, "audit").await), [(1, 5, 5, 1)]);
}

async fn what_is_appended_waits_for_every_sink_in_order(on: Backend) {
    let (_world, log) = told(on).await;
    let backlog = log.lane_backlog(&sink("audit")).await.unwrap();
    assert_eq!((backlog.lanes, backlog.records), (2, 6));
    assert!(backlog.oldest < LEASE);
    for name in ["audit", "siem"] {
        assert_eq!(spans(&claim(&log, name).await), [(1, 1, 4, 1), (2, 1, 2, 1)], "{name}");
    }
    assert!(claim(&log, "nobody").await.is_empty());
}

async fn claimed_lanes_are_nobody_elses_until_the_lease_ends(on: Backend) {
    let (world, log) = told(on).await;
    let other = world.other().await;
    assert_eq!(log.claim_lanes(&sink("audit"), 1, LEASE).await.unwrap().len(), 1);
    let second = other.claim_lanes(&sink("audit"), 10, Duration::ZERO).await.unwrap();
    assert_eq!(second.len(), 1);
    let again = claim(&other, "audit").await;
    assert_eq!((again[0].stream.clone(), again[0].attempts), (second[0].stream.clone(), 2));
    assert!(claim(&log, "audit").await.is_empty());
    // What is appended meanwhile does not free a lane that is claimed.
    say(&log, ask(named(1), "n8", note("more"))).await.unwrap();
    assert!(claim(&log, "audit").await.is_empty());
    assert_eq!(log.lane_backlog(&sink("audit")).await.unwrap().records, 7);
}

async fn what_was_sent_is_not_sent_again_and_the_rest_follows(on: Backend) {
    let (_world, log) = told(on).await;
    let lane = of(&log, "audit", 1).await;
    log.settle_lane(&lane, 3, None).await.unwrap();
    let rest = of(&log, "audit", 1).await;
    assert_eq!((rest.first, rest.last, rest.attempts), (4, 4, 1));
    // It grows while it is carried: what came meanwhile is the next's.
    say(&log, ask(named(1), "n8", note("more"))).await.unwrap();
    log.settle_lane(&rest, 4, None).await.unwrap();
    let rest = of(&log, "audit", 1).await;
    assert_eq!((rest.first, rest.last), (5, 5));
    log.settle_lane(&rest, 5, None).await.unwrap();
    assert!(claim(&log, "audit").await.is_empty());
    // An empty lane begins where it ended.
    say(&log, ask(named(1), "n9", note("and more"))).await.unwrap();
    assert_eq!(spans(&claim(&log, "audit").await), [(1, 6, 6, 1)]);
    assert_eq!(
        spans(&claim(&log, "siem").await),
        [(1, 1, 6, 1), (2, 1, 2, 1)],
        "the other sink is not moved"
    );
}

async fn refused_record_waits_and_is_counted(on: Backend) {
    let (_world, log) = told(on).await;
    let lane = of(&log, "audit", 2).await;
    log.settle_lane(&lane, 0, Some((LEASE, "the receiver answered 500"))).await.unwrap();
    assert!(claim(&log, "audit").await.is_empty());
    let lane = of(&log, "siem", 2).await;
    log.settle_lane(&lane, 0, Some((Duration::ZERO, "the receiver answered 500"))).await.unwrap();
    let again = claim(&log, "siem").await;
    assert_eq!(spans(&again), [(2, 1, 2, 2)]);
    // Some of it went out before one was refused: the count begins anew.
    log.settle_lane(&again[0], 1, Some((Duration::ZERO, "the receiver answered 429"))).await.unwrap();
    assert_eq!(spans(&claim(&log, "siem").await), [(2, 2, 2, 1)]);
}

async fn carrier_that_is_too_late_changes_nothing(on: Backend) {
    let (_world, log) = told(on).await;
    let slow = log.claim_lanes(&sink("audit"), 10, Duration::ZERO).await.unwrap();
    let slow = slow.into_iter().find(|lane| lane.stream == *id(1)).unwrap();
    let fast = of(&log, "audit", 1).await;
    log.settle_lane(&fast, 4, None).await.unwrap();
    log.settle_lane(&slow, 2, None).await.unwrap();
    log.settle_lane(&slow, 0, Some((Duration::ZERO, "late"))).await.unwrap();
    assert!(claim(&log, "audit").await.is_empty());
    assert_eq!(log.lane_backlog(&sink("audit")).await.unwrap().lanes, 1, "only the other incident's");
}

async fn refused_or_repeated_command_puts_nothing_into_a_lane(on: Backend) {
    let (world, log) = told(on).await;
    say(&log, ask(named(1), "n1", note("disk full"))).await.unwrap();
    say(&log, ask(named(1), "n1", note("another text"))).await.unwrap_err();
    say(&log, ask(new(), "d9", declaration("", Severity::P1))).await.unwrap_err();
    assert_eq!(world.count(Rows::Records).await, 6);
    assert_eq!(log.lane_backlog(&sink("audit")).await.unwrap().records, 6);
}

async fn many_carriers_claim_each_lane_once(on: Backend) {
    let world = World::new(on).await;
    let log = world.store.open_for(to(&["audit"])).await;
    for number in 1..=12 {
        let title = format!("number {number}");
        say(&log, ask(new(), &title, declaration(&title, Severity::P4))).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let log = world.other().await;
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = log.claim_lanes(&sink("audit"), 2, LEASE).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed);
            }
        });
    }
    let all = tasks.join_all().await.concat();
    assert_eq!(spans(&all), (1..=12).map(|number| (number, 1, 1, 1)).collect::<Vec<_>>());
}

async fn organisations_have_lanes_of_their_own(on: Backend) {
    let (_world, log) = told(on).await;
    let acme: OrgId = "acme".parse().unwrap();
    let declared = ask(new(), "d1", declaration("Acme is down", Severity::P4));
    say(&log, Ask { org: acme.clone(), ..declared }).await.unwrap();
    let claimed = claim(&log, "audit").await;
    assert_eq!(claimed.len(), 3);
    let theirs = claimed.iter().find(|lane| lane.org == acme).unwrap();
    assert_eq!((theirs.stream.incident(), theirs.first, theirs.last), (Some(id(1)), 1, 1));
    log.settle_lane(theirs, 1, None).await.unwrap();
    let ours = claimed.iter().find(|lane| lane.org != acme && lane.stream == *id(1)).unwrap();
    log.settle_lane(ours, 0, None).await.unwrap();
    assert_eq!(spans(&claim(&log, "audit").await), [(1, 1, 4, 2)]);
}
