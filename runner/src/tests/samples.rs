//! The sample runbooks that ship with Harmony really run.

use std::collections::BTreeMap;
use std::path::Path;

use super::{outcome_of, run_of};
use crate::{CellRun, Ended, RunbookRoot, parse};

fn samples() -> RunbookRoot {
    RunbookRoot::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../runbooks")).unwrap()
}

/// Runs cells one by one as a remediation does; the output of all of them.
async fn run(state: &Path, path: &str, cells: &[&str]) -> Result<String, String> {
    let snapshot = samples().load(path).unwrap();
    let mut carried = BTreeMap::new();
    let mut shown = String::new();
    for cell in cells {
        let run = CellRun {
            snapshot: snapshot.text.clone(),
            cell: (*cell).to_owned(),
            env: BTreeMap::from([("SAMPLE_STATE".to_owned(), state.display().to_string())]),
            carried: carried.clone(),
            workdir: samples().workdir("").unwrap(),
            ..run_of("")
        };
        let outcome = outcome_of(run).await;
        if outcome.ended != Ended::Exited(0) {
            return Err(outcome.stderr_tail);
        }
        carried.extend(outcome.exported);
        shown.push_str(&outcome.stdout_tail);
    }
    Ok(shown)
}

#[tokio::test]
async fn rollback_goes_back_and_is_checked_twice() {
    let state = tempfile::tempdir().unwrap();
    let all = ["show-history", "rollback", "postcheck"];
    let unchecked = run(state.path(), "runbooks/rollback-deployment.md", &["postcheck"]).await;
    assert_eq!(unchecked, Err("no rollback of checkout on record\n".to_owned()));
    let first = run(state.path(), "rollback-deployment.md", &all).await.unwrap();
    assert_eq!(
        first,
        "deployment checkout (sample), revision 2\n  revision 1: release 2.4.0\n  revision 2: release 2.4.1\n\
         deployment checkout (sample): 2.4.1 -> 2.4.0, now revision 3\n\
         deployment checkout (sample): release 2.4.0 is running, as wanted\n"
    );
    let second = run(state.path(), "rollback-deployment.md", &all).await.unwrap();
    assert!(second.contains("2.4.0 -> 2.4.1, now revision 4"), "{second}");
    std::fs::write(state.path().join("checkout/history"), "2.4.0\n2.5.0\n").unwrap();
    let changed = run(state.path(), "rollback-deployment.md", &["postcheck"]).await;
    assert!(changed.unwrap_err().contains("found release 2.5.0 as revision 2"));
}

#[tokio::test]
async fn other_samples_run_twice() {
    let state = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        run(state.path(), "restart-service.md", &["show-status", "restart", "postcheck"]).await.unwrap();
        run(state.path(), "drain-node.md", &["show-node", "cordon", "drain", "postcheck", "uncordon"])
            .await
            .unwrap();
    }
}

#[test]
fn samples_have_the_cells_that_the_documentation_names() {
    let names = |path: &str| -> Vec<(String, bool)> {
        let runbook = parse(&samples().load(path).unwrap().text).unwrap();
        let cells = runbook.select(&[], &["postcheck".to_owned()]).unwrap();
        cells.into_iter().map(|cell| (cell.name, cell.idempotent)).collect()
    };
    let named = |pairs: &[(&str, bool)]| -> Vec<(String, bool)> {
        pairs.iter().map(|(name, idempotent)| ((*name).to_owned(), *idempotent)).collect()
    };
    // Those for Kubernetes are tried on a real API server.
    let here: Vec<String> = samples().list().unwrap();
    let here: Vec<&String> = here.iter().filter(|path| !path.starts_with("kubernetes/")).collect();
    assert_eq!(here, ["drain-node.md", "restart-service.md", "rollback-deployment.md"]);
    assert_eq!(names("rollback-deployment.md"), named(&[("show-history", true), ("rollback", false)]));
    assert_eq!(names("restart-service.md"), named(&[("show-status", true), ("restart", false)]));
    assert_eq!(names("drain-node.md"), named(&[("show-node", true), ("cordon", true), ("drain", true)]));
}
