//! Every stored history replays against the code as it is. One that does not names a running incident that would break.
//!
//! Histories are recorded from a real server by `HARMONY_RECORD_HISTORIES=<dir> cargo test -p harmony-tests`; old ones
//! stay, since incidents that they stand for may still be running.

#![expect(clippy::disallowed_methods, reason = "a test reads its files; the workflows themselves do not")]

use std::{fs, path::Path};

use harmony_blueprints::{CloseOut, IncidentAct, IncidentUpdates, Initiate, PostMortem, Promote, Remediate};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayError, WorkflowReplayer, WorkflowReplayerOptions};

#[tokio::test]
async fn stored_histories_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let workflows = [
        "candidate.promote",
        "incident.act",
        "incident.initiate",
        "incident.updates",
        "incident.remediate",
        "incident.close-out",
        "incident.post-mortem",
    ];
    for workflow in workflows {
        assert!(names.iter().any(|name| name.starts_with(workflow)), "no history of {workflow} in {names:?}");
    }
    let mut broken = Vec::new();
    for name in &names {
        let replayed = replay(&fs::read(folder.join(name)).unwrap()).await;
        if let Err(error) = replayed {
            broken.push(format!("{}: {error:?}", story(name)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

async fn replay(history: &[u8]) -> Result<(), WorkflowReplayError> {
    let history = WorkflowHistory::from_json(history).expect("a stored history");
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<CloseOut>()
        .and_then(|options| options.register_workflow::<IncidentAct>())
        .and_then(|options| options.register_workflow::<IncidentUpdates>())
        .and_then(|options| options.register_workflow::<Initiate>())
        .and_then(|options| options.register_workflow::<PostMortem>())
        .and_then(|options| options.register_workflow::<Promote>())
        .and_then(|options| options.register_workflow::<Remediate>())
        .expect("workflows of different names")
        .build();
    WorkflowReplayer::new(options).expect("a replayer").replay_workflow(history).await.map(drop)
}

#[tokio::test]
async fn history_that_the_code_cannot_replay_is_named_with_its_workflow_and_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let name = "incident.initiate-p1_is_initiated_with_slack_pagerduty_and_statuspage.json";
    let text = fs::read_to_string(folder.join(name)).unwrap();
    // As if an older build had opened the channel by another activity.
    let older = text.replace("\"channel.open\"", "\"channel.make\"");
    assert_ne!(older, text);
    let error = replay(older.as_bytes()).await.unwrap_err();
    assert!(format!("{error:?}").contains("TMPRL1100"), "{error:?}");
    assert_eq!(
        story(name),
        "workflow incident.initiate cannot go on with this code, as recorded in the story \
         p1_is_initiated_with_slack_pagerduty_and_statuspage"
    );
}

/// Whose history a file is: `<workflow>-<story>.json`, and a workflow's name may hold a hyphen, a story's never.
fn story(file: &str) -> String {
    let name = file.strip_suffix(".json").unwrap_or(file);
    match name.rsplit_once('-') {
        Some((workflow, story)) => {
            format!("workflow {workflow} cannot go on with this code, as recorded in the story {story}")
        }
        None => format!("{file}: name it <workflow>-<story>.json"),
    }
}
