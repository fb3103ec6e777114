//! What the stories really sent to the capabilities, and what came back, against the descriptors: every activity of
//! every stored history. (The matrix holds its own calls against them, too.)

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use harmony_blueprints::contracts::{
    CandidateRef, CellReply, CellRequest, ChannelDraft, ChannelRef, EFFECT_BACKOFF, Invitation, IssueDraft,
    Notice, PagingDraft, PagingRef, PagingRemark, PublicDraft, PublicRemark, PublicResolution, PublishDraft,
    Settle, SeverityOf, StepReply, TopicDraft, capability,
};
use harmony_capabilities::descriptor::{self, BACKOFF_MS};
use jsonschema::Validator;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// One call, as the activity reads it: a field that an older Harmony sent and this one does not know is not sent on.
struct Call {
    capability: &'static str,
    arguments: Value,
}

fn read<T: DeserializeOwned + Serialize>(capability: &'static str, input: &Value) -> Option<Call> {
    let arguments: T = serde_json::from_value(input.clone()).unwrap();
    Some(Call { capability, arguments: serde_json::to_value(arguments).unwrap() })
}

fn call(activity: &str, input: &Value) -> Option<Call> {
    use capability::{CONFLUENCE, GITHUB, JIRA, PAGERDUTY, RUNBOOK, SLACK, STATUSPAGE};
    let args = &input["args"];
    match activity {
        "candidate.page" => read::<CandidateRef>(PAGERDUTY, input),
        "channel.archive" => read::<ChannelRef>(SLACK, args),
        "channel.invite" => read::<Invitation>(SLACK, args),
        "channel.open" => read::<ChannelDraft>(SLACK, args),
        "channel.post" => read::<Notice>(SLACK, args),
        "channel.settle" => read::<Settle>(SLACK, args),
        "channel.topic" => read::<TopicDraft>(SLACK, args),
        "issue.open" if args["tracker"] == "github" => read::<IssueDraft>(GITHUB, args),
        "issue.open" => read::<IssueDraft>(JIRA, args),
        "paging.note" => read::<PagingRemark>(PAGERDUTY, args),
        "paging.open" => read::<PagingDraft>(PAGERDUTY, args),
        "paging.resolve" => read::<PagingRef>(PAGERDUTY, args),
        "paging.urgency" => read::<SeverityOf>(PAGERDUTY, args),
        "public.impact" => read::<SeverityOf>(STATUSPAGE, args),
        "public.open" => read::<PublicDraft>(STATUSPAGE, args),
        "public.resolve" => read::<PublicResolution>(STATUSPAGE, args),
        "public.update" => read::<PublicRemark>(STATUSPAGE, args),
        "review.publish" => read::<PublishDraft>(CONFLUENCE, args),
        "runbook.cell" => read::<CellRequest>(RUNBOOK, input),
        _ => None,
    }
}

fn reply(capability: &str, output: &Value) -> Value {
    if capability == capability::RUNBOOK {
        let reply: CellReply = serde_json::from_value(output.clone()).unwrap();
        return serde_json::to_value(reply).unwrap();
    }
    let reply: StepReply = serde_json::from_value(output.clone()).unwrap();
    serde_json::to_value(reply).unwrap()
}

fn payload(payloads: &Value) -> Value {
    let data = payloads["payloads"][0]["data"].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(data).unwrap()).unwrap()
}

struct Held {
    input: Validator,
    output: Validator,
}

#[test]
fn every_call_of_the_stories_is_as_the_descriptors_say() {
    let held: BTreeMap<&str, Held> = descriptor::all()
        .into_iter()
        .map(|one| {
            let validator = |schema: &Value| jsonschema::draft202012::new(schema).unwrap();
            let schemas = &one.schemas;
            (one.metadata.id, Held { input: validator(&schemas.input), output: validator(&schemas.output) })
        })
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../blueprints/tests/histories");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let history: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut scheduled: BTreeMap<u64, &str> = BTreeMap::new();
        for event in history["events"].as_array().unwrap() {
            let attributes = &event["attributes"];
            let began = &attributes["ActivityTaskScheduledEventAttributes"];
            if let Some(activity) = began["activity_type"]["name"].as_str() {
                let call = call(activity, &payload(&began["input"]))
                    .unwrap_or_else(|| panic!("{activity} is no operation of a capability"));
                let value = json!({ "operation": activity, "arguments": call.arguments });
                if let Err(error) = held[call.capability].input.validate(&value) {
                    panic!("{}: {activity}: {error} at {}", path.display(), error.instance_path());
                }
                scheduled.insert(event["event_id"].as_u64().unwrap(), call.capability);
                seen.insert(activity.to_owned());
            }
            let ended = &attributes["ActivityTaskCompletedEventAttributes"];
            if let Some(began) = ended["scheduled_event_id"].as_u64() {
                let capability = scheduled[&began];
                let value = reply(capability, &payload(&ended["result"]));
                if let Err(error) = held[capability].output.validate(&value) {
                    panic!("{}: {capability}: {error} at {}", path.display(), error.instance_path());
                }
            }
        }
    }
    for activity in
        ["channel.open", "channel.post", "paging.open", "public.open", "review.publish", "runbook.cell"]
    {
        assert!(seen.contains(activity), "no story calls {activity}");
    }
}

#[test]
fn descriptors_retry_as_the_blueprints_do() {
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap();
    assert_eq!(BACKOFF_MS, (milliseconds(EFFECT_BACKOFF.0), milliseconds(EFFECT_BACKOFF.1)));
}
