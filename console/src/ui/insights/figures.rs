//! What is counted of each incident, and what it sums up to: by severity and by month, of all incidents or of those that
//! are asked for.

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{
    GateStatus, HasStatus,
    log::{IncidentState, State},
    times::Moment,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::words;
use crate::{error::ApiError, leading::day_or_time, query::Query};

/// Months that are told of one by one.
const MONTHS: usize = 12;
/// Services that can be chosen.
const SERVICES: usize = 200;
pub(super) const SEVERITIES: [&str; 4] = ["P1", "P2", "P3", "P4"];

/// Query parameters that say which incidents are counted.
pub(super) const FILTERS: [&str; 4] = ["since", "until", "serviceName", "severity"];

/// What is counted of one incident.
pub(super) struct Fact {
    created_us: i64,
    /// The first day of the month in which it was declared, in UTC.
    month: Date,
    /// Its place in [`SEVERITIES`].
    severity: usize,
    service: String,
    is_open: bool,
    detect: Option<i64>,
    acknowledge: Option<i64>,
    mitigate: Option<i64>,
    resolve: Option<i64>,
    /// Of each gate that was approved or rejected, how long it waited, in seconds.
    decide: Vec<i64>,
    updates: u32,
    updates_overdue: u32,
    breaches: usize,
}

impl Fact {
    /// Of an incident as it stands; `None` for one without a severity.
    pub(super) fn of(state: &IncidentState) -> Option<Self> {
        let severity = SEVERITIES.iter().position(|word| *word == state.severity().as_str_name())?;
        let created = words::recorded(state.created_at_us).unwrap_or_default();
        let between =
            |from_us: i64, to_us: i64| (from_us != 0 && to_us != 0).then(|| (to_us - from_us) / 1_000_000);
        let since_declared = |moment: Moment| between(state.created_at_us, moment.at_us(state));
        let decided = state
            .gates
            .iter()
            .filter(|gate| gate.is(GateStatus::Approved) || gate.is(GateStatus::Rejected))
            .filter_map(|gate| between(gate.requested_at_us, gate.decided_at_us));
        Some(Self {
            created_us: state.created_at_us,
            month: created.to_zoned(TimeZone::UTC).date().first_of_month(),
            severity,
            service: state.service_name.clone(),
            is_open: matches!(state.state(), State::Pending | State::Open | State::Mitigating),
            detect: between(Moment::ImpactStarted.at_us(state), Moment::Detected.at_us(state)),
            acknowledge: since_declared(Moment::Acknowledged),
            mitigate: since_declared(Moment::Mitigated),
            resolve: since_declared(Moment::Resolved),
            decide: decided.collect(),
            updates: state.updates,
            updates_overdue: state.updates_overdue,
            breaches: state.breaches.len(),
        })
    }
}

/// Which incidents are counted.
#[derive(Default)]
pub(super) struct Wanted {
    /// Declared at this time or later.
    since: Option<Timestamp>,
    /// Declared before this time.
    until: Option<Timestamp>,
    pub(super) service: Option<String>,
    /// Its place in [`SEVERITIES`].
    severity: Option<usize>,
}

impl Wanted {
    /// What a query asks for. A day stands for its beginning in UTC in `since`, and for its end in `until`.
    pub(super) fn of(query: &Query) -> Result<Self, ApiError> {
        let severity = query.given("severity").map(|word| {
            let place = SEVERITIES.iter().position(|one| *one == word);
            place.ok_or_else(|| ApiError::Invalid(format!("severity {word:?}: P1, P2, P3 or P4")))
        });
        Ok(Self {
            since: query.given("since").map(|text| day_or_time("since", text, false)).transpose()?,
            until: query.given("until").map(|text| day_or_time("until", text, true)).transpose()?,
            service: query.one("serviceName").map(str::to_owned),
            severity: severity.transpose()?,
        })
    }

    pub(super) fn severity(&self) -> &'static str {
        self.severity.map_or("", |place| SEVERITIES[place])
    }

    fn has(&self, fact: &Fact) -> bool {
        self.since.is_none_or(|since| fact.created_us >= since.as_microsecond())
            && self.until.is_none_or(|until| fact.created_us < until.as_microsecond())
            && self.service.as_ref().is_none_or(|service| fact.service == *service)
            && self.severity.is_none_or(|severity| fact.severity == severity)
    }
}

/// What some incidents sum up to.
pub(super) struct Figures {
    pub(super) total: usize,
    pub(super) open: usize,
    /// One a severity.
    pub(super) rows: Vec<Figure>,
    /// The last months that have something, oldest first; each with its rows by severity.
    pub(super) months: Vec<(Date, Vec<Figure>)>,
}

impl Figures {
    /// Of those of the incidents that are wanted.
    pub(super) fn of(facts: &[Fact], wanted: &Wanted) -> Self {
        let empty = || SEVERITIES.map(|severity| Figure { severity, ..Figure::default() }).to_vec();
        let mut rows = empty();
        let mut months: BTreeMap<Date, Vec<Figure>> = BTreeMap::new();
        for fact in facts.iter().filter(|fact| wanted.has(fact)) {
            rows[fact.severity].add(fact);
            months.entry(fact.month).or_insert_with(empty)[fact.severity].add(fact);
        }
        let skip = months.len().saturating_sub(MONTHS);
        Self {
            total: rows.iter().map(|one| one.count).sum(),
            open: rows.iter().map(|one| one.open).sum(),
            rows,
            months: months.into_iter().skip(skip).collect(),
        }
    }

    /// For a program.
    pub(super) fn view(&self) -> Value {
        let rows = |rows: &[Figure]| rows.iter().map(Figure::view).collect::<Vec<_>>();
        let month = |(month, of): &(Date, Vec<Figure>)| json!({ "month": month.strftime("%Y-%m").to_string(), "bySeverity": rows(of) });
        json!({
            "incidents": self.total,
            "open": self.open,
            "bySeverity": rows(&self.rows),
            "months": self.months.iter().map(month).collect::<Vec<_>>(),
        })
    }
}

/// Services that incidents name, by name.
pub(super) fn services(facts: &[Fact]) -> Vec<String> {
    let all: BTreeSet<&String> =
        facts.iter().map(|fact| &fact.service).filter(|one| !one.is_empty()).collect();
    all.into_iter().take(SERVICES).cloned().collect()
}

/// Counts and times of some incidents.
#[derive(Clone, Default)]
pub(super) struct Figure {
    pub(super) severity: &'static str,
    pub(super) count: usize,
    pub(super) open: usize,
    pub(super) detect: Median,
    pub(super) acknowledge: Median,
    pub(super) mitigate: Median,
    pub(super) resolve: Median,
    pub(super) decide: Median,
    /// How often people were told how it goes on, and how often they should have been and were not.
    updates: u32,
    updates_overdue: u32,
    /// How many objectives for the response were missed.
    pub(super) breaches: usize,
}

impl Figure {
    fn add(&mut self, fact: &Fact) {
        self.count += 1;
        self.open += usize::from(fact.is_open);
        self.detect.0.extend(fact.detect);
        self.acknowledge.0.extend(fact.acknowledge);
        self.mitigate.0.extend(fact.mitigate);
        self.resolve.0.extend(fact.resolve);
        self.decide.0.extend(&fact.decide);
        self.updates += fact.updates;
        self.updates_overdue += fact.updates_overdue;
        self.breaches += fact.breaches;
    }

    /// Updates that came in time, and those that were due.
    pub(super) fn punctual(&self) -> (u32, u32) {
        (self.updates, self.updates + self.updates_overdue)
    }

    /// How many of the updates that were due came in time, in percent; nothing where none was due.
    pub(super) fn punctual_percent(&self) -> Option<u32> {
        let (in_time, due) = self.punctual();
        (in_time * 100).checked_div(due)
    }

    fn view(&self) -> Value {
        json!({
            "severity": self.severity,
            "incidents": self.count,
            "open": self.open,
            "medianSecondsToDetect": self.detect.seconds(),
            "updates": self.updates,
            "updatesOverdue": self.updates_overdue,
            "objectivesMissed": self.breaches,
            "medianSecondsToAcknowledge": self.acknowledge.seconds(),
            "medianSecondsToMitigate": self.mitigate.seconds(),
            "medianSecondsToResolve": self.resolve.seconds(),
            "medianSecondsToDecide": self.decide.seconds(),
            "p90SecondsToDetect": self.detect.p90(),
            "p90SecondsToAcknowledge": self.acknowledge.p90(),
            "p90SecondsToMitigate": self.mitigate.p90(),
            "p90SecondsToResolve": self.resolve.p90(),
            "p90SecondsToDecide": self.decide.p90(),
            "decisions": self.decide.count(),
        })
    }
}

/// Seconds, collected and then summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Median(Vec<i64>);

impl Median {
    pub(crate) fn add(&mut self, from_us: i64, to_us: i64) {
        if from_us != 0 && to_us != 0 {
            self.0.push((to_us - from_us) / 1_000_000);
        }
    }

    /// Of how many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    fn at(&self, place: impl FnOnce(usize) -> usize) -> Option<i64> {
        let mut all = self.0.clone();
        all.sort_unstable();
        all.get(place(all.len())).copied()
    }

    /// Half of them took at most this long.
    pub(crate) fn seconds(&self) -> Option<i64> {
        self.at(|count| count / 2)
    }

    /// Nine of ten took at most this long, by the nearest rank.
    pub(super) fn p90(&self) -> Option<i64> {
        self.at(|count| (count * 9).div_ceil(10).saturating_sub(1))
    }

    pub(crate) fn shown(&self) -> String {
        self.seconds().map_or_else(|| "not recorded".to_owned(), words::span)
    }
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::GateState;

    use super::*;

    const DAY_S: i64 = 86_400;

    fn incident(severity: i32, service: &str, created_s: i64, acknowledged_s: i64) -> Fact {
        let state = IncidentState {
            severity,
            service_name: service.to_owned(),
            created_at_us: created_s * 1_000_000,
            acknowledged_at_us: acknowledged_s * 1_000_000,
            state: State::Open.into(),
            gates: [("approved", 30), ("rejected", 50), ("timeout", 900), ("pending", 0)]
                .map(|(status, decided_s)| GateState {
                    status: status.to_owned(),
                    requested_at_us: 10_000_000,
                    decided_at_us: decided_s * 1_000_000,
                    ..GateState::default()
                })
                .to_vec(),
            ..IncidentState::default()
        };
        Fact::of(&state).unwrap()
    }

    fn some() -> Vec<Fact> {
        vec![
            incident(1, "checkout", DAY_S, DAY_S + 60),
            incident(1, "checkout", DAY_S, DAY_S + 600),
            incident(1, "search", 40 * DAY_S, 0),
            incident(2, "search", 40 * DAY_S, 0),
        ]
    }

    fn counted(query: &str) -> (usize, Vec<String>) {
        let figures = Figures::of(&some(), &Wanted::of(&Query::parse(query)).unwrap());
        (figures.total, figures.months.iter().map(|(month, _)| month.to_string()).collect())
    }

    #[test]
    fn what_was_not_recorded_is_not_counted_as_nothing() {
        let figures = Figures::of(&some(), &Wanted::default());
        assert_eq!((figures.total, figures.open), (4, 4));
        assert_eq!(figures.rows[0].count, 3);
        assert_eq!(figures.rows[0].acknowledge.shown(), "10 min");
        assert_eq!(figures.rows[1].acknowledge.shown(), "not recorded");
        assert_eq!(figures.rows[1].acknowledge.p90(), None);
        // Who was silent until the deadline, or may still decide, has not answered.
        assert_eq!((figures.rows[1].decide.count(), figures.rows[1].decide.seconds()), (2, Some(40)));
    }

    #[test]
    fn those_that_are_asked_for_are_counted() {
        assert_eq!(counted(""), (4, vec!["1970-01-01".to_owned(), "1970-02-01".to_owned()]));
        assert_eq!(counted("since=1970-01-03").0, 2);
        assert_eq!(counted("until=1970-01-02").0, 2);
        assert_eq!(counted("until=1970-01-01").0, 0);
        assert_eq!(counted("until=1970-02-10T00:00:00Z").0, 2);
        assert_eq!(counted("serviceName=search").0, 2);
        assert_eq!(counted("serviceName=search&severity=P1").0, 1);
        assert_eq!(counted("serviceName=nothing"), (0, vec![]));
        assert_eq!(services(&some()), ["checkout", "search"]);
        for wrong in ["severity=P5", "since=yesterday", "until=1970-02-30"] {
            assert!(Wanted::of(&Query::parse(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nine_of_ten_took_at_most_the_p90() {
        let of = |count: i64| Median((1..=count).rev().collect());
        let all = [(1, 1), (2, 2), (9, 9), (10, 9), (11, 10), (20, 18), (100, 90)];
        for (count, p90) in all {
            assert_eq!(of(count).p90(), Some(p90), "of {count}");
        }
    }
}
