//! When an environment is open, over a span of time: what a calendar of it shows.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};

use super::{EnvironmentPolicies, EnvironmentPolicy, PolicyKind, ReleaseAction};

/// A span of time in which nothing opens or closes an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// The references of the policies that close the environment; none while it is open.
    pub closed_by: Vec<String>,
}

impl Hours {
    /// Whether every policy lets releases through.
    pub fn is_open(&self) -> bool {
        self.closed_by.is_empty()
    }
}

impl EnvironmentPolicies {
    /// The policies that these references name and that are about an action, each once. References that no file has
    /// are left out.
    fn about(&self, refs: &[String], action: ReleaseAction) -> Vec<&EnvironmentPolicy> {
        let mut seen = BTreeSet::new();
        let named = refs.iter().filter(|reference| seen.insert(reference.as_str()));
        named
            .filter_map(|reference| self.named(reference).ok())
            .filter(|policy| policy.is_about(action))
            .collect()
    }

    /// When an environment with these references is open for an action, from one instant to another: spans without a
    /// gap, neighbours differing in what closes them. A reference that no file has closes all of it.
    pub fn hours(
        &self,
        refs: &[String],
        action: ReleaseAction,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<Hours> {
        let policies = self.about(refs, action);
        let unknown = refs.iter().filter(|reference| self.named(reference).is_err());
        let unknown: BTreeSet<&String> = unknown.collect();
        let mut all: Vec<Hours> = Vec::new();
        let mut at = from;
        while at < to {
            let next = policies.iter().filter_map(|policy| policy.next_change(at, to)).min();
            let end = next.filter(|next| *next > at).unwrap_or(to).min(to);
            let closed = policies.iter().filter(|policy| !policy.is_open(at));
            let closed_by: Vec<String> = unknown
                .iter()
                .map(|reference| (*reference).clone())
                .chain(closed.map(|policy| policy.reference.to_string()))
                .collect();
            match all.last_mut() {
                Some(last) if last.closed_by == closed_by => last.to = end,
                _ => all.push(Hours { from: at, to: end, closed_by }),
            }
            at = end;
        }
        all
    }

    /// The zone that an environment with these references is looked at in: that of the first change window, else of the
    /// first freeze, else UTC.
    pub fn zone(&self, refs: &[String]) -> TimeZone {
        let of = |kind: PolicyKind| {
            let policies = refs.iter().filter_map(|reference| self.named(reference).ok());
            let mut policies = policies.filter(|policy| policy.reference.kind() == kind);
            policies.next().map(|policy| policy.zone().clone())
        };
        of(PolicyKind::ChangeWindow).or_else(|| of(PolicyKind::Freeze)).unwrap_or(TimeZone::UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEKDAY: &str = "kind = \"change-window\"\nname = \"weekday\"\nversion = 1\nzone = \"Europe/Berlin\"\n\
                           [[weekly]]\ndays = [\"mon-fri\"]\nfrom = \"09:00\"\nto = \"17:00\"\n";
    const FREEZE: &str = "kind = \"freeze\"\nname = \"fair\"\nversion = 1\nzone = \"UTC\"\n\
                          [[dates]]\nfrom = \"2026-10-28\"\nto = \"2026-10-28\"\n";

    fn policies() -> EnvironmentPolicies {
        let parse = |text: &str| EnvironmentPolicy::parse("test.toml", text).unwrap();
        EnvironmentPolicies::new([parse(WEEKDAY), parse(FREEZE)]).unwrap()
    }

    fn week(refs: &[&str]) -> Vec<Hours> {
        let refs: Vec<String> = refs.iter().map(|one| (*one).to_owned()).collect();
        // From the Sunday on which the clock is put back, in the night.
        let (from, to) = ("2026-10-24T22:00:00Z", "2026-10-31T23:00:00Z");
        policies().hours(&refs, ReleaseAction::Deploy, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn week_is_covered_without_a_gap_and_follows_the_clock() {
        let hours = week(&["policy:change-window:weekday"]);
        for pair in hours.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
            assert_ne!(pair[0].closed_by, pair[1].closed_by);
        }
        let open: Vec<String> =
            hours.iter().filter(|one| one.is_open()).map(|one| one.from.to_string()).collect();
        let days = ["26", "27", "28", "29", "30"].map(|day| format!("2026-10-{day}T08:00:00Z"));
        assert_eq!(open, days, "nine o'clock is at eight in UTC once summer is over");
        assert_eq!(hours[0].from.to_string(), "2026-10-24T22:00:00Z");
        assert_eq!(hours.last().unwrap().to.to_string(), "2026-10-31T23:00:00Z");
    }

    #[test]
    fn freeze_closes_what_a_window_opens_and_says_so() {
        let hours = week(&["policy:change-window:weekday", "policy:freeze:fair"]);
        assert_eq!(hours.iter().filter(|one| one.is_open()).count(), 4);
        let noon: Timestamp = "2026-10-28T12:00:00Z".parse().unwrap();
        let then = hours.iter().find(|one| one.from <= noon && noon < one.to).unwrap();
        assert_eq!(then.closed_by, ["policy:freeze:fair"]);
    }

    #[test]
    fn unknown_policy_closes_everything_and_none_opens_it() {
        let hours = week(&["policy:freeze:moon"]);
        assert_eq!(hours.len(), 1);
        assert_eq!(hours[0].closed_by, ["policy:freeze:moon"]);
        assert!(week(&[]).iter().all(Hours::is_open));
        assert_eq!(policies().zone(&["policy:freeze:fair".to_owned()]).iana_name(), Some("UTC"));
        let both = ["policy:freeze:fair", "policy:change-window:weekday"].map(str::to_owned);
        assert_eq!(policies().zone(&both).iana_name(), Some("Europe/Berlin"));
    }
}
