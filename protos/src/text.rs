//! Free text inside records and states: how it reads in JSON, and one walk over all of it.
//!
//! The walk is the single list of what can be sealed and redacted. A new text field that is missing here would be
//! hashed as it is; `every_text_field_of_the_schema_is_walked` holds the list against the schema's own source.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log::{self, IncidentState, Payload, ServiceState, Text, payload::Kind};

impl Text {
    /// Text that has not been sealed yet.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { commitment: Vec::new(), text: text.into(), redacted: false }
    }

    /// `None` for the empty string: an absent field and an empty one are the same record.
    pub fn optional(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then(|| Self::plain(text))
    }

    /// What a person may read: the text, or `[redacted]`.
    pub fn shown(&self) -> &str {
        if self.redacted { "[redacted]" } else { &self.text }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.redacted { serializer.serialize_none() } else { serializer.serialize_str(&self.text) }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)? {
            Some(text) => Self::plain(text),
            None => Self { redacted: true, ..Self::default() },
        })
    }
}

/// One free text of a record: its name within the payload (`title`, `warnings[0]`) and the text itself.
pub struct TextField<'a> {
    /// Stable name; part of the salt, so it never changes.
    pub name: String,
    /// The text, for sealing or filling in.
    pub text: &'a mut Text,
}

fn fields<'a, const N: usize>(named: [(&str, &'a mut Option<Text>); N]) -> Vec<TextField<'a>> {
    named
        .into_iter()
        .filter_map(|(name, text)| text.as_mut().map(|text| TextField { name: name.to_owned(), text }))
        .collect()
}

/// Every free text of a payload, in a fixed order.
pub fn texts(payload: &mut Payload) -> Vec<TextField<'_>> {
    let Some(kind) = payload.kind.as_mut() else { return Vec::new() };
    match kind {
        Kind::IncidentCreated(p) => fields([
            ("title", &mut p.title),
            ("summary", &mut p.summary),
            ("publicTitle", &mut p.public_title),
            ("publicMessage", &mut p.public_message),
        ]),
        Kind::IncidentUpdated(p) => {
            fields([("title", &mut p.title), ("summary", &mut p.summary), ("message", &mut p.message)])
        }
        Kind::IncidentStatusChanged(p) => {
            fields([("reason", &mut p.reason), ("justification", &mut p.justification)])
        }
        Kind::IncidentSeverityChanged(p) => fields([("reason", &mut p.reason)]),
        Kind::IncidentSignalIngested(p) => fields([("summary", &mut p.summary), ("data", &mut p.data)]),
        Kind::IncidentNoteAdded(p) => fields([("note", &mut p.note)]),
        Kind::IncidentPlaybookActionExecuted(p) => {
            fields([("detail", &mut p.detail), ("label", &mut p.label)])
        }
        Kind::IncidentSloViolationRecorded(p) => fields([("detail", &mut p.detail)]),
        Kind::IncidentResolved(p) => fields([("summary", &mut p.summary)]),
        Kind::ReviewSectionWritten(p) => fields([("text", &mut p.text)]),
        Kind::ActionItemAdded(p) => fields([("action", &mut p.action)]),
        Kind::RecordRedacted(p) => fields([("reason", &mut p.reason)]),
        Kind::BlueprintCompleted(p) => fields([("reason", &mut p.reason), ("result", &mut p.result)]),
        Kind::BlueprintStarted(p) => fields([("input", &mut p.input)]),
        Kind::BlueprintOrphaned(p) => fields([("reason", &mut p.reason)]),
        Kind::StepSucceeded(p) => {
            let mut all = fields([("detail", &mut p.detail)]);
            all.extend(
                p.warnings
                    .iter_mut()
                    .enumerate()
                    .map(|(index, text)| TextField { name: format!("warnings[{index}]"), text }),
            );
            all
        }
        Kind::StepFailed(p) => fields([("error", &mut p.error), ("request", &mut p.request)]),
        Kind::StepSkipped(p) => fields([("reason", &mut p.reason)]),
        Kind::ApprovalRequested(p) => fields([("reason", &mut p.reason), ("covers", &mut p.covers)]),
        Kind::ApprovalDecided(p) => {
            fields([("reason", &mut p.reason), ("justification", &mut p.justification)])
        }
        Kind::ApprovalRefused(p) => {
            fields([("approver", &mut p.approver), ("explanation", &mut p.explanation)])
        }
        Kind::ApprovalEscalated(p) => fields([("reason", &mut p.reason)]),
        Kind::ApprovalCancelled(p) => fields([("reason", &mut p.reason)]),
        Kind::RunbookCellFinished(p) => fields([
            ("stdout", &mut p.stdout),
            ("stderr", &mut p.stderr),
            ("outputSha256", &mut p.output_sha256),
        ]),
        Kind::RunbookCellUnknown(p) => fields([("reason", &mut p.reason)]),
        Kind::RunbookDryRunPlanned(p) => fields([("covers", &mut p.covers)]),
        Kind::PostMortemRendered(p) => fields([("page", &mut p.page)]),
        Kind::CandidateDecided(p) => fields([("trace", &mut p.trace)]),
        Kind::ServiceRetired(p) => fields([("reason", &mut p.reason)]),
        Kind::EnvironmentRetired(p) => fields([("reason", &mut p.reason)]),
        Kind::ReleaseStatusChanged(p) => fields([("reason", &mut p.reason)]),
        Kind::RunLogged(p) => fields([("message", &mut p.message)]),
        Kind::RunPoliciesJudged(p) => p
            .verdicts
            .iter_mut()
            .enumerate()
            .filter_map(|(index, verdict)| {
                let text = verdict.reason.as_mut()?;
                Some(TextField { name: format!("verdicts[{index}].reason"), text })
            })
            .collect(),
        Kind::RunFinished(p) => fields([("reason", &mut p.reason)]),
        Kind::ChangeLinked(p) => fields([("reason", &mut p.reason)]),
        Kind::IncidentTimeSet(p) => fields([("reason", &mut p.reason)]),
        Kind::IncidentRelated(p) => fields([("reason", &mut p.reason)]),
        Kind::IncidentPrivacyChanged(p) => fields([("reason", &mut p.reason)]),
        Kind::IncidentEscalated(p) => fields([("reason", &mut p.reason)]),
        Kind::FollowUpChanged(p) => fields([("comment", &mut p.comment)]),
        Kind::UpdateReminded(_)
        | Kind::UpdateOverdue(_)
        | Kind::CommanderMissing(_)
        | Kind::ObjectiveBreached(_)
        | Kind::DutyTicked(_)
        | Kind::WriteRefused(_)
        | Kind::FollowUpReminded(_)
        | Kind::IncidentTagAdded(_)
        | Kind::IncidentTagRemoved(_)
        | Kind::IncidentLinkedToTicket(_)
        | Kind::ResponderAssigned(_)
        | Kind::ResponderReleased(_)
        | Kind::BlueprintResumed(_)
        | Kind::PhaseChanged(_)
        | Kind::ApprovalTimedOut(_)
        | Kind::ApprovalReplanned(_)
        | Kind::RunbookCellStarted(_)
        | Kind::PostMortemPublished(_)
        | Kind::ServiceWritten(_)
        | Kind::EnvironmentWritten(_)
        | Kind::ReleaseCreated(_)
        | Kind::RunStarted(_) => Vec::new(),
    }
}

/// Every free text that a folded state carries, for stripping before hashing and filling in before showing.
pub fn state_texts(state: &mut IncidentState) -> Vec<&mut Text> {
    let IncidentState {
        title,
        summary,
        public_title,
        public_message,
        blueprints,
        gates,
        sections,
        action_items,
        resolution,
        signals,
        actions,
        slo_violations,
        changes,
        times,
        relations,
        ..
    } = state;
    let mut all: Vec<&mut Text> =
        [title, summary, public_title, public_message].into_iter().filter_map(Option::as_mut).collect();
    for blueprint in blueprints {
        let log::BlueprintState { steps, result, reason, .. } = blueprint;
        all.extend(steps.iter_mut().filter_map(|step| step.error.as_mut()));
        all.extend([result, reason].into_iter().filter_map(Option::as_mut));
    }
    all.extend(gates.iter_mut().filter_map(|gate| gate.reason.as_mut()));
    all.extend(sections.iter_mut().filter_map(|section| section.text.as_mut()));
    all.extend(
        action_items
            .iter_mut()
            .flat_map(|item| [&mut item.action, &mut item.comment])
            .filter_map(Option::as_mut),
    );
    all.extend(resolution.as_mut().and_then(|resolution| resolution.summary.as_mut()));
    all.extend(
        signals.iter_mut().flat_map(|one| [&mut one.summary, &mut one.data]).filter_map(Option::as_mut),
    );
    all.extend(
        actions.iter_mut().flat_map(|one| [&mut one.label, &mut one.detail]).filter_map(Option::as_mut),
    );
    all.extend(slo_violations.iter_mut().filter_map(|one| one.detail.as_mut()));
    all.extend(changes.iter_mut().filter_map(|one| one.reason.as_mut()));
    all.extend(times.iter_mut().filter_map(|one| one.reason.as_mut()));
    all.extend(relations.iter_mut().filter_map(|one| one.reason.as_mut()));
    all
}

/// As [`state_texts`], of a service.
pub fn service_texts(state: &mut ServiceState) -> Vec<&mut Text> {
    let ServiceState { releases, runs, flow, changes, .. } = state;
    let mut all: Vec<&mut Text> = releases.iter_mut().filter_map(|one| one.reason.as_mut()).collect();
    all.extend(runs.iter_mut().filter_map(|one| one.reason.as_mut()));
    all.extend(flow.iter_mut().flat_map(state_texts));
    all.extend(changes.iter_mut().filter_map(|one| one.reason.as_mut()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts `Text name = n;` and `repeated Text name = n;` per message in the schema's source.
    #[test]
    fn every_text_field_of_the_schema_is_walked() {
        let schema = include_str!("../proto/harmony/log/v1/log.proto");
        let payloads = schema.split("message IncidentState").next().unwrap();
        let tokens: Vec<&str> = payloads.split_whitespace().collect();
        let in_payloads = tokens.windows(3).filter(|three| three[0] == "Text" && three[2] == "=").count();
        let source = include_str!("text.rs");
        let walk = source.split("pub fn texts").nth(1).unwrap().split("pub fn state_texts").next().unwrap();
        let walked = walk.matches("(\"").count();
        assert_eq!(in_payloads, walked);
    }

    #[test]
    fn text_is_a_string_in_json_and_null_once_redacted() {
        let note = log::IncidentNoteAdded { note: Some(Text::plain("disk full")) };
        assert_eq!(serde_json::to_string(&note).unwrap(), r#"{"note":"disk full"}"#);
        let gone = log::IncidentNoteAdded { note: Some(Text { redacted: true, ..Text::default() }) };
        assert_eq!(serde_json::to_string(&gone).unwrap(), r#"{"note":null}"#);
    }
}
