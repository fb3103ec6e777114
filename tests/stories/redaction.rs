//! Taking a text out by hand: the command shows what goes, asks on the terminal, and does nothing without a yes.

use serde_json::json;

use crate::world::{POLICY, World, refusal};

const SECRET: &str = "the password is SWORDFISH99";

#[tokio::test]
async fn text_is_shown_before_it_is_taken_out_and_only_a_yes_takes_it() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Payments time out", "P2").await;
    let noted = world.post(&format!("incidents/{id}/notes"), json!({ "note": SECRET })).await;
    let seq = noted["seq"].to_string();
    let redact = ["log", "redact", &id, &seq, "--reason", "a password"];
    let holds = async |world: &World| {
        let export = world.harmony(&["log", "export"]);
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        String::from_utf8_lossy(&export.stdout).contains(SECRET)
    };

    let (code, said) = refusal(&world.harmony(&redact));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(SECRET) && said.contains("nobody can be asked here"), "{said}");
    for answer in ["n", "", "later"] {
        let (code, shown) = world.harmony_answered(&redact, answer).await;
        assert_eq!(code, Some(1), "{answer}: {shown}");
        assert!(shown.contains(SECRET) && shown.contains("[y/N]"), "{shown}");
        assert!(shown.contains("nothing was taken out"), "{shown}");
    }
    assert!(holds(&world).await);

    let (code, shown) = world.harmony_answered(&redact, "y").await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(!holds(&world).await);
    world.verified().await;
}
