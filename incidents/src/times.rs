//! When the moments of an incident were: as the records have it, or as somebody corrected it. A correction is a record of
//! its own and nothing is rewritten, so that every figure can be asked as it was known at a time.

use std::str::FromStr;

use harmony_protos::log::IncidentState;
use jiff::Timestamp;

/// A moment of an incident that figures are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// When people began to be harmed.
    ImpactStarted,
    /// When somebody or something noticed.
    Detected,
    /// When somebody reacted.
    Acknowledged,
    /// When the harm ended.
    Mitigated,
    /// When it was over.
    Resolved,
}

/// No moment of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no moment of an incident; use impact-started, detected, acknowledged, mitigated or resolved"
)]
pub struct UnknownMoment(String);

impl Moment {
    /// Every one, in the order in which they follow each other.
    pub const ALL: [Self; 5] =
        [Self::ImpactStarted, Self::Detected, Self::Acknowledged, Self::Mitigated, Self::Resolved];

    /// The word in records and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImpactStarted => "impact-started",
            Self::Detected => "detected",
            Self::Acknowledged => "acknowledged",
            Self::Mitigated => "mitigated",
            Self::Resolved => "resolved",
        }
    }

    /// The name of the field in JSON.
    pub fn field(self) -> &'static str {
        if self == Self::ImpactStarted { "impactStarted" } else { self.name() }
    }

    /// As a sentence has it.
    pub fn words(self) -> &'static str {
        if self == Self::ImpactStarted { "impact started" } else { self.name() }
    }

    /// As the records have it, without corrections; 0 where they do not.
    fn recorded(self, state: &IncidentState) -> i64 {
        match self {
            Self::ImpactStarted => state.impact_started_at_us,
            Self::Detected => state.detected_at_us,
            Self::Acknowledged => state.acknowledged_at_us,
            Self::Mitigated => state.mitigated_at_us,
            Self::Resolved => state.resolved_at_us,
        }
    }

    /// When it was, in microseconds since 1970; 0 where nobody has said. A correction counts before the records.
    pub fn at_us(self, state: &IncidentState) -> i64 {
        let said = state.times.iter().find(|one| one.moment == self.name());
        said.map_or_else(|| self.recorded(state), |said| said.at_us)
    }

    /// When it was, if somebody has said.
    pub fn at(self, state: &IncidentState) -> Option<Timestamp> {
        Some(self.at_us(state)).filter(|at| *at > 0).and_then(|at| Timestamp::from_microsecond(at).ok())
    }
}

impl FromStr for Moment {
    type Err = UnknownMoment;

    fn from_str(text: &str) -> Result<Self, UnknownMoment> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text || one.field() == text);
        found.ok_or_else(|| UnknownMoment(text.chars().take(40).collect()))
    }
}

/// Moments that cannot both be right, such as mitigated before the impact started: each as a sentence.
pub fn contradictions(state: &IncidentState) -> Vec<String> {
    let known: Vec<(Moment, i64)> =
        Moment::ALL.into_iter().map(|one| (one, one.at_us(state))).filter(|(_, at)| *at > 0).collect();
    let mut found = Vec::new();
    for (index, (earlier, earlier_at)) in known.iter().enumerate() {
        for (later, later_at) in &known[index + 1..] {
            // What is noticed and answered before anybody is harmed is good, and no contradiction.
            let may_precede =
                *earlier == Moment::ImpactStarted && matches!(later, Moment::Detected | Moment::Acknowledged);
            if later_at < earlier_at && !may_precede {
                found.push(format!("{} is before {}", later.words(), earlier.words()));
            }
        }
    }
    found
}
