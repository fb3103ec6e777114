//! The state machine of an incident, as one total table, and the phases that refine it.
//!
//! Fail-closed: what is not listed is refused, with the legal next states in the error. State never goes back; asking
//! for the state already held is neither a record nor an error.

use harmony_protos::log::{Authority, Phase, State};

use crate::words;

/// What a transition needs besides authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing more.
    Nothing,
    /// A reason in words.
    Reason,
    /// Summary, type and by whom.
    Resolution,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    from: State,
    to: State,
    least: Authority,
    /// `AUTO_ENGINE` suffices when a promotion decided it.
    by_promotion: bool,
    /// What has to come with the command.
    pub needs: Needs,
}

const fn rule(from: State, to: State, least: Authority, needs: Needs) -> Rule {
    Rule { from, to, least, by_promotion: false, needs }
}

/// Section 4 of the contract, row by row.
const RULES: [Rule; 11] = [
    Rule {
        from: State::Pending,
        to: State::Open,
        least: Authority::HumanOperator,
        by_promotion: true,
        needs: Needs::Nothing,
    },
    rule(State::Pending, State::Cancelled, Authority::HumanOperator, Needs::Reason),
    rule(State::Open, State::Cancelled, Authority::HumanOperator, Needs::Reason),
    rule(State::Open, State::Mitigating, Authority::HumanOperator, Needs::Nothing),
    rule(State::Open, State::Resolved, Authority::OnCallSre, Needs::Resolution),
    rule(State::Mitigating, State::Resolved, Authority::OnCallSre, Needs::Resolution),
    rule(State::Resolved, State::Closed, Authority::HumanOperator, Needs::Nothing),
    rule(State::Resolved, State::Archived, Authority::HumanOperator, Needs::Nothing),
    rule(State::Closed, State::Archived, Authority::HumanOperator, Needs::Nothing),
    rule(State::Cancelled, State::Archived, Authority::HumanOperator, Needs::Nothing),
    rule(State::Unspecified, State::Pending, Authority::AutoEngine, Needs::Nothing),
];

/// Why a transition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Not in the table.
    #[error("{from} cannot become {to}; legal next states: {legal}", from = .from.as_str_name(), to = .to.as_str_name())]
    Illegal {
        /// The state held.
        from: State,
        /// The state asked for.
        to: State,
        /// Legal next states, comma-separated; `none` where the state is final.
        legal: String,
    },
    /// In the table, but not with this authority.
    #[error(
        "{from} to {to} needs {least} at least, not {held}",
        from = .from.as_str_name(), to = .to.as_str_name(),
        least = words::authority_name(*.least), held = words::authority_name(*.held)
    )]
    Authority {
        /// The state held.
        from: State,
        /// The state asked for.
        to: State,
        /// What the table asks.
        least: Authority,
        /// What the caller has.
        held: Authority,
    },
}

/// The table's answer: `None` where the state is already held.
pub fn transition(
    from: State,
    to: State,
    held: Authority,
    by_promotion: bool,
) -> Result<Option<Rule>, TransitionError> {
    if from == to && from != State::Unspecified {
        return Ok(None);
    }
    let Some(rule) = RULES.iter().find(|rule| rule.from == from && rule.to == to) else {
        let legal: Vec<&str> =
            RULES.iter().filter(|rule| rule.from == from).map(|rule| rule.to.as_str_name()).collect();
        let legal = if legal.is_empty() { "none".to_owned() } else { legal.join(", ") };
        return Err(TransitionError::Illegal { from, to, legal });
    };
    let least = if rule.by_promotion && by_promotion { Authority::AutoEngine } else { rule.least };
    if held < least || held == Authority::None {
        return Err(TransitionError::Authority { from, to, least, held });
    }
    Ok(Some(*rule))
}

/// The phase that an incident enters with a state.
pub fn phase_on_entering(state: State) -> Option<Phase> {
    match state {
        State::Pending => Some(Phase::Created),
        State::Open => Some(Phase::Triaging),
        State::Mitigating => Some(Phase::Remediating),
        State::Resolved => Some(Phase::Resolved),
        State::Closed => Some(Phase::Closed),
        State::Unspecified | State::Cancelled | State::Archived => None,
    }
}

/// Whether a phase may stand beside a state.
pub fn phase_fits(state: State, phase: Phase) -> bool {
    match phase {
        Phase::Unspecified => false,
        Phase::Created => state == State::Pending,
        // A failed cell or verification goes back to triaging; the state stays.
        Phase::Triaging => matches!(state, State::Open | State::Mitigating),
        Phase::Remediating | Phase::Verifying | Phase::Verified => state == State::Mitigating,
        Phase::Resolved | Phase::PostMortem => state == State::Resolved,
        Phase::Closed => state == State::Closed,
    }
}

/// Whether nothing more will be done for the incident but its review.
pub fn is_over(state: State) -> bool {
    matches!(state, State::Resolved | State::Closed | State::Cancelled | State::Archived)
}

/// States of incidents that are declared and not finished: their review may still be to come.
pub const LIVE: [State; 4] = [State::Pending, State::Open, State::Mitigating, State::Resolved];

/// The words of [`LIVE`], for a list's filter.
pub fn live_words() -> Vec<String> {
    LIVE.map(|state| state.as_str_name().to_owned()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 8] = [
        State::Unspecified,
        State::Pending,
        State::Open,
        State::Mitigating,
        State::Resolved,
        State::Closed,
        State::Cancelled,
        State::Archived,
    ];
    const AUTHORITIES: [Authority; 5] = [
        Authority::None,
        Authority::AutoEngine,
        Authority::HumanOperator,
        Authority::OnCallSre,
        Authority::EmergencyOverride,
    ];

    #[test]
    fn whole_matrix_of_state_event_and_authority() {
        let mut lines = Vec::new();
        for from in STATES {
            for to in STATES {
                for promotion in [false, true] {
                    let cells: Vec<String> = AUTHORITIES
                        .iter()
                        .map(|held| match transition(from, to, *held, promotion) {
                            Ok(None) => "held".to_owned(),
                            Ok(Some(rule)) => format!("yes({:?})", rule.needs),
                            Err(TransitionError::Illegal { .. }) => "illegal".to_owned(),
                            Err(TransitionError::Authority { .. }) => "authority".to_owned(),
                        })
                        .collect();
                    lines.push(format!(
                        "{:<17} -> {:<17} {:<9} {}",
                        from.as_str_name(),
                        to.as_str_name(),
                        if promotion { "promotion" } else { "" },
                        cells.join(" | ")
                    ));
                }
            }
        }
        insta::assert_snapshot!("transitions", lines.join("\n"));
    }

    #[test]
    fn whole_matrix_of_state_and_phase() {
        let phases = (1..=8).map(|number| Phase::try_from(number).unwrap());
        let lines: Vec<String> = phases
            .map(|phase| {
                let fits: Vec<&str> = STATES
                    .iter()
                    .filter(|state| phase_fits(**state, phase))
                    .map(State::as_str_name)
                    .collect();
                format!("{:<12} {}", words::phase_name(phase), fits.join(", "))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        created      PENDING
        triaging     OPEN, MITIGATING
        remediating  MITIGATING
        verifying    MITIGATING
        verified     MITIGATING
        resolved     RESOLVED
        post-mortem  RESOLVED
        closed       CLOSED
        ");
    }

    #[test]
    fn refusal_names_the_legal_next_states() {
        let error = transition(State::Resolved, State::Open, Authority::OnCallSre, false).unwrap_err();
        assert_eq!(error.to_string(), "RESOLVED cannot become OPEN; legal next states: CLOSED, ARCHIVED");
    }
}
