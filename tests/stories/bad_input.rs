//! Bad input: one line of what is wrong, one of what to do, the right exit code, and no half-made incident.

use crate::world::{HARMONY, POLICY, World, refusal};

#[tokio::test]
async fn every_refusal_says_what_and_what_to_do() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("The only one", "P2").await;
    for (arguments, code, expected) in [
        (vec!["incident", "declare", "Something", "--severity", "P9"], 2, "severity"),
        (vec!["incident", "declare", "", "--severity", "P1"], 2, "title"),
        (vec!["incident", "show", "INC-2020-0001"], 4, "INC-2020-0001"),
        (vec!["incident", "show", "nonsense"], 2, "nonsense"),
        (vec!["incident", "remediate", &id, "--runbook", "runbooks/nothing.md"], 2, "nothing.md"),
        (vec!["incident", "remediate", &id, "--runbook", "../../etc/passwd"], 2, "runbook"),
        (
            vec![
                "incident",
                "remediate",
                &id,
                "--runbook",
                "runbooks/rollback-deployment.md",
                "--cell",
                "nothing",
            ],
            2,
            "nothing",
        ),
        (vec!["incident", "sign-off", &id], 2, "--digest"),
        (vec!["incident", "sign-off", &id, "--digest", "00"], 3, "review"),
        (vec!["incident", "dance"], 2, "dance"),
    ] {
        let output = world.harmony(&arguments);
        let (found, said) = refusal(&output);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
    let listed = world.get("incidents").await;
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn one_key_makes_one_incident() {
    let world = World::start(POLICY).await;
    let declare = ["incident", "declare", "Twice", "--severity", "P2", "--idempotency-key", "pager-1"];
    let first = world.harmony(&declare);
    let second = world.harmony(&declare);
    assert!(first.status.success() && second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(first.stdout, second.stdout);
    let other =
        world.harmony(&["incident", "declare", "Other", "--severity", "P2", "--idempotency-key", "pager-1"]);
    let (code, said) = refusal(&other);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("title") && !said.contains("Twice"), "{said}");
    assert_eq!(world.get("incidents").await["incidents"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn unreadable_database_is_one_clear_error() {
    let world = World::start(POLICY).await;
    let garbage = world.dir.path().join("garbage.db");
    std::fs::write(&garbage, b"this is no database, whatever its name says; it only has to be long enough")
        .unwrap();
    let output = std::process::Command::new(HARMONY)
        .args(["log", "verify"])
        .env("DATABASE_URL", format!("sqlite://{}", garbage.display()))
        .env("HARMONY_DATA_DIR", world.dir.path())
        .output()
        .unwrap();
    let (code, said) = refusal(&output);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("garbage.db") && !said.contains("panicked"), "{said}");
}
