//! What a failed step was called with, read from its record, so that a retry by hand calls it so again.

use harmony_blueprints::contracts::{FailedStep, RecallReply, RecallRequest};
use harmony_incidents::{
    HasStatus, StepStatus,
    log::{Text, payload::Kind},
};
use serde_json::Value;
use temporalio_sdk::activities::ActivityError;

use crate::services::Services;

impl Services {
    pub(crate) async fn recall(&self, request: &RecallRequest) -> Result<RecallReply, ActivityError> {
        let scope = &request.scope;
        let state = self.state(scope).await?;
        let run = state
            .blueprints
            .iter()
            .find(|one| one.blueprint == request.blueprint && one.attempt == request.attempt);
        let Some(workflow_id) = run.and_then(|run| run.workflow_id.parse().ok()) else {
            return Ok(nothing("that attempt is not the last one any more: its steps are not tried again"));
        };
        let status = run.into_iter().flat_map(|run| &run.steps).find(|step| step.step == request.step);
        match status {
            Some(step) if step.is(StepStatus::Failed) => {}
            Some(step) => return Ok(nothing(&format!("it is {}, not {}", step.status, StepStatus::Failed))),
            None => return Ok(nothing("there is no such step on record")),
        }
        let entries = self.all_records(scope).await?;
        let failed =
            entries.iter().rev().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
                Kind::StepFailed(p)
                    if (&p.blueprint, p.attempt, &p.step)
                        == (&request.blueprint, request.attempt, &request.step) =>
                {
                    Some(p)
                }
                _ => None,
            });
        let Some(failed) = failed else { return Ok(nothing("its failure is not on record")) };
        let text = failed.request.as_ref().filter(|text| !text.redacted).map(Text::shown).unwrap_or_default();
        let Ok(Value::Object(mut call)) = serde_json::from_str(text) else {
            return Ok(nothing("what it was called with is not on record any more"));
        };
        let (Some(Value::String(activity)), Some(args)) = (call.remove("activity"), call.remove("args"))
        else {
            return Ok(nothing("what it was called with is not on record"));
        };
        let capability = failed.capability.clone();
        Ok(RecallReply::Failed(Box::new(FailedStep { workflow_id, activity, capability, args })))
    }
}

fn nothing(reason: &str) -> RecallReply {
    RecallReply::Nothing(reason.to_owned())
}
