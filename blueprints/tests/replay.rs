//! Every stored history replays against the code as it is. One that does not names a running incident that would break.
//!
//! Histories are recorded from a real server by `HARMONY_RECORD_HISTORIES=<dir> cargo test -p harmony-tests`; old ones
//! stay, since incidents that they stand for may still be running.

#![expect(clippy::disallowed_methods, reason = "a test reads its files; the workflows themselves do not")]

use std::{fs, path::Path};

use harmony_blueprints::{CloseOut, Initiate, PostMortem, Remediate};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

#[tokio::test]
async fn stored_histories_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for workflow in ["incident.initiate", "incident.remediate", "incident.close-out", "incident.post-mortem"]
    {
        assert!(names.iter().any(|name| name.starts_with(workflow)), "no history of {workflow} in {names:?}");
    }
    let mut broken = Vec::new();
    for name in &names {
        let history = WorkflowHistory::from_json(&fs::read(folder.join(name)).unwrap()).unwrap();
        let options = WorkflowReplayerOptions::new()
            .register_workflow::<CloseOut>()
            .and_then(|options| options.register_workflow::<Initiate>())
            .and_then(|options| options.register_workflow::<PostMortem>())
            .and_then(|options| options.register_workflow::<Remediate>())
            .unwrap()
            .build();
        let replayed = WorkflowReplayer::new(options).unwrap().replay_workflow(history).await;
        if let Err(error) = replayed {
            broken.push(format!("{name}: {error:?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
